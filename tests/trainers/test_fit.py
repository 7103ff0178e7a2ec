"""What `_fit` promises of every training: exact resume, clear ends, files."""

import dataclasses
import json
import math
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import types

import numpy as np
import PIL.Image
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from savedmodels.errors import SignatureError, UsageError
from trainers import _checkpoints, _fit, _strategy, mnist_classifier
from trainers._checkpoints import Progress
from trainers._config import TrainConfig
from trainers._errors import DivergedError, TrainingError

ROOT = pathlib.Path(__file__).parents[2]
EPOCHS = 3

# Trains in a process of its own: (datasets_dir, runs, field=value ...)
CHILD = """
import pathlib, sys
from trainers import _config, _fit, mnist_classifier
datasets_dir, runs, *assignments = sys.argv[1:]
config = _config.override(
    mnist_classifier.SMOKE, [f"datasets_dir={datasets_dir}", *assignments]
)
_fit.fit(mnist_classifier, config, runs=pathlib.Path(runs))
"""

# The same on two replicas: once as a whole, once interrupted and gone on with.
MIRRORED_CHILD = """
import pathlib, sys, types
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
from trainers import _config, _fit, mnist_classifier
datasets_dir, runs, *assignments = sys.argv[1:]
config = _config.override(
    mnist_classifier.SMOKE, [f"datasets_dir={datasets_dir}", *assignments]
)

def interrupted(answer, config, split):
    raise KeyboardInterrupt

def fit(name, **changes):
    module = types.SimpleNamespace(**(vars(mnist_classifier) | changes))
    runs_of_it = pathlib.Path(runs) / name
    _fit.fit(module, config, runs=runs_of_it, strategy="mirrored").run.close()

fit("whole")
try:
    fit("resumed", evaluate=interrupted)
except KeyboardInterrupt:
    pass
fit("resumed")
"""


@pytest.fixture(scope="module")
def config(datasets_dir):
    return dataclasses.replace(
        mnist_classifier.SMOKE, datasets_dir=str(datasets_dir), epochs=EPOCHS
    )


@pytest.fixture
def quick(config):
    """A network that is traced in no time, where the network does not matter."""
    return dataclasses.replace(config, network="dense")


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """A run that nothing interrupted."""
    runs = tmp_path_factory.mktemp("whole")
    return _fit.fit(mnist_classifier, config, runs=runs, profile=True)


def start(script, config, runs):
    fields = ("epochs", "network", "global_batch_size", "distortion")
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            script,
            config.datasets_dir,
            str(runs),
            *(f"{field}={getattr(config, field)}" for field in fields),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"},
    )


def only_run(runs):
    (path,) = (runs / "mnist_classifier").iterdir()
    return path


def fit_and_close(config, runs, module=mnist_classifier):
    fitted = _fit.fit(module, config, runs=runs)
    fitted.run.close()  # as the end of the process would
    return fitted


def altered(**changes):
    """The model file with some of its functions replaced."""
    return types.SimpleNamespace(**(vars(mnist_classifier) | changes))


def assert_same_training(resumed, whole):
    for found, wanted in zip(resumed.model.weights, whole.model.weights, strict=True):
        np.testing.assert_array_equal(found.numpy(), wanted.numpy())
    for name, curve in whole.history.items():
        if name != "examples_per_second":
            assert resumed.history[name] == curve, name


# Resume


def test_a_run_killed_in_mid_epoch_ends_as_if_nothing_had_happened(
    config, whole, tmp_path
):
    child = start(CHILD, config, tmp_path)
    for line in child.stdout:
        if line.startswith("epoch 1/"):
            break
    child.kill()  # it is in its second epoch now
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    state = only_run(tmp_path) / "checkpoints" / "last.npz"
    with np.load(state) as arrays:
        assert json.loads(str(arrays["progress"]))["epochs"] == 1

    resumed = fit_and_close(config, tmp_path)
    assert resumed.run.resumed
    assert_same_training(resumed, whole)


def test_ctrl_c_leaves_a_run_that_goes_on(config, whole, tmp_path, capsys):
    def interrupted(answer, config, split):
        del answer, config, split
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit_and_close(config, tmp_path, altered(evaluate=interrupted))
    assert "goes on after epoch 1" in capsys.readouterr().out
    resumed = fit_and_close(config, tmp_path)
    assert "after epoch 1" in capsys.readouterr().out
    assert_same_training(resumed, whole)


def test_a_trained_run_that_was_not_exported_goes_on_at_the_evaluation(
    config, whole, tmp_path
):
    before = only_run(whole.run.path.parents[1])
    # What a kill leaves between training and export.
    shutil.copytree(before, tmp_path / "mnist_classifier" / before.name)
    (tmp_path / "mnist_classifier" / before.name / "metrics.json").unlink()

    untrainable = altered(make_datasets=lambda config: (_Untouchable(), None))
    resumed = fit_and_close(config, tmp_path, untrainable)
    assert resumed.history == whole.history
    assert resumed.metrics == whole.metrics
    assert (resumed.run.path / "metrics.json").exists()


