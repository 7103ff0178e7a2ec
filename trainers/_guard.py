"""Watches the loss of every step, and says when training has gone wrong.

Wrong is a loss that is no number, or one that has jumped: that for `_SPIKE_STEPS`
steps in a row was above each of the `_WINDOW` losses before, and above `_SPIKE_FACTOR`
times their median. One odd batch is no such spike, nor is a loss that rises slowly.
"""

import math
import statistics

from trainers._errors import DivergedError
from trainers._progress import Progress

_WINDOW = 100
_SPIKE_STEPS = 10
_SPIKE_FACTOR = 2.0


class Trouble(Exception):  # noqa: N818 -- caught and gone back from, mostly
    """Training has gone wrong, and an earlier checkpoint may do better.

    Attributes:
        what: What the loss did, after "the loss".
        where: In which step or epoch.
        loss: As it was seen.
        bad: The earliest `Progress.position` whose weights are under suspicion.
    """

    def __init__(
        self, what: str, where: str, loss: float, bad: tuple[int, int]
    ) -> None:
        super().__init__(f"the loss {what}, {where}")
        self.what = what
        self.where = where
        self.loss = loss
        self.bad = bad


class Guard:
    """Judges the losses of a run, whose `Progress` remembers the last ones."""

    def __init__(self, progress: Progress, steps: int) -> None:
        """Goes on where the progress is.

        Args:
            progress: Kept up to date; its `step` counts the steps that were judged.
            steps: In an epoch.
        """
        self._progress = progress
        self._steps = steps
        self._mean = progress.logs.get("loss", 0.0)

    def step(self, mean: float) -> None:
        """Judges a step that `progress` does not count yet.

        Args:
            mean: The running mean of the losses of this epoch, as Keras logs it.

        Raises:
            Trouble: The loss is no number, or has jumped.
        """
        done, epoch = self._progress.step, self._progress.epochs + 1
        where = f"in epoch {epoch}, step {done + 1} of {self._steps}"
        # A running mean: once a step spoils it, it stays spoilt.
        if not math.isfinite(mean):
            raise Trouble("is no longer a number", where, mean, self._before(0))
        own = mean * (done + 1) - self._mean * done if done else mean
        self._mean = mean
        self._look_for_a_spike(own, where)

    def validation(self, loss: float) -> None:
        """Judges the validation loss after the epoch under way.

        Raises:
            Trouble: It is no number.
        """
        if not math.isfinite(loss):
            epoch = self._progress.epochs + 1
            where = f"on the validation examples after epoch {epoch}"
            raise Trouble("is no longer a number", where, loss, self._before(0))

    def _look_for_a_spike(self, loss: float, where: str) -> None:
        losses, suspects = self._progress.losses, self._progress.suspects
        if not _is_far_above(loss, losses):
            losses.extend([*suspects, loss])
            suspects.clear()
            del losses[:-_WINDOW]
            return
        suspects.append(loss)
        if len(suspects) >= _SPIKE_STEPS:
            raise Trouble("has jumped", where, loss, self._before(len(suspects) - 1))

    def _before(self, steps: int) -> tuple[int, int]:
        """The earliest position with the weights of so many steps ago."""
        total = self._progress.epochs * self._steps + self._progress.step - steps
        if total <= 0:
            return 0, 0
        epochs, last = divmod(total - 1, self._steps)
        return epochs, last + 1


def diverged(trouble: Trouble, learning_rate: float, rollbacks: int) -> DivergedError:
    """Returns what ends a training that has gone wrong once too often.

    Args:
        trouble: The last one.
        learning_rate: The one that led into it.
        rollbacks: How often it was lowered before.
    """
    tried = (
        f"Going back to an earlier checkpoint with half the rate was tried {rollbacks} "
        f"time{'' if rollbacks == 1 else 's'}. "
        if rollbacks
        else ""
    )
    return DivergedError(
        f"Training stopped: {trouble}. A finite loss that does not jump was expected. "
        f"Received: loss={trouble.loss} with learning_rate={learning_rate:g}. {tried}"
        f"Nothing was exported. Try a lower one: "
        f'SET="learning_rate={learning_rate / 10:g}".'
    )


def _is_far_above(loss: float, losses: list[float]) -> bool:
    if len(losses) < _WINDOW or loss <= max(losses):
        return False
    return loss > _SPIKE_FACTOR * statistics.median(losses) > 0
