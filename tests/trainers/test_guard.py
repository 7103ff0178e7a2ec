"""When a loss has gone wrong, and from which checkpoints on."""

import dataclasses
import math

import pytest

from trainers import _guard
from trainers._guard import Guard, Trouble
from trainers._progress import Progress

STEPS = 1000  # in an epoch


def judge(losses, progress=None, steps=STEPS):
    """Shows the running means of each step's loss, as Keras logs them."""
    progress = progress or Progress()
    guard = Guard(progress, steps)
    total = progress.logs.get("loss", 0.0) * progress.step
    for loss in losses:
        total += loss
        mean = total / (progress.step + 1)
        guard.step(mean)
        progress.step += 1
        progress.logs = {"loss": mean}
    return progress


def usual(count):
    return [1.0 + 0.5 * math.sin(n) for n in range(count)]  # up to 1.5


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_trouble_with_the_weights_before_it(loss):
    with pytest.raises(Trouble, match="no longer a number, in epoch 1, step 4") as told:
        judge([1.0, 1.0, 1.0, loss])
    assert told.value.bad == (0, 3)  # they gave that loss


@pytest.mark.parametrize(
    ("epochs", "step", "bad"), [(0, 0, (0, 0)), (2, 0, (1, 1000)), (2, 5, (2, 5))]
)
def test_the_first_step_suspects_the_end_of_the_epoch_before(epochs, step, bad):
    progress = Progress(epochs=epochs, step=step, logs={"loss": 1.0})
    with pytest.raises(Trouble) as told:
        Guard(progress, STEPS).step(math.nan)
    assert told.value.bad == bad


def test_a_validation_loss_that_is_no_number_is_trouble_with_the_last_weights():
    progress = Progress(epochs=1, step=STEPS)
    guard = Guard(progress, STEPS)
    guard.validation(2.0)
    with pytest.raises(Trouble, match="validation examples after epoch 2") as told:
        guard.validation(math.inf)
    assert told.value.bad == (1, STEPS)


def test_a_loss_that_stays_far_above_the_last_hundred_has_jumped():
    judge([*usual(100), *[5.0] * 9])
    with pytest.raises(Trouble, match="has jumped, in epoch 1, step 110") as told:
        judge([*usual(100), *[5.0] * 10])
    assert told.value.loss == pytest.approx(5.0)
    # The weights after step 100 gave the first loss that was too large.
    assert told.value.bad == (0, 100)


@pytest.mark.parametrize(
    "losses",
    [
        pytest.param([*usual(100), *[50.0] * 9, 1.0] * 3, id="too few in a row"),
        pytest.param([*usual(99), *[50.0] * 10], id="too few to compare with"),
        pytest.param([*usual(100), *[1.9] * 50], id="not twice the median"),
        pytest.param([1.01**n for n in range(500)], id="a slow rise"),
        pytest.param([*([0.01] * 9 + [0.5]) * 20, *[0.5] * 10], id="seen before"),
        pytest.param([*[-1.0] * 100, *[3.0] * 20], id="a loss below 0"),
        pytest.param([*[0.0] * 100, *[3.0] * 20], id="a loss of 0"),
    ],
)
def test_no_other_loss_has_jumped(losses):
    assert not math.isnan(judge(losses).step)


def test_a_jump_is_seen_over_a_stop_and_over_the_end_of_an_epoch():
    before = judge([*usual(150), *[5.0] * 4])
    resumed = Progress(**dataclasses.asdict(before))
    with pytest.raises(Trouble) as told:
        judge([5.0] * 6, resumed)
    assert told.value.bad == (0, 150)

    ended = judge([*usual(150), *[5.0] * 4], steps=154)
    ended.epochs, ended.step, ended.logs = 1, 0, {}
    with pytest.raises(Trouble, match="in epoch 2, step 6") as told:
        judge([5.0] * 6, ended, steps=154)
    assert told.value.bad == (0, 150)


def test_the_end_tells_the_loss_the_rate_and_what_was_tried():
    trouble = Trouble("has jumped", "in epoch 1, step 3 of 9", 7.5, (0, 0))
    message = str(_guard.diverged(trouble, 0.25, rollbacks=2))
    assert "the loss has jumped, in epoch 1, step 3 of 9" in message
    assert "loss=7.5 with learning_rate=0.25" in message
    assert "tried 2 times" in message
    assert 'SET="learning_rate=0.025"' in message
    assert "tried" not in str(_guard.diverged(trouble, 0.25, rollbacks=0))
