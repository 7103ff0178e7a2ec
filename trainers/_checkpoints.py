"""Checkpoints that a killed run goes on from, to the last bit.

    last.npz       weights, optimizer, random seeds and `Progress` after an epoch
    best-<n>.npz   the weights of epoch n, which did best on the validation examples

One file, one rename: `last.npz` names the best epoch, so the two cannot disagree
whenever the process is killed. Keras's own BackupAndRestore forgets the best epoch,
the history and the seeds.
"""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainers import _flavour
from trainers._errors import TrainingError

_PROGRESS = "progress"


class UnusableCheckpointError(Exception):
    """A run cannot go on from its checkpoint. Its text goes on after the run's name."""


@dataclasses.dataclass
class Progress:
    """How far a run has come.

    Attributes:
        epochs: Epochs that are finished.
        best_epoch: The one that did best on the validation examples, from 1; 0 before
            any.
        best_worth: How well: the higher the better.
        history: Curve name to one value per finished epoch.
        seconds: Spent in these epochs, validation and checkpoints included.
        training_seconds: Spent in training steps alone.
        examples: Trained on in these epochs.
    """

    epochs: int = 0
    best_epoch: int = 0
    best_worth: float = -math.inf
    history: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    training_seconds: float = 0.0
    examples: int = 0

    def stopped_early(self, early_stopping_epochs: int) -> bool:
        """Whether so many epochs passed without a better one (0: never)."""
        since_best = self.epochs - self.best_epoch
        return 0 < early_stopping_epochs <= since_best


def save(folder: pathlib.Path, model: Any, progress: Progress) -> None:
    """Writes the state after an epoch, and the weights too if it was the best.

    Args:
        folder: Made if missing. Holds one best and one last checkpoint afterwards.
        model: Compiled Keras or tf_keras model.
        progress: Already counts the epoch.

    Raises:
        TrainingError: The disk is full or the folder not writable. The checkpoint
            before stays as it was.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        best = _best(folder, progress.best_epoch)
        if progress.best_epoch == progress.epochs:
            _write(best, _arrays(model.weights))
        arrays = _arrays(_flavour.state(model))
        arrays[_PROGRESS] = np.array(json.dumps(dataclasses.asdict(progress)))
        _write(folder / "last.npz", arrays)
        for old in folder.glob("best-*.npz"):
            if old != best:
                old.unlink()
    except OSError as error:
        raise TrainingError(
            f"The checkpoint of epoch {progress.epochs} cannot be written to "
            f"`{folder}`. A folder on a disk with free space was expected. "
            f"Received: {error}. Free some space and type the same command again: it "
            f"goes on from the last checkpoint there."
        ) from error


def restore_last(folder: pathlib.Path, model: Any) -> Progress:
    """Puts the state after the last finished epoch into `model`.

    Args:
        folder: Where `save` wrote.
        model: Compiled model with the same variables; anything else it keeps.

    Returns:
        How far the run had come; nothing done yet if there is no checkpoint.

    Raises:
        UnusableCheckpointError: It is damaged, or the model has other variables.
    """
    try:
        arrays = _read(folder / "last.npz")
    except FileNotFoundError:
        return Progress()
    progress = Progress(**json.loads(str(arrays.pop(_PROGRESS))))
    _assign(_flavour.state(model), arrays)
    return progress


def restore_best(folder: pathlib.Path, model: Any, progress: Progress) -> None:
    """Puts the weights of the best epoch into `model`, on every replica.

    Raises:
        UnusableCheckpointError: It is damaged, or the model has other weights.
    """
    _assign(model.weights, _read(_best(folder, progress.best_epoch)))


def _best(folder: pathlib.Path, epoch: int) -> pathlib.Path:
    return folder / f"best-{epoch:04d}.npz"


def _arrays(variables: Sequence[Any]) -> dict[str, np.ndarray]:
    """By position: names carry a counter that differs from process to process."""
    return {str(place): variable.numpy() for place, variable in enumerate(variables)}


def _assign(variables: Sequence[Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Checks everything first, so that a wrong checkpoint changes nothing."""
    wanted = [tuple(variable.shape) for variable in variables]
    found = [arrays[str(place)].shape for place in range(len(arrays))]
    if wanted != found:
        raise UnusableCheckpointError("was begun with another network")
    for place, variable in enumerate(variables):
        variable.assign(arrays[str(place)])


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        # Opened here: of a damaged file numpy would leave it open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise UnusableCheckpointError(
            f"has a damaged checkpoint, {path.name}"
        ) from error


def _write(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
