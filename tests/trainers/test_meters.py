"""What a training tells of its speed: to TensorBoard, to the terminal."""

import io
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.trainers.fitting import EPOCHS
from trainers import _bar, _meters
from trainers._config import TrainConfig

FLAVOURS = {"keras": keras, "tf_keras": tf_keras}
STEPS, BATCH, SECONDS = 8, 4, 0.05
CONFIG = TrainConfig(
    dataset="mnist", epochs=2, global_batch_size=BATCH, learning_rate=0.125
)


def scalars(folder):
    """Tag to the values by step, of what TensorBoard reads in a folder."""
    events = EventAccumulator(str(folder)).Reload()
    return {
        tag: {
            event.step: tf.make_ndarray(event.tensor_proto).item()
            for event in events.Tensors(tag)
        }
        for tag in events.Tags()["tensors"]
    }


def slow_batches():
    """Batches of which each takes a while to come, and none is fetched ahead."""

    def wait(value):
        time.sleep(SECONDS)
        return value

    def one(number):
        number = tf.py_function(wait, [number], tf.int64)
        return tf.ones([BATCH, 1]), tf.fill(
            [BATCH, 1], tf.cast(number >= 0, tf.float32)
        )

    as_asked = tf.data.Options()
    as_asked.experimental_optimization.inject_prefetch = False
    data = tf.data.Dataset.range(STEPS).map(one).map(_with_shapes)
    return data.with_options(as_asked)


def _with_shapes(x, y):
    return tf.ensure_shape(x, [BATCH, 1]), tf.ensure_shape(y, [BATCH, 1])


def quick_batches():
    data = tf.ones([BATCH, 1]), tf.ones([BATCH, 1])
    return tf.data.Dataset.from_tensors(data).repeat(STEPS)


def train(flavour, batches, logs, epochs=2, busy_s=0.0, **compiled):
    """Trains one weight, with the meters; returns the first of them.

    Whoever is busy that long after each step does not wait for input meanwhile.
    """

    class Model(flavour.Model):
        def train_step(self, data):
            return super().train_step(data) | {"gradient_norm": 2.5}

    inputs = flavour.Input([1])
    model = Model(inputs, flavour.layers.Dense(1)(inputs))
    model.compile(flavour.optimizers.SGD(CONFIG.learning_rate), "mse", **compiled)
    meters = _meters.make_meters(flavour, CONFIG, logs)
    busy = flavour.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: time.sleep(busy_s)
    )
    model.fit(
        batches,
        epochs=epochs,
        steps_per_epoch=STEPS,
        callbacks=[*meters, busy],
        verbose=0,
        shuffle=False,
    )
    return meters[0]


@pytest.mark.parametrize("name", FLAVOURS)
def test_the_wait_for_slow_input_is_measured(name, tmp_path):
    began = time.monotonic()
    meter = train(FLAVOURS[name], slow_batches().repeat(), tmp_path)
    took = time.monotonic() - began
    told = scalars(tmp_path / "steps")
    assert list(told["step/input_wait"]) == [STEPS, 2 * STEPS]
    # The second epoch waits that long for sure, and takes no longer than the whole.
    assert meter.input_wait >= STEPS * SECONDS / took
    assert list(told["epoch_input_wait"]) == [0, 1]
    assert told["epoch_input_wait"][1] == pytest.approx(meter.input_wait)
    rate = told["step/examples_per_second"][2 * STEPS]
    assert rate <= BATCH / SECONDS
    # All but the wait is one multiplication.
    assert 0.5 < told["step/input_wait"][2 * STEPS] <= 1


@pytest.mark.parametrize("name", FLAVOURS)
def test_input_that_lies_ready_costs_a_small_part_and_all_scalars_are_told(
    name, tmp_path
):
    meter = train(FLAVOURS[name], quick_batches().repeat(), tmp_path, busy_s=SECONDS)
    assert 0 <= meter.input_wait < 0.5
    told = scalars(tmp_path / "steps")
    assert set(told) == {
        "step/examples_per_second",
        "step/input_wait",
        "step/learning_rate",
        "step/gradient_norm",
        "epoch_input_wait",
    }
    assert told["step/learning_rate"] == {STEPS: 0.125, 2 * STEPS: 0.125}
    assert told["step/gradient_norm"] == {STEPS: 2.5, 2 * STEPS: 2.5}
    assert min(told["step/examples_per_second"].values()) > 0


def test_a_model_that_runs_eagerly_trains_without_the_wait(tmp_path):
    meter = train(keras, quick_batches().repeat(), tmp_path, run_eagerly=True)
    assert meter.input_wait == 0


def test_windows_end_at_hundreds_of_steps_and_with_each_epoch(whole):
    told = scalars(whole.run.logs / "steps")
    steps = [38, 76, 100, 114]  # 600 examples in batches of 16, 3 epochs
    assert list(told["step/examples_per_second"]) == steps
    assert list(told["step/learning_rate"]) == steps
    # A schedule's value after the last step of an epoch, as the run's own curve has it.
    curve = whole.history["learning_rate"]
    found = [told["step/learning_rate"][step] for step in (38, 76, 114)]
    np.testing.assert_allclose(found, curve, rtol=1e-6)


def test_the_wait_of_each_epoch_stands_in_tensorboard(whole):
    waits = scalars(whole.run.logs / "steps")["epoch_input_wait"]
    assert list(waits) == list(range(EPOCHS))
    assert all(0 <= share < 1 for share in waits.values())


@pytest.mark.parametrize("name", FLAVOURS)
def test_the_loss_scale_is_told_in_float16_alone(name):
    flavour = FLAVOURS[name]
    plain = flavour.optimizers.SGD(0.1)
    assert _meters.loss_scale(plain) is None
    if flavour is keras:
        scaled = keras.optimizers.LossScaleOptimizer(plain, initial_scale=1024.0)
        scaled.build([])
    else:
        kind = tf_keras.mixed_precision.LossScaleOptimizer
        scaled = kind(plain, initial_scale=1024)
    assert _meters.loss_scale(scaled) == 1024


class Terminal(io.StringIO):
    """What a person looks at."""

    def isatty(self):
        return True


def test_a_person_sees_how_far_how_fast_and_how_long(tmp_path, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(_bar, "_SECONDS_BETWEEN_LOOKS", 0.0)
    train(keras, slow_batches().repeat(), tmp_path)
    shown = terminal.getvalue().split("\r")
    last = [line for line in shown if f"/{STEPS * BATCH}" in line][-1]
    assert "epoch 2/2" in last
    assert "examples/s" in last
    assert "loss " in last
    assert "left in all" in last
    # Nothing is left of it once the epoch is over.
    assert shown[-1].strip() == ""


def test_a_log_gets_no_bar(tmp_path, capsys):
    train(keras, quick_batches().repeat(), tmp_path, epochs=1)
    assert capsys.readouterr().out == ""


def test_a_worker_that_follows_measures_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    (meter,) = _meters.make_meters(keras, CONFIG, tmp_path, is_chief=False)
    inputs = keras.Input([1])
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    model.fit(slow_batches(), epochs=1, callbacks=[meter], verbose=0, shuffle=False)
    assert meter.input_wait > 0
    assert list(tmp_path.iterdir()) == []
