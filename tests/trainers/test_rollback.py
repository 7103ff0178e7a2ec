"""A training that goes wrong goes back, lowers its learning rate and tries again."""

import dataclasses
import json
import math

import keras
import pytest
import tensorflow as tf

from tests.trainers import test_tf_keras
from tests.trainers.fitting import (
    STEPS,
    altered,
    assert_same_training,
    at_step,
    fit_and_close,
    fit_until,
    only_run,
)
from trainers import _fit, _flavour, mnist_classifier
from trainers._errors import DivergedError
from trainers._keeper import Keeper


class Spoilt:
    """The model file with a loss that can be multiplied.

    Attributes:
        models: Made so far.
        by: What the loss is multiplied by; 1 again whenever a model is made.
    """

    def __init__(self, make_model=mnist_classifier.make_model):
        self.models = 0
        self.by = tf.Variable(1.0)
        self._make_model = make_model
        self.module = altered(make_model=self.make_model)

    def make_model(self, config):
        self.models += 1
        self.by.assign(1.0)
        model = self._make_model(config)
        losses = _flavour.of(model).losses
        true_loss = losses.SparseCategoricalCrossentropy(from_logits=True)

        def spoilt(labels, logits):
            return true_loss(labels, logits) * self.by

        model.compile(
            optimizer=model.optimizer,
            loss=spoilt,
            metrics=["accuracy"],
        )
        return model

    def at(self, patch, step, factor, times=1):
        """Has the loss multiplied from the step after this one on."""
        at_step(patch, step, lambda: self.by.assign(factor), times)


@pytest.fixture(autouse=True)
def _no_checkpoint_is_left_out(monkeypatch):
    """However slow the disk is, it is known where the training goes back to."""
    save = Keeper.save

    def patient(keeper, arrays, progress, *, best=None, must=False):
        save(keeper, arrays, progress, best=best, must=True)

    monkeypatch.setattr(Keeper, "save", patient)


@pytest.fixture
def often(quick):
    return dataclasses.replace(quick, checkpoint_steps=10, epochs=2)


def rollbacks(runs):
    return json.loads((only_run(runs) / "metrics.json").read_text())["rollbacks"]


def test_a_loss_that_is_no_number_goes_back_and_halves_the_rate(
    often, tmp_path, monkeypatch, capsys
):
    spoilt = Spoilt()
    spoilt.at(monkeypatch, STEPS + 24, math.nan)
    fitted = fit_and_close(often, tmp_path, spoilt.module)

    assert rollbacks(tmp_path) == [
        {
            "at": f"in epoch 2, step 25 of {STEPS}",
            "reason": "the loss is no longer a number",
            "to": "step 20 of epoch 2",
            "learning_rate": often.learning_rate / 2,
        }
    ]
    told = capsys.readouterr().out
    assert "Going back to step 20 of epoch 2 with learning_rate=0.005" in told
    assert "rollback 1 of 2" in told
    assert spoilt.models == 3  # of which the last one was judged
    for curve in fitted.history.values():
        assert len(curve) == 2
        assert all(map(math.isfinite, curve))
    assert fitted.metrics["accuracy"] > 0.3


@pytest.mark.slow
def test_a_loss_that_jumps_goes_back_to_before_the_jump(quick, tmp_path, monkeypatch):
    config = dataclasses.replace(quick, checkpoint_steps=1, epochs=4)
    spoilt = Spoilt()
    spoilt.at(monkeypatch, 3 * STEPS + 5, 50.0)
    fit_and_close(config, tmp_path, spoilt.module)
    (back,) = rollbacks(tmp_path)
    assert back["reason"] == "the loss has jumped"
    assert back["at"] == f"in epoch 4, step 15 of {STEPS}"
    # The first loss that was too large came of the weights after step 5.
    assert back["to"] == "step 4 of epoch 4"


@pytest.mark.slow
def test_trouble_before_any_checkpoint_goes_back_to_the_start(
    quick, tmp_path, monkeypatch
):
    spoilt = Spoilt()
    spoilt.at(monkeypatch, 3, math.nan)
    fitted = fit_and_close(
        dataclasses.replace(quick, epochs=1), tmp_path, spoilt.module
    )
    (back,) = rollbacks(tmp_path)
    assert (back["to"], back["learning_rate"]) == ("the start", 0.005)
    assert len(fitted.history["loss"]) == 1


@pytest.mark.slow
def test_a_validation_loss_that_is_no_number_goes_back_too(
    often, tmp_path, monkeypatch
):
    spoilt = Spoilt()
    spoilt.at(monkeypatch, STEPS, math.nan)  # the validation comes after it
    fit_and_close(often, tmp_path, spoilt.module)
    (back,) = rollbacks(tmp_path)
    assert back["at"] == "on the validation examples after epoch 1"
    assert back["to"] == "step 30 of epoch 1"  # not to its end: that was judged


def test_what_goes_wrong_once_too_often_ends_the_run_and_says_what_was_tried(
    often, tmp_path, monkeypatch
):
    spoilt = Spoilt()
    spoilt.at(monkeypatch, 15, math.nan, times=3)
    with pytest.raises(DivergedError) as stopped:
        _fit.fit(spoilt.module, often, runs=tmp_path)
    message = str(stopped.value)
    assert f"in epoch 1, step 16 of {STEPS}" in message
    assert "with learning_rate=0.0025" in message
    assert "tried 2 times" in message
    run = only_run(tmp_path)
    assert "failed" in json.loads((run / "ended.json").read_text())
    assert not (run / "metrics.json").exists()


@pytest.mark.slow
def test_a_run_killed_after_it_went_back_keeps_the_lower_rate(often, tmp_path):
    def fit(runs, by, *killed):
        spoilt = Spoilt()
        with pytest.MonkeyPatch.context() as patch:
            spoilt.at(patch, 25, by)
            by_step = fit_until if killed else fit_and_close
            return by_step(*killed, often, tmp_path / runs, spoilt.module)

    whole = fit("whole", math.nan)
    fit("killed", math.nan, 26)  # after it went back, before any new checkpoint
    fit("killed", 1.0, STEPS + 3)
    assert_same_training(fit("killed", 1.0), whole)
    assert rollbacks(tmp_path / "killed") == rollbacks(tmp_path / "whole")


def test_a_plain_learning_rate_is_lowered_too(often, tmp_path, monkeypatch):
    def make_model(config):
        model = mnist_classifier.make_model(config)
        model.compile(
            optimizer=keras.optimizers.Adam(config.learning_rate),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        return model

    spoilt = Spoilt(make_model)
    spoilt.at(monkeypatch, STEPS + 25, math.nan)
    fitted = fit_and_close(often, tmp_path, spoilt.module)
    assert fitted.history["learning_rate"] == pytest.approx([0.01, 0.005])


@pytest.mark.slow
def test_a_model_of_tf_keras_goes_back_too(config, tmp_path, monkeypatch):
    short = dataclasses.replace(
        config, distortion=0.0, epochs=1, checkpoint_steps=10, learning_rate=0.002
    )
    spoilt = Spoilt(test_tf_keras.make_model)
    spoilt.at(monkeypatch, 25, math.nan)
    fitted = fit_and_close(short, tmp_path, spoilt.module)
    (back,) = rollbacks(tmp_path)
    assert (back["to"], back["learning_rate"]) == ("step 20 of epoch 1", 0.001)
    assert math.isfinite(fitted.history["loss"][0])
