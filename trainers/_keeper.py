"""Writes checkpoints beside the training: steps go on while a thread writes.

What is written are copies that were made between two steps. One checkpoint is written
at a time; where the next is due before the last is on the disk, it is left out, unless
something depends on it.
"""

import concurrent.futures
import dataclasses
import pathlib
import types
from collections.abc import Sequence

import numpy as np

from trainers import _checkpoints
from trainers._progress import Progress


class Keeper:
    """Has the checkpoints of one run written; for a `with` block.

    Attributes:
        kept: The last thing that was done before the newest checkpoint, in words; None
            before any.
    """

    def __init__(self, folder: pathlib.Path, *, writes: bool = True) -> None:
        """Starts nothing yet.

        Args:
            folder: Of the run's checkpoints.
            writes: Whether this process is the one that does; another of the same
                training takes part in all but that.
        """
        self.kept: str | None = None
        self._folder = folder
        self._writes = writes
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "checkpoints")
        self._written: concurrent.futures.Future[None] | None = None

    def __enter__(self) -> "Keeper":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self._thread.shutdown()
        if kind is None:
            self.check()

    def save(
        self,
        arrays: Sequence[np.ndarray],
        progress: Progress,
        *,
        best: Sequence[np.ndarray] | None = None,
        must: bool = False,
    ) -> None:
        """Has a checkpoint written, from what it is given now.

        Args:
            arrays: Copies of all that the next step depends on.
            progress: As it is at this step.
            best: Copies of the weights, if the epoch finished just now is the best.
            must: Waits for the one before, instead of leaving this one out.

        Raises:
            TrainingError: The one before could not be written.
        """
        if not self._writes:
            return
        if self._written is not None and (must or self._written.done()):
            self._written.result()
        elif self._written is not None:
            return
        self._written = self._thread.submit(
            _checkpoints.save, self._folder, arrays, dataclasses.asdict(progress), best
        )
        self.kept = progress.where

    def check(self) -> None:
        """Raises TrainingError if a checkpoint could not be written."""
        if self._written is not None and self._written.done():
            self._written.result()

    def wait(self) -> None:
        """Waits for the newest checkpoint.

        Raises:
            TrainingError: It could not be written.
        """
        if self._written is not None:
            self._written.result()
