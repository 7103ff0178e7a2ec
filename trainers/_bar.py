"""How far a training is, for a person at a terminal."""

import sys
import time
from typing import Any

import tqdm

from trainers._config import TrainConfig

_SECONDS_BETWEEN_LOOKS = 0.2


class Bar:
    """Shows a person how far the epoch is, how fast, and how long all of it will take.

    One line that changes, and goes when the epoch's own line comes.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self._epochs = config.epochs
        self._batch = config.global_batch_size
        self._bar: Any = None  # before the first epoch

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        del logs
        self._began = time.monotonic()
        self._done = 0  # epochs of this process

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        del logs
        self._epoch = epoch
        self._looked = 0.0
        self._bar = tqdm.tqdm(
            desc=f"epoch {epoch + 1}/{self._epochs}",
            total=self.params["steps"] * self._batch,
            unit=" examples",
            file=sys.stdout,
            dynamic_ncols=True,
            leave=False,
        )

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        now = time.monotonic()
        if now - self._looked < _SECONDS_BETWEEN_LOOKS:
            return
        self._looked = now
        share = (batch + 1) / self.params["steps"]
        said = [f"loss {logs['loss']:.4g}"]
        if (left := self._left(now, share)) is not None:
            said.append(f"{tqdm.tqdm.format_interval(left)} left in all")
        self._bar.set_postfix_str(", ".join(said), refresh=False)
        self._bar.update((batch + 1) * self._batch - self._bar.n)

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        del logs
        if self._bar is not None:
            self._bar.set_postfix_str("validating")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        del epoch, logs
        self._bar.close()
        self._done += 1

    def _left(self, now: float, share: float) -> float | None:
        """Seconds to the end of training, once an epoch with all its ends is over."""
        if not self._done:
            return None
        done = self._done + share
        return (now - self._began) / done * (self._epochs - self._epoch - share)
