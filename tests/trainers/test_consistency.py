"""Two passes of a batch through a network with dropout, and what is asked of them."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from trainers import _consistency, _steps
from trainers._config import TrainConfig
from trainers._parts import Part

ROWS, FEATURES, CLASSES = 6, 5, 3
CONFIG = TrainConfig(dataset="mnist", epochs=1, learning_rate=0.5)


def network(flavour, dropout=0.0):
    """A compiled classifier with the same weights each time."""
    flavour.utils.set_random_seed(7)
    inputs = flavour.Input([FEATURES])
    x = flavour.layers.Dropout(dropout)(inputs)
    model = flavour.Model(inputs, flavour.layers.Dense(CLASSES)(x))
    model.compile(
        optimizer=flavour.optimizers.SGD(0.5),
        loss=flavour.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def examples():
    rng = np.random.default_rng(3)
    inputs = rng.normal(size=[ROWS, FEATURES]).astype(np.float32)
    return inputs, np.eye(CLASSES, dtype=np.float32)[rng.integers(CLASSES, size=ROWS)]


def log_softmax(x):
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


@pytest.fixture(params=[keras, tf_keras], ids=["keras", "tf_keras"])
def flavour(request):
    return request.param


def test_the_loss_is_both_cross_entropies_and_the_divergence(flavour):
    losses = _consistency.TwoPasses(network(flavour), weight=0.8)
    inputs, targets = examples()
    rng = np.random.default_rng(4)
    passes = [rng.normal(size=[ROWS, CLASSES]).astype(np.float32) for _ in range(2)]
    part = Part(tf.constant(inputs), tf.constant(targets), None, tf.constant(ROWS))
    loss, penalty, _ = losses.judge(part, [tf.constant(p) for p in passes], True)

    a, b = map(log_softmax, passes)
    entropies = [-(targets * logs).sum(axis=1).mean() for logs in (a, b)]
    one_way = (np.exp(a) * (a - b)).sum(axis=1).mean()
    other_way = (np.exp(b) * (b - a)).sum(axis=1).mean()
    wanted = np.mean(entropies) + 0.8 * (one_way + other_way) / 2
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    assert penalty is None


def test_no_rows_have_no_divergence():
    nothing = tf.zeros([0, CLASSES])
    assert _consistency._divergence(nothing, nothing).numpy() == 0


def fitted(model, weight, parts=1):
    """The weights and the history of one step of the project's own."""
    if weight is not None:
        model.step_losses = _consistency.TwoPasses(model, weight)
    config = dataclasses.replace(CONFIG, gradient_accumulation_steps=parts)
    _steps.attach(model, config)
    inputs, targets = examples()
    batches = tf.data.Dataset.from_tensors((inputs, targets))
    history = model.fit(batches, validation_data=batches, verbose=0).history
    return [weight.numpy() for weight in model.trainable_weights], history


@pytest.mark.parametrize("parts", [1, 4])
def test_without_dropout_it_changes_nothing(flavour, parts):
    plain, wanted = fitted(network(flavour), None)
    twice, history = fitted(network(flavour), 3.0, parts)
    for weights, others in zip(plain, twice, strict=True):
        np.testing.assert_allclose(weights, others, rtol=1e-5)
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(history[name], wanted[name], rtol=1e-5)


def test_with_dropout_passes_differ_and_are_drawn_together(flavour):
    model = network(flavour, dropout=0.5)
    losses = _consistency.TwoPasses(model, 1.0)
    inputs, _ = examples()
    first, second = losses.forward(tf.constant(inputs), training=True)
    assert np.abs(first - second).max() > 0.1
    alone = losses.forward(tf.constant(inputs), training=False)
    np.testing.assert_allclose(alone, model(inputs, training=False), rtol=1e-6)

    def apart(weight):
        """How far two passes are from each other after some steps."""
        taught = network(flavour, dropout=0.5)
        taught.step_losses = _consistency.TwoPasses(taught, weight)
        _steps.attach(taught, CONFIG)
        inputs, targets = examples()
        batches = tf.data.Dataset.from_tensors((inputs, targets)).repeat(60)
        taught.fit(batches, verbose=0)
        many = np.repeat(inputs, 200, axis=0)
        a, b = (log_softmax(taught(many, training=True).numpy()) for _ in range(2))
        return ((np.exp(a) - np.exp(b)) * (a - b)).sum(axis=1).mean()

    assert apart(weight=5.0) < 0.7 * apart(weight=0.01)
