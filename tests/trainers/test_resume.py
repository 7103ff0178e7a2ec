"""A run goes on where it was stopped, and ends as if it had not been."""

import dataclasses
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.trainers.fitting import (
    EPOCHS,
    STEPS,
    Killed,
    altered,
    assert_same_training,
    fit_and_close,
    fit_until,
    kill,
    only_run,
)
from trainers import _checkpoints, _runs, mnist_classifier
from trainers._guard import Guard

ROOT = pathlib.Path(__file__).parents[2]


# The command `train` in a process of its own, which sends itself a signal within a
# step: (signal's number, step, arguments ...)
CHILD = """
import os, sys
import pytest
from pipelines import train
from tests.trainers.fitting import at_step
number, step = int(sys.argv[1]), int(sys.argv[2])
at_step(pytest.MonkeyPatch(), step, lambda: os.kill(os.getpid(), number))
sys.exit(train.main(sys.argv[3:]))
"""


# On two replicas: as a whole, and as one that is stopped in a step and gone on with.
MIRRORED_CHILD = """
import pathlib, sys
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
from tests.trainers.fitting import fit_and_close, fit_until
from trainers import _config, mnist_classifier
step, datasets_dir, runs, *assignments = sys.argv[1:]
config = _config.override(
    mnist_classifier.SMOKE, [f"datasets_dir={datasets_dir}", *assignments]
)
whole, resumed = pathlib.Path(runs) / "whole", pathlib.Path(runs) / "resumed"
fit_and_close(config, whole, strategy="mirrored")
fit_until(int(step), config, resumed, strategy="mirrored")
fit_and_close(config, resumed, strategy="mirrored")
"""


def start(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"},
    )


def stop_itself(number, step, config, runs):
    """Trains in a process that sends itself a signal within a step: (code, stderr)."""
    fields = dataclasses.asdict(config)
    usual = dataclasses.asdict(mnist_classifier.Config())
    child = start(
        CHILD,
        *(int(number), step, "mnist_classifier", "--runs", runs),
        *("--store", runs.parent / "store", "--examples", runs.parent / "examples"),
        *(
            argument
            for name, value in fields.items()
            if value != usual[name]
            for argument in ("--set", f"{name}={_typed(value)}")
        ),
    )
    _, errors = child.communicate()
    return child.returncode, errors


def _typed(value):
    return ",".join(map(str, value)) if isinstance(value, tuple) else value


def position(runs):
    found = _checkpoints.newest(only_run(runs) / "checkpoints")
    return found[0].position if found else (0, 0)


@pytest.fixture
def often(config):
    """The Config of `whole`, kept every few steps: which must change nothing."""
    return dataclasses.replace(config, checkpoint_steps=5)


def assert_survives_a_kill(step, often, whole, runs):
    code, errors = stop_itself(signal.SIGKILL, step, often, runs)
    assert code == -signal.SIGKILL, errors
    # The end of an epoch waits for the checkpoint of its last step.
    epoch = (step - 1) // STEPS
    epochs, steps = position(runs)
    assert epoch * STEPS <= epochs * STEPS + steps < step
    resumed = fit_and_close(often, runs)
    assert resumed.run.resumed
    assert_same_training(resumed, whole)


def test_a_run_killed_in_any_step_ends_as_if_nothing_had_happened(
    often, whole, tmp_path
):
    seed = random.randrange(1_000_000)
    step = random.Random(seed).randrange(1, EPOCHS * STEPS + 1)
    print(f"seed {seed}: killed in step {step}")
    assert_survives_a_kill(step, often, whole, tmp_path / "runs")


@pytest.mark.slow
def test_so_it_does_twenty_times_over(often, whole, tmp_path):
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    steps = random.Random(seed).sample(range(1, EPOCHS * STEPS + 1), 20)
    for step in steps:
        print(f"killed in step {step}")
        assert_survives_a_kill(step, often, whole, tmp_path / str(step) / "runs")


@pytest.mark.slow
def test_a_run_stopped_again_and_again_ends_as_if_nothing_had_happened(
    often, whole, tmp_path, capsys
):
    for step in (33, STEPS + 9):
        fit_until(step, often, tmp_path)
    assert_same_training(fit_and_close(often, tmp_path), whole)
    told = capsys.readouterr().out
    assert re.search(r"after step \d+ of epoch 1\n", told)
    assert re.search(r"after (epoch 1|step \d+ of epoch 2)\n", told)


