"""A run goes on where it was interrupted, and ends as if it had not been."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.trainers.fitting import altered, fit_and_close, only_run
from trainers import _checkpoints, _runs, mnist_classifier
from trainers._checkpoints import Progress

ROOT = pathlib.Path(__file__).parents[2]


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


def assert_same_training(resumed, whole):
    for found, wanted in zip(resumed.model.weights, whole.model.weights, strict=True):
        np.testing.assert_array_equal(found.numpy(), wanted.numpy())
    for name, curve in whole.history.items():
        if name != "examples_per_second":
            assert resumed.history[name] == curve, name


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


@pytest.fixture(scope="module")
def trained(quick, tmp_path_factory):
    """The Config of one epoch, and a function that puts a run of it into a folder."""
    config = dataclasses.replace(quick, epochs=1)
    once = tmp_path_factory.mktemp("once")
    fit_and_close(config, once)

    def put(runs):
        shutil.copytree(once, runs, dirs_exist_ok=True)
        return only_run(runs)

    return config, put


def test_an_exported_run_is_not_gone_on_with(trained, tmp_path):
    config, put = trained
    first = put(tmp_path)
    run = _runs.open_run(tmp_path, "mnist_classifier", config)
    assert run.path == first
    run.finish(tmp_path / "1")
    second = fit_and_close(config, tmp_path)
    assert second.run.path != first
    assert not second.run.resumed


def test_a_run_of_another_network_starts_anew(trained, tmp_path, capsys):
    config, put = trained
    first = put(tmp_path)
    larger = altered(
        make_model=lambda c: mnist_classifier.make_model(
            dataclasses.replace(c, hidden_units=(20, 10))
        )
    )
    second = fit_and_close(config, tmp_path, larger)
    assert "another network" in capsys.readouterr().out
    assert second.run.path != first


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


def test_two_replicas_train_as_one_does_and_are_resumed_too(quick, tmp_path):
    # Without batch norm, whose statistics are each replica's own, and in batches of
    # everything, so that the order, which may differ, does not matter.
    config = dataclasses.replace(quick, epochs=2, global_batch_size=600, distortion=0.0)
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
