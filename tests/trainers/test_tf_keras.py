"""The loop trains models of tf_keras, Keras 2, as it trains those of Keras 3."""

import dataclasses
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.trainers.fitting import (
    EPOCHS,
    STEPS,
    altered,
    assert_same_training,
    fit_and_close,
    fit_until,
    summaries,
)
from trainers import _fit, _strategy
from trainers.datasets.mnist import IMAGE_SHAPE, NUM_CLASSES


def make_model(config):
    """A dense network with all that has state: dropout, moving means, a schedule."""
    layers = tf_keras.layers
    image = layers.Input(IMAGE_SHAPE, dtype="uint8", name="image")
    x = layers.Flatten()(layers.Rescaling(1 / 255)(image))
    x = layers.Dense(16, activation="relu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Dropout(0.2)(x)
    logits = layers.Dense(NUM_CLASSES, dtype="float32", name="logits")(x)
    model = tf_keras.Model(image, logits, name="mnist_classifier")
    rates = tf_keras.optimizers.schedules.CosineDecay(config.learning_rate, 114)
    model.compile(
        optimizer=tf_keras.optimizers.AdamW(rates, weight_decay=0.01),
        loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


OF_KERAS_2 = altered(make_model=make_model)


@pytest.fixture(scope="module")
def smoke(config):
    return dataclasses.replace(config, distortion=0.0)


@pytest.fixture(scope="module")
def fitted(smoke, tmp_path_factory):
    keras.utils.set_random_seed(1)
    return fit_and_close(smoke, tmp_path_factory.mktemp("keras_2"), OF_KERAS_2)


def test_learns_and_is_judged(fitted):
    assert isinstance(fitted.model, tf_keras.Model)
    assert len(fitted.history["val_loss"]) == EPOCHS
    assert fitted.history["val_loss"][-1] < fitted.history["loss"][0]
    assert fitted.metrics["accuracy"] >= 0.5  # 0.1 by guessing


def test_has_the_weights_of_the_best_epoch(smoke, fitted):
    answer = _fit.answer_of(fitted.signatures)
    scored = OF_KERAS_2.evaluate(answer, smoke, "validation").metrics
    best = min(fitted.history["val_loss"])
    assert scored["cross_entropy"] == pytest.approx(best, rel=1e-4)


def test_tensorboard_gets_curves_and_pictures(fitted):
    for part, tag in (("train", "epoch_loss"), ("pictures", "confusion matrix")):
        events = EventAccumulator(str(fitted.run.logs / part)).Reload()
        assert len(events.Tensors(tag)) == EPOCHS


def test_the_learning_rate_of_the_schedule_is_a_curve(smoke, fitted):
    steps = 38  # 600 / 16, rounded up
    wanted = [
        smoke.learning_rate * (1 + math.cos(math.pi * epoch * steps / 114)) / 2
        for epoch in range(1, EPOCHS + 1)
    ]
    np.testing.assert_allclose(fitted.history["learning_rate"], wanted, atol=1e-8)


def test_a_run_stopped_within_epochs_ends_as_if_nothing_had_happened(
    smoke, fitted, tmp_path
):
    often = dataclasses.replace(smoke, checkpoint_steps=5)
    tf_keras.utils.set_random_seed(99)  # what somebody else did in this process
    fit_until(STEPS + 30, often, tmp_path, OF_KERAS_2)
    tf.random.set_seed(99)  # what another process would begin with
    resumed = fit_and_close(often, tmp_path, OF_KERAS_2)
    assert resumed.run.resumed
    assert_same_training(resumed, fitted)


def test_makes_no_summaries_of_single_steps(smoke, tmp_path, monkeypatch):
    names = summaries(monkeypatch, tf.compat.v2.summary)
    once = dataclasses.replace(smoke, epochs=1)
    fit_and_close(once, tmp_path, OF_KERAS_2)
    assert "epoch_loss" in names
    assert not [name for name in names if name.startswith("batch_")]


def test_trains_under_a_mirrored_strategy(smoke, tmp_path):
    once = dataclasses.replace(smoke, epochs=1)
    fitted = _fit.fit(OF_KERAS_2, once, runs=tmp_path, strategy="mirrored")
    fitted.run.close()
    assert fitted.history["val_loss"][0] < math.log(NUM_CLASSES)


def test_half_precision_trains_and_serves_float32(smoke, tmp_path):
    half = dataclasses.replace(smoke, mixed_precision="float16", epochs=1)
    with _strategy.precision(half):
        kinds = {layer.compute_dtype for layer in make_model(half).layers}
    assert "float16" in kinds
    fitted = fit_and_close(half, tmp_path, OF_KERAS_2)
    assert math.isfinite(fitted.metrics["cross_entropy"])
    kinds = {layer.compute_dtype for layer in fitted.model.layers}
    assert kinds <= {"float32", "uint8"}