@pytest.mark.slow
def test_a_run_in_half_precision_goes_on_with_its_loss_scale(quick, tmp_path):
    # Too large at the start: it is halved in the first steps.
    config = dataclasses.replace(
        quick, epochs=1, mixed_precision="float16", checkpoint_steps=5
    )

    def make_model(config):
        model = mnist_classifier.make_model(config)
        model.optimizer.initial_scale = 2.0**24
        return model

    module = altered(make_model=make_model)
    whole = fit_and_close(config, tmp_path / "whole", module)
    fit_until(23, config, tmp_path / "killed", module)
    assert_same_training(fit_and_close(config, tmp_path / "killed", module), whole)


def test_sigterm_keeps_the_step_and_the_code_says_to_resume(config, whole, tmp_path):
    code, errors = stop_itself(signal.SIGTERM, STEPS + 13, config, tmp_path / "runs")
    assert code == os.EX_TEMPFAIL == 75
    *_, told = errors.splitlines()
    assert told == (
        "Stopped by SIGTERM after step 13 of epoch 2, which is kept: resume with the "
        "same command"
    )
    assert position(tmp_path / "runs") == (1, 13)
    assert not (tmp_path / "store" / "mnist_classifier" / "1").exists()
    resumed = fit_and_close(config, tmp_path / "runs")
    assert resumed.run.resumed
    assert_same_training(resumed, whole)


@pytest.mark.slow
def test_what_stops_the_validation_costs_no_step(config, whole, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Guard, "validation", kill)
        with pytest.raises(Killed):
            fit_and_close(config, tmp_path)
    assert position(tmp_path) == (0, STEPS)
    assert_same_training(fit_and_close(config, tmp_path), whole)


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


def test_a_run_without_a_whole_checkpoint_is_told_and_begun_anew(
    trained, tmp_path, capsys
):
    config, put = trained
    first = put(tmp_path)
    for path in (first / "checkpoints").glob("state-*"):
        path.write_bytes(b"not a checkpoint")
    second = fit_and_close(config, tmp_path)
    assert second.run.path != first
    told = capsys.readouterr().out
    assert f"{first} has a damaged checkpoint, state-0001-000000.ckpt" in told
    assert "starting anew" in told
    assert "failed" in json.loads((first / "ended.json").read_text())
    assert len(second.history["loss"]) == 1


def test_a_run_whose_best_weights_are_damaged_goes_on_at_the_validation(
    trained, tmp_path, capsys
):
    config, put = trained
    first = put(tmp_path)
    before = json.loads((first / "metrics.json").read_text())
    (first / "checkpoints" / "best-0001.ckpt").write_bytes(b"not a checkpoint")
    second = fit_and_close(config, tmp_path)
    assert second.run.path == first
    assert f"after step {STEPS} of epoch 1" in capsys.readouterr().out
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert second.history[name] == before["history"][name], name
    assert second.metrics == before["test"]


def on_two_replicas(step, config, runs):
    """The metrics of a training as a whole, and of one that was stopped in a step."""
    fields = ("epochs", "network", "global_batch_size", "distortion")
    assignments = [f"{field}={getattr(config, field)}" for field in fields]
    arguments = (step, config.datasets_dir, runs, "checkpoint_steps=1", *assignments)
    child = start(MIRRORED_CHILD, *arguments)
    output, errors = child.communicate()
    assert child.returncode == 0, errors
    assert "Going on with" in output
    return [
        json.loads((only_run(runs / name) / "metrics.json").read_text())
        for name in ("whole", "resumed")
    ]


@pytest.mark.slow
def test_two_replicas_train_as_one_does_and_are_resumed_too(quick, tmp_path):
    # In batches of everything, so that the order, which may differ, does not matter.
    config = dataclasses.replace(quick, epochs=2, global_batch_size=600, distortion=0.0)
    whole, resumed = on_two_replicas(2, config, tmp_path / "two")
    one = fit_and_close(config, tmp_path / "one")
    for curve in ("loss", "val_loss"):
        found = whole["history"][curve]
        np.testing.assert_allclose(found, one.history[curve], rtol=1e-5)
        assert resumed["history"][curve] == found
    assert whole["test"] == pytest.approx(dict(one.metrics), rel=1e-5)
    assert resumed["test"] == whole["test"]


@pytest.mark.slow
def test_two_replicas_are_resumed_within_an_epoch(config, tmp_path):
    config = dataclasses.replace(config, epochs=2, global_batch_size=128)
    whole, resumed = on_two_replicas(8, config, tmp_path)
    assert resumed["history"]["loss"] == whole["history"]["loss"]
    assert resumed["test"] == whole["test"]