class _Untouchable:
    """A data set that must not be read."""

    def __iter__(self):
        raise AssertionError("The data set was read")


def test_an_exported_run_is_not_gone_on_with(quick, tmp_path):
    config = dataclasses.replace(quick, epochs=1)
    first = _fit.fit(mnist_classifier, config, runs=tmp_path)
    first.run.finish(tmp_path / "1")
    second = fit_and_close(config, tmp_path)
    assert second.run.path != first.run.path
    assert not second.run.resumed


def test_a_run_of_another_network_starts_anew(quick, tmp_path, capsys):
    config = dataclasses.replace(quick, epochs=1)
    first = fit_and_close(config, tmp_path)
    larger = altered(
        make_model=lambda c: mnist_classifier.make_model(
            dataclasses.replace(c, hidden_units=(20, 10))
        )
    )
    second = fit_and_close(config, tmp_path, larger)
    assert "another network" in capsys.readouterr().out
    assert second.run.path != first.run.path


# Ends


def test_a_loss_that_is_no_number_stops_the_run_and_says_what_to_type(quick, tmp_path):
    config = dataclasses.replace(quick, learning_rate=1e30)
    with pytest.raises(DivergedError) as stopped:
        _fit.fit(mnist_classifier, config, runs=tmp_path)
    message = str(stopped.value)
    assert re.search(r"in epoch 1, step \d+ of 38", message)  # 600 / 16, rounded up
    assert "loss=nan" in message or "loss=inf" in message
    assert 'SET="learning_rate=1e+29"' in message
    run = only_run(tmp_path)
    assert "failed" in json.loads((run / "ended.json").read_text())
    assert not (run / "metrics.json").exists()


