"""What a step does with a batch, on one device; test_replicas.py asks about several."""

import dataclasses

import numpy as np
import pytest
import tf_keras

from tests.trainers import small_models
from tests.trainers.fitting import altered, fit_and_close
from tests.trainers.small_models import Config
from trainers import (
    _averages,
    _checkpoints,
    _flavour,
    _steps,
    _strategy,
    conv_autoencoder,
    mnist_classifier,
)

FLAVOURS = pytest.mark.parametrize("flavour", small_models.FLAVOURS)


def made(config):
    model = small_models.make_model(config)
    _steps.attach(model, config)
    return model


def taught(model, epochs=2):
    """Takes steps without a graph, which is soon done; returns their logs."""
    logs = []
    for _ in range(epochs):
        model.reset_metrics()
        for batch in small_models.make_datasets(Config(flavour=_name_of(model)))[0]:
            found = model.train_step(batch)
            logs.append({name: float(value) for name, value in found.items()})
    return logs


def _name_of(model):
    return _flavour.of(model).__name__


def values(variables):
    return [variable.numpy() for variable in variables]


def assert_equal(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


@FLAVOURS
def test_on_one_device_a_step_is_that_of_keras_to_the_last_bit(flavour):
    config = Config(flavour=flavour, normalised=True, clipping="global_clipnorm")
    model, of_keras = made(config), small_models.make_model(config)
    logs, wanted = taught(model), taught(of_keras)
    assert_equal(values(model.weights), values(of_keras.weights))
    for step in logs:
        step.pop("gradient_norm")
    assert logs == wanted


@FLAVOURS
def test_parts_of_a_batch_have_the_gradient_of_the_whole(flavour):
    config = Config(flavour=flavour, clipping="global_clipnorm")
    in_parts = dataclasses.replace(config, gradient_accumulation_steps=3)
    model, whole = made(in_parts), made(config)
    # The last batch is of one row, and two of its parts of none.
    for found, wanted in zip(taught(model), taught(whole), strict=True):
        assert found == pytest.approx(wanted, rel=1e-4)
    for a, b in zip(values(model.weights), values(whole.weights), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@FLAVOURS
def test_parts_without_a_row_do_not_spoil_what_is_normalised(flavour):
    config = Config(flavour=flavour, normalised=True, gradient_accumulation_steps=4)
    model = made(config)
    for step in taught(model):
        assert np.isfinite(list(step.values())).all()
    for value in values(model.weights):
        assert np.isfinite(value).all()


@FLAVOURS
def test_the_norm_is_that_of_the_gradient_before_it_is_clipped(flavour):
    # The first step of SGD goes by the gradient times the learning rate.
    config = Config(flavour=flavour, learning_rate=1.0)
    (batch,) = small_models.make_datasets(config)[0].take(1)
    moved, norms = {}, {}
    for clipping in ("", "global_clipnorm"):
        model = made(dataclasses.replace(config, clipping=clipping))
        before = values(model.trainable_variables)
        norms[clipping] = float(model.train_step(batch)["gradient_norm"])
        after = values(model.trainable_variables)
        squares = [((a - b) ** 2).sum() for a, b in zip(before, after, strict=True)]
        moved[clipping] = np.sqrt(sum(squares))
    assert norms[""] == pytest.approx(moved[""], rel=1e-4)
    assert norms["global_clipnorm"] == norms[""]
    # Keras clips the uses of a word one by one, which together may be longer.
    assert moved["global_clipnorm"] < 2 * config.clip < norms[""]


@FLAVOURS
@pytest.mark.parametrize("mixed_precision", ["off", "float16"])
def test_a_norm_that_is_asked_for_is_that_of_all_weights(flavour, mixed_precision):
    half = Config(
        flavour=flavour, clipping="clipvalue", mixed_precision=mixed_precision
    )
    with _strategy.precision(half):
        config = dataclasses.replace(half, clip_norm=half.clip)
        model = made(config)
        alike = made(dataclasses.replace(half, clipping="global_clipnorm"))
    for found, wanted in zip(taught(model), taught(alike), strict=True):
        assert found == pytest.approx(wanted, rel=1e-5)
    for a, b in zip(values(model.weights), values(alike.weights), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


@FLAVOURS
@pytest.mark.parametrize("parts", [1, 3])
def test_a_step_that_xla_compiles_is_the_same(flavour, parts):
    config = Config(flavour=flavour, ema_momentum=0.5, clip_norm=0.05)
    config = dataclasses.replace(config, gradient_accumulation_steps=parts)
    histories, weights = [], []
    for compiled in (False, True):
        model = made(config)
        model.jit_compile = compiled
        train, validation = small_models.make_datasets(config)
        history = model.fit(train, validation_data=validation, verbose=0).history
        histories.append(history)
        weights.append(values(model.weights))
    assert histories[1].keys() == histories[0].keys()
    for name, curve in histories[0].items():
        assert histories[1][name] == pytest.approx(curve, rel=1e-4), name
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@FLAVOURS
@pytest.mark.parametrize("parts", [1, 2])
def test_a_loss_that_is_no_number_is_seen_at_once(flavour, parts):
    model = made(Config(flavour=flavour, gradient_accumulation_steps=parts))
    words = model.trainable_variables[0]
    words.assign(words * np.nan)
    logs = taught(model, epochs=1)[0]
    assert np.isnan(logs["loss"])
    assert np.isnan(logs["gradient_norm"])


@FLAVOURS
def test_half_precision_leaves_out_a_step_that_is_too_large_for_it(flavour):
    half = Config(flavour=flavour, mixed_precision="float16")
    with _strategy.precision(half):
        model = made(dataclasses.replace(half, gradient_accumulation_steps=2))
    (batch,) = small_models.make_datasets(half)[0].take(1)
    optimizer = model.optimizer
    scale = (
        optimizer.dynamic_scale
        if flavour == "keras"
        else optimizer._loss_scale.current_loss_scale
    )
    before = values(model.trainable_variables)
    scale.assign(2.0**127)
    assert not np.isfinite(float(model.train_step(batch)["gradient_norm"]))
    assert_equal(values(model.trainable_variables), before)
    assert float(scale) == 2.0**126

    scale.assign(2.0**10)
    one = made(dataclasses.replace(half, mixed_precision="off"))
    found, wanted = (
        float(each.train_step(batch)["gradient_norm"]) for each in (model, one)
    )
    assert found == pytest.approx(wanted, rel=1e-2)


def test_batch_normalisation_is_synchronised_where_there_are_replicas(
    datasets_dir, monkeypatch
):
    for module in (mnist_classifier, conv_autoencoder):
        config = dataclasses.replace(module.SMOKE, datasets_dir=str(datasets_dir))
        for is_spread in (False, True):  # and no model that is exported is spread
            monkeypatch.setattr(
                _steps, "is_spread", lambda is_spread=is_spread: is_spread
            )
            found = {
                layer.synchronized
                for layer in module.make_model(config)._flatten_layers()
                if hasattr(layer, "synchronized")
            }
            assert found == {is_spread}


def test_a_loss_that_is_a_sum_is_refused():
    model = small_models.make_model(Config(flavour="tf_keras"))
    model.compile("sgd", tf_keras.losses.MeanSquaredError(reduction="sum"))
    with pytest.raises(TypeError, match="Received: reduction=sum"):
        _steps.attach(model, Config())


@FLAVOURS
def test_training_goes_on_with_the_weights_and_judges_their_averages(flavour):
    plain = Config(flavour=flavour)
    model, raw = made(dataclasses.replace(plain, ema_momentum=0.5)), made(plain)
    assert taught(model) == taught(raw)
    trained = values(model.weights)
    assert_equal(trained, values(raw.weights))

    validation = small_models.make_datasets(plain)[1].take(1)
    found = model.evaluate(validation, verbose=0, return_dict=True)
    assert_equal(values(model.weights), trained)
    for weight, average in zip(raw.weights, _averages.served(model), strict=True):
        weight.assign(average.numpy())
    assert found == raw.evaluate(validation, verbose=0, return_dict=True)


@FLAVOURS
def test_averages_follow_the_weights_by_the_momentum(flavour):
    model = made(Config(flavour=flavour, ema_momentum=0.75))
    after = [values(model.trainable_variables)]
    for batch in small_models.make_datasets(Config(flavour=flavour))[0]:
        model.train_step(batch)
        after.append(values(model.trainable_variables))
    # tf_keras begins with the first weights, Keras 3 with those after the first step.
    wanted = after[0 if flavour == "tf_keras" else 1]
    for weights in after[1:]:
        wanted = [0.75 * a + 0.25 * b for a, b in zip(wanted, weights, strict=True)]
    with _averages.used(model):
        found = values(model.trainable_variables)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@FLAVOURS
def test_what_is_kept_of_a_run_goes_on_with_the_weights_and_their_averages(flavour):
    config = Config(flavour=flavour, ema_momentum=0.5)
    model, resumed = made(config), made(config)
    (batch,) = small_models.make_datasets(config)[0].take(1)
    resumed.test_step(batch)  # makes the metrics
    taught(model)
    kept = _checkpoints.values(_flavour.state(model))
    with _averages.used(model):
        judged = values(model.weights)
    assert_equal(_checkpoints.values(_flavour.state(model)), kept)
    assert_equal(_checkpoints.values(_averages.served(model)), judged)

    _checkpoints.assign(_flavour.state(resumed), kept)
    assert_equal(values(_averages.served(resumed)), judged)
    assert taught(resumed) == taught(model)
    assert_equal(values(resumed.weights), values(model.weights))


@pytest.mark.slow
def test_a_run_with_averages_in_parts_ends_resumed_as_if_uninterrupted(quick, tmp_path):
    config = dataclasses.replace(
        quick, epochs=2, ema_momentum=0.9, gradient_accumulation_steps=3
    )

    def interrupted(answer, config, split):
        raise KeyboardInterrupt

    whole = fit_and_close(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit_and_close(config, tmp_path / "resumed", altered(evaluate=interrupted))
    resumed = fit_and_close(config, tmp_path / "resumed")
    assert resumed.run.resumed
    assert_equal(values(resumed.model.weights), values(whole.model.weights))
    assert resumed.history["val_loss"] == whole.history["val_loss"]
