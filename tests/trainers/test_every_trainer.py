"""One contract for all models: what `_fit`, export and the commands rely on."""

import dataclasses
import math
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

from savedmodels import signature
from trainers import _catalog, _config, _fit, _flavour, _report
from trainers._config import TrainConfig
from trainers._evaluation import Evaluation

CONTRACT = {"Config", "SMOKE", "make_signatures", "make_examples", "evaluate"}
# A Keras model, or one that another library trains.
OF_KERAS = {"make_datasets", "make_model"}
OF_ANOTHER = {"make_learner"}
EXAMPLE_ROWS = 32


@pytest.fixture(scope="module", params=_catalog.model_names())
def module(request):
    return _catalog.load_model(request.param)


@pytest.fixture(scope="module")
def smoke(module, datasets_dir):
    return dataclasses.replace(module.SMOKE, datasets_dir=str(datasets_dir))


@pytest.fixture(scope="module")
def fitted(module, smoke_fitted):
    return smoke_fitted(name_of(module))


def name_of(module):
    return module.__name__.removeprefix("trainers.")


def test_there_is_a_model():
    assert "mnist_classifier" in _catalog.model_names()


def test_defines_exactly_the_contract(module):
    own = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        # Functions and classes; SMOKE too, by its class.
        and getattr(value, "__module__", None) == module.__name__
    }
    assert own in (CONTRACT | OF_KERAS, CONTRACT | OF_ANOTHER)
    assert isinstance(module.SMOKE, module.Config)


def test_has_its_own_test_file(module):
    own = pathlib.Path(__file__).with_name(f"test_{name_of(module)}.py")
    assert own.is_file()


def test_says_what_it_is_in_the_agreed_order(module):
    sections = ["Dataset", "Network", "Loss", "Serves", "Run"]
    places = [re.search(f"^{s} ", module.__doc__, re.M).start() for s in sections]
    assert places == sorted(places)
    assert f"make train MODEL={name_of(module)}" in module.__doc__


def test_every_field_of_the_config_is_explained_and_can_be_typed(module):
    config = module.Config()
    assert isinstance(config, TrainConfig)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        owner = (
            TrainConfig if field.name in TrainConfig.__annotations__ else type(config)
        )
        assert f"{field.name}:" in owner.__doc__
        typed = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        same = _config.override(config, [f"{field.name}={typed}"])
        assert getattr(same, field.name) == value


def test_the_default_trains_on_data_that_a_package_holds(module):
    assert module.Config().dataset in _catalog.dataset_names()


def test_datasets_are_finite_batches_of_the_global_batch_size(module, smoke):
    _only(module, OF_KERAS)
    train, validation = module.make_datasets(smoke)
    for dataset in (train, validation):
        assert dataset.cardinality().numpy() > 0
        first = next(iter(dataset))
        assert len(tf.nest.flatten(first)[0]) == smoke.global_batch_size


def test_a_model_is_compiled_and_named_as_its_file(module, smoke):
    _only(module, OF_KERAS)
    model = module.make_model(smoke)
    assert model.name == name_of(module)
    assert model.optimizer is not None


def test_a_learner_goes_on_as_if_it_had_never_stopped(module, smoke, tmp_path):
    _only(module, OF_ANOTHER)
    learner = module.make_learner(smoke)
    first_curves, examples = learner.epoch(0)
    assert {"loss", "learning_rate"} <= set(first_curves)
    assert examples > 0
    learner.save(tmp_path)
    second_curves, _ = learner.epoch(1)

    resumed = module.make_learner(smoke)
    resumed.restore(tmp_path)
    assert resumed.epoch(1)[0] == second_curves
    for a, b in zip(learner.model.variables, resumed.model.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def _only(module, functions):
    if not functions <= set(vars(module)):
        pytest.skip(f"has no {' and '.join(sorted(functions))}")


def test_the_same_seed_gives_the_same_weights(module, smoke):
    first, second, other = (_initial_weights(module, smoke, seed) for seed in (5, 5, 6))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != c).any() for a, c in zip(first, other, strict=True))


def _initial_weights(module, smoke, seed):
    _flavour.seed(seed)
    config = dataclasses.replace(smoke, seed=seed)
    if hasattr(module, "make_learner"):
        return [v.numpy() for v in module.make_learner(config).model.variables]
    return [w.numpy() for w in module.make_model(config).weights]


def test_smoke_fits_and_gets_better(fitted):
    losses = fitted.history["loss"]
    assert all(map(math.isfinite, losses))
    # Who trains without labels may have no validation loss.
    assert fitted.history.get("val_loss", losses)[-1] < losses[0]


def test_signatures_keep_the_contract(fitted):
    assert signature.SERVING_DEFAULT in signature.check(fitted.signatures)


def test_there_are_examples_for_every_input_of_every_signature(module, smoke, fitted):
    specs = signature.check(fitted.signatures)
    examples = module.make_examples(smoke)
    assert set(examples) == set(specs)
    for name, inputs in examples.items():
        assert set(inputs) == set(specs[name].inputs)
        for alias, array in inputs.items():
            spec = specs[name].inputs[alias]
            assert array.shape[0] == EXAMPLE_ROWS
            assert spec.shape.is_compatible_with(array.shape)
            # Strings are object arrays of bytes.
            dtype = np.dtype(object) if spec.dtype == tf.string else spec.dtype
            assert array.dtype == dtype


def test_every_example_is_answered_alike_alone_and_in_a_batch(module, smoke, fitted):
    for name, inputs in module.make_examples(smoke).items():
        together = _run(fitted.signatures[name], inputs)
        for row in range(EXAMPLE_ROWS):
            one = {alias: array[row : row + 1] for alias, array in inputs.items()}
            for alias, output in _run(fitted.signatures[name], one).items():
                wanted = together[alias][row : row + 1]
                if output.dtype.kind == "f":
                    np.testing.assert_allclose(output, wanted, rtol=1e-4, atol=1e-5)
                else:
                    np.testing.assert_array_equal(output, wanted)


def _run(function, inputs):
    tensors = {alias: tf.constant(array) for alias, array in inputs.items()}
    aliases = signature.check({"serving_default": function})["serving_default"].inputs
    outputs = function(*(tensors[alias] for alias in aliases))
    return {alias: output.numpy() for alias, output in outputs.items()}


def test_an_evaluation_has_figures_pictures_and_text(fitted):
    evaluation = fitted.evaluation
    assert isinstance(evaluation, Evaluation)
    assert evaluation.metrics
    assert all(math.isfinite(value) for value in evaluation.metrics.values())
    assert evaluation.text.strip()
    for title, panel in evaluation.panels.items():
        assert _report.picture(title, panel).size


def test_evaluation_takes_any_split_and_nothing_but_answers(module, smoke, fitted):
    asked = []
    answer = _fit.answer_of(fitted.signatures)

    def recorded(inputs):
        asked.append(inputs)
        return answer(inputs)

    for split in ("validation", "test"):
        assert module.evaluate(recorded, smoke, split).metrics
    aliases = set(signature.check(fitted.signatures)["serving_default"].inputs)
    assert all(set(inputs) == aliases for inputs in asked)