def test_a_full_disk_is_one_clear_message_and_the_run_can_go_on(quick, tmp_path):
    config = dataclasses.replace(quick, epochs=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(TrainingError, match="checkpoint of epoch 1 cannot be"):
            _fit.fit(mnist_classifier, config, runs=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(only_run(tmp_path).rglob("*.partial"))
    again = fit_and_close(config, tmp_path)
    assert again.run.path == only_run(tmp_path)
    assert len(again.history["loss"]) == 1


def test_stops_early_after_epochs_without_a_better_validation_loss(quick, tmp_path):
    # Too small to move any weight: no epoch is better than the first.
    config = dataclasses.replace(
        quick, learning_rate=1e-30, early_stopping_epochs=1, epochs=5
    )
    fitted = fit_and_close(config, tmp_path)
    assert len(fitted.history["val_loss"]) == 2
    # And says so again when asked again.
    assert len(fit_and_close(config, tmp_path).history["val_loss"]) == 2


@pytest.mark.parametrize(
    ("epochs", "best", "patience", "stops"),
    [(5, 5, 1, False), (5, 4, 1, True), (5, 4, 2, False), (5, 1, 0, False)],
)
def test_early_stopping_counts_the_epochs_since_the_best(epochs, best, patience, stops):
    progress = Progress(epochs=epochs, best_epoch=best)
    assert progress.stopped_early(patience) is stops


def test_a_mistake_in_a_signature_costs_no_training(quick, tmp_path):
    wrong = altered(make_signatures=lambda model, config: {})
    with pytest.raises(SignatureError, match="serving_default"):
        _fit.fit(wrong, quick, runs=tmp_path)
    assert not (only_run(tmp_path) / "checkpoints").exists()


# Results


def test_the_model_has_the_weights_of_the_best_epoch(config, whole):
    answer = _fit.answer_of(whole.signatures)
    scored = mnist_classifier.evaluate(answer, config, "validation").metrics
    best = min(whole.history["val_loss"])
    assert scored["cross_entropy"] == pytest.approx(best, rel=1e-4)


def test_learns_the_tiny_digits(whole):
    assert whole.metrics["accuracy"] >= 0.75  # 0.1 by guessing


def test_a_checkpoint_keeps_the_best_weights_when_later_ones_are_worse(quick, tmp_path):
    model = mnist_classifier.make_model(quick)
    progress = Progress(epochs=1, best_epoch=1)
    best = [weight.numpy() for weight in model.weights]
    _checkpoints.save(tmp_path, model, progress)
    for weight in model.weights:
        weight.assign(weight + 1.0)
    progress.epochs = 2
    _checkpoints.save(tmp_path, model, progress)
    later = [weight.numpy() for weight in model.weights]

    fresh = mnist_classifier.make_model(quick)
    found = _checkpoints.restore_last(tmp_path, fresh)
    assert found == progress
    for weight, wanted in zip(fresh.weights, later, strict=True):
        np.testing.assert_array_equal(weight.numpy(), wanted)
    _checkpoints.restore_best(tmp_path, fresh, found)
    for weight, wanted in zip(fresh.weights, best, strict=True):
        np.testing.assert_array_equal(weight.numpy(), wanted)


def test_checkpoints_do_not_pile_up(whole):
    names = sorted(path.name for path in whole.run.checkpoints.iterdir())
    best = int(np.argmin(whole.history["val_loss"])) + 1
    assert names == [f"best-{best:04d}.npz", "last.npz"]


def test_metrics_json_says_what_was_trained_how_well_and_on_what(config, whole):
    content = json.loads((whole.run.path / "metrics.json").read_text())
    assert content["config"]["epochs"] == EPOCHS
    assert content["test"] == whole.metrics
    assert content["seconds"] > 0
    assert content["examples_per_second"] > 0
    assert content["hardware"]["cpu_cores"] == len(os.sched_getaffinity(0))
    assert "tensorflow" in content["hardware"]["packages"]
    for curve in ("loss", "val_loss", "accuracy", "val_accuracy", "learning_rate"):
        assert len(content["history"][curve]) == EPOCHS


def test_the_report_is_a_picture(whole):
    with PIL.Image.open(whole.run.path / "report.png") as image:
        image.load()
        assert min(image.size) >= 800


def test_tensorboard_gets_curves_pictures_the_graph_and_a_profile(whole):
    seen = {}
    for part in ("train", "validation", "pictures"):
        events = EventAccumulator(str(whole.run.logs / part)).Reload()
        tags = events.Tags()["tensors"]
        seen[part] = {tag: len(events.Tensors(tag)) for tag in tags}
        if part == "train":
            # Keras writes its layers, which TensorBoard shows as the graph.
            layers = events.Tensors("keras")[0].tensor_proto.string_val[0]
            assert b"max_pooling2d" in layers
    curves = {"epoch_loss": EPOCHS, "epoch_accuracy": EPOCHS}
    assert seen["train"].items() >= (curves | {"epoch_learning_rate": EPOCHS}).items()
    assert seen["validation"].items() >= curves.items()
    pictures = ("examples_per_second", "confusion matrix", "first examples")
    assert seen["pictures"].items() >= dict.fromkeys(pictures, EPOCHS).items()
    assert list(whole.run.logs.rglob("*.xplane.pb"))


def test_says_one_line_per_epoch_where_there_is_no_terminal(quick, tmp_path, capsys):
    fit_and_close(dataclasses.replace(quick, epochs=2), tmp_path)
    lines = [line for line in capsys.readouterr().out.splitlines() if "epoch" in line]
    assert len(lines) == 2
    assert lines[1].startswith("epoch 2/2")
    assert re.search(r"validation accuracy \d", lines[1])


# Devices


def test_an_unknown_strategy_names_the_nearest(quick, tmp_path):
    with pytest.raises(UsageError, match="Did you mean `mirrored`"):
        _fit.fit(mnist_classifier, quick, runs=tmp_path, strategy="miror")
    assert not list(tmp_path.iterdir())


def test_two_replicas_train_as_one_does_and_are_resumed_too(quick, tmp_path):
    # Without batch norm, whose statistics are each replica's own, and in batches of
    # everything, so that the order, which may differ, does not matter.
    config = dataclasses.replace(quick, global_batch_size=600, distortion=0.0)
    child = start(MIRRORED_CHILD, config, tmp_path / "two")
    one = fit_and_close(config, tmp_path / "one")
    output, errors = child.communicate()
    assert child.returncode == 0, errors
    assert "Going on with" in output

    whole, resumed = (
        json.loads((only_run(tmp_path / "two" / name) / "metrics.json").read_text())
        for name in ("whole", "resumed")
    )
    for curve in ("loss", "val_loss"):
        found = whole["history"][curve]
        np.testing.assert_allclose(found, one.history[curve], rtol=1e-5)
        assert resumed["history"][curve] == found
    assert whole["test"] == pytest.approx(dict(one.metrics), rel=1e-5)
    assert resumed["test"] == whole["test"]


def test_on_a_cpu_auto_means_neither_half_precision_nor_xla(config):
    assert not _strategy.mixed_precision(config)
    assert not _strategy.xla(config, _strategy.make_strategy("auto"))


@pytest.mark.parametrize(("typed", "is_on"), [("on", True), ("off", False)])
def test_precision_and_xla_can_be_forced(typed, is_on):
    config = TrainConfig(
        dataset="mnist", epochs=1, learning_rate=1.0, mixed_precision=typed, xla=typed
    )
    assert _strategy.mixed_precision(config) is is_on
    assert _strategy.xla(config, _strategy.make_strategy("default")) is is_on


def test_a_model_trained_in_half_precision_serves_float32(config, tmp_path):
    half = dataclasses.replace(config, mixed_precision="on", epochs=1)
    fitted = fit_and_close(half, tmp_path)
    assert math.isfinite(fitted.metrics["cross_entropy"])
    assert {layer.compute_dtype for layer in fitted.model.layers} <= {
        "float32",
        "uint8",
    }
