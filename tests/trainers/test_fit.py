"""What `_fit` promises of every training: clear ends, files, devices."""

import dataclasses
import json
import math
import os
import re
import resource

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from savedmodels.errors import SignatureError, UsageError
from tests.trainers.fitting import (
    EPOCHS,
    STEPS,
    altered,
    fit_and_close,
    only_run,
    summaries,
)
from trainers import _fit, _strategy, mnist_classifier
from trainers._errors import DivergedError, TrainingError
from trainers._progress import Progress


def test_a_loss_that_is_no_number_stops_the_run_and_says_what_to_type(quick, tmp_path):
    config = dataclasses.replace(quick, learning_rate=1e30, rollbacks=0)
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
        with pytest.raises(TrainingError, match="after step 38 of epoch 1 cannot be"):
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


def test_the_model_has_the_weights_of_the_best_epoch(config, whole):
    answer = _fit.answer_of(whole.signatures)
    scored = mnist_classifier.evaluate(answer, config, "validation").metrics
    best = min(whole.history["val_loss"])
    assert scored["cross_entropy"] == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize(("patience", "best"), [(0, 3), (2, 1)])
def test_a_model_file_may_take_the_last_epoch_unless_it_stops_early(
    quick, tmp_path, patience, best
):
    def make_datasets(config):
        train, validation = mnist_classifier.make_datasets(config)
        return train.map(lambda image, label: (image, (label + 1) % 10)), validation

    # What it learns is wrong, so the validation loss only rises.
    config = dataclasses.replace(quick, epochs=3, early_stopping_epochs=patience)
    wrong = altered(make_datasets=make_datasets, TAKES_LAST=True)
    fitted = fit_and_close(config, tmp_path, wrong)
    losses = fitted.history["val_loss"]
    assert len(losses) == 3
    assert np.argmin(losses) == 0
    metrics = json.loads((only_run(tmp_path) / "metrics.json").read_text())
    assert metrics["best_epoch"] == best
    scored = mnist_classifier.evaluate(
        _fit.answer_of(fitted.signatures), config, "validation"
    )
    wanted = losses[best - 1]
    assert scored.metrics["cross_entropy"] == pytest.approx(wanted, rel=1e-4)


def test_learns_the_tiny_digits(whole):
    assert whole.metrics["accuracy"] >= 0.75  # 0.1 by guessing


def test_checkpoints_do_not_pile_up(whole):
    losses = whole.history["val_loss"]
    # The last one, and that before the last validation.
    best = {int(np.argmin(losses)) + 1, int(np.argmin(losses[:-1])) + 1}
    assert {path.name for path in whole.run.checkpoints.iterdir()} == {
        *(f"best-{epoch:04d}.ckpt" for epoch in best),
        f"state-{EPOCHS - 1:04d}-{STEPS:06d}.ckpt",
        f"state-{EPOCHS:04d}-000000.ckpt",
    }


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


def test_makes_no_summaries_of_single_steps(quick, tmp_path, monkeypatch):
    names = summaries(monkeypatch, tf.summary)
    fit_and_close(quick, tmp_path)
    assert "epoch_loss" in names
    assert not [name for name in names if name.startswith("batch_")]


def test_says_one_line_per_epoch_where_there_is_no_terminal(quick, tmp_path, capsys):
    fit_and_close(dataclasses.replace(quick, epochs=2), tmp_path)
    lines = [line for line in capsys.readouterr().out.splitlines() if "epoch" in line]
    assert len(lines) == 2
    assert lines[1].startswith("epoch 2/2")
    assert re.search(r"validation accuracy \d", lines[1])


def test_an_unknown_strategy_names_the_nearest(quick, tmp_path):
    with pytest.raises(UsageError, match="Did you mean `mirrored`"):
        _fit.fit(mnist_classifier, quick, runs=tmp_path, strategy="miror")
    assert not list(tmp_path.iterdir())


def test_on_a_cpu_auto_means_neither_half_precision_nor_xla(config):
    assert _strategy.dtype_policy(config) == "float32"
    assert not _strategy.xla(config, _strategy.make_strategy("auto"))


@pytest.mark.parametrize(
    ("precision", "policy"),
    [("float16", "mixed_float16"), ("bfloat16", "mixed_bfloat16"), ("off", "float32")],
)
def test_precision_can_be_forced(config, precision, policy):
    config = dataclasses.replace(config, mixed_precision=precision)
    assert _strategy.dtype_policy(config) == policy


@pytest.mark.parametrize(("typed", "is_on"), [("on", True), ("off", False)])
def test_xla_can_be_forced(config, typed, is_on):
    config = dataclasses.replace(config, xla=typed)
    assert _strategy.xla(config, _strategy.make_strategy("default")) is is_on


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_model_trained_in_half_precision_serves_float32(config, tmp_path, precision):
    half = dataclasses.replace(config, mixed_precision=precision, epochs=1)
    fitted = fit_and_close(half, tmp_path)
    assert math.isfinite(fitted.metrics["cross_entropy"])
    assert {layer.compute_dtype for layer in fitted.model.layers} <= {
        "float32",
        "uint8",
    }
