"""Checkpoints that a killed run goes on from, to the last bit.

    state-<epochs>-<steps>.ckpt   all that the next step depends on, and `Progress`,
                                  after so many epochs and steps; the two newest stay
    best-<epoch>.ckpt             the weights that did best on the validation examples

Each names the best epoch and is written after its weights, so the two cannot disagree
whenever the process is killed. One that was damaged is passed over for the one before.
Keras's own BackupAndRestore forgets the best epoch, the history and the seeds.
"""

import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from savedmodels import whole_files
from trainers import _array_file
from trainers._array_file import DamagedError
from trainers._errors import TrainingError
from trainers._progress import Progress

_STATE = re.compile(r"state-(\d+)-(\d+)\.ckpt")
_BEST = re.compile(r"best-(\d+)\.ckpt")
KEPT = 2

Position = tuple[int, int]  # as `Progress.position`


class UnusableCheckpointError(Exception):
    """A run cannot go on from its checkpoint. Its text goes on after the run's name."""


def values(variables: Sequence[Any]) -> list[np.ndarray]:
    """Returns copies of variables, as they are now.

    By position: names carry a counter that differs from process to process.
    """
    return [variable.numpy() for variable in variables]


def assign(variables: Sequence[Any], arrays: Sequence[np.ndarray]) -> None:
    """Puts what `values` returned into variables, on every replica.

    Raises:
        UnusableCheckpointError: They are of other shapes. None is changed.
    """
    wanted = [tuple(variable.shape) for variable in variables]
    if wanted != [array.shape for array in arrays]:
        raise UnusableCheckpointError("was begun with another network")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def save(
    folder: pathlib.Path,
    arrays: Sequence[np.ndarray],
    progress: dict[str, Any],
    best: Sequence[np.ndarray] | None = None,
) -> None:
    """Writes a checkpoint, and removes all but the newest.

    Args:
        folder: Made if missing.
        arrays: All that the next step depends on.
        progress: `Progress` as a dict.
        best: The weights, if the epoch that was finished just now is the best.

    Raises:
        TrainingError: The disk is full or the folder not writable. The checkpoints
            before stay as they were.
    """
    now = Progress(**progress)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if best is not None:
            _array_file.write(_best(folder, now.best_epoch), {}, best)
        header = {"progress": progress, "finite": _are_finite(arrays)}
        _array_file.write(_state(folder, now.position), header, arrays)
        _clear_up(folder)
    except OSError as error:
        raise TrainingError(
            f"The checkpoint after {now.where} cannot be written to `{folder}`. A "
            f"folder on a disk with free space was expected. Received: {error}. Free "
            f"some space and type the same command again: it goes on from the last "
            f"checkpoint there."
        ) from error


def newest(
    folder: pathlib.Path, *, tidy: bool = True
) -> tuple[Progress, list[np.ndarray]] | None:
    """Returns the newest checkpoint that is whole, or None where there is none.

    Args:
        folder: Where `save` wrote.
        tidy: Whether to remove damaged ones; for the process that writes.

    Raises:
        UnusableCheckpointError: There are some, and all are damaged.
    """
    damaged: list[str] = []
    for position in _positions(folder):
        path = _state(folder, position)
        try:
            header, arrays = _array_file.read(path)
            progress = Progress(**header["progress"])
            if progress.best_epoch:
                _array_file.check(_best(folder, progress.best_epoch))
        except (DamagedError, TypeError) as error:
            damaged.append(f"{path.name} ({error})")
            continue
        if damaged:
            print(passed_over(folder, damaged, progress), flush=True)
            if tidy:
                _discard(folder, progress.position)
        return progress, arrays
    if damaged:
        raise UnusableCheckpointError(f"has a damaged checkpoint, {damaged[0]}")
    return None


def passed_over(
    folder: pathlib.Path, damaged: Sequence[str], progress: Progress
) -> str:
    """Returns the line that tells of checkpoints that were not taken up.

    Args:
        folder: Where they lie.
        damaged: Their names.
        progress: Of the one that was taken up instead.
    """
    return (
        f"Damaged in {folder}: {', '.join(damaged)}. "
        f"Going back to the checkpoint before, after {progress.where}"
    )


def restore_best(folder: pathlib.Path, model: Any, progress: Progress) -> None:
    """Puts the weights of the best epoch into `model`, on every replica.

    Raises:
        UnusableCheckpointError: They are damaged, or the model has other weights.
    """
    path = _best(folder, progress.best_epoch)
    try:
        _, arrays = _array_file.read(path)
    except (DamagedError, FileNotFoundError) as error:
        raise UnusableCheckpointError(
            f"has a damaged checkpoint, {path.name}"
        ) from error
    assign(model.weights, arrays)


def discard_from(folder: pathlib.Path, bad: Position) -> None:
    """Removes the checkpoints that are no earlier than `bad`, or not all numbers.

    Raises:
        OSError: They cannot be removed.
    """
    for position in _positions(folder):
        header = _header(folder, position)
        if position >= bad or not header.get("finite"):
            _state(folder, position).unlink(missing_ok=True)


def _discard(folder: pathlib.Path, last: Position) -> None:
    """Removes the checkpoints after `last`."""
    for position in _positions(folder):
        if position > last:
            _state(folder, position).unlink(missing_ok=True)


def _positions(folder: pathlib.Path) -> list[Position]:
    """Those of the checkpoints there, the newest first."""
    found = filter(None, map(_STATE.fullmatch, _names(folder)))
    return sorted(((int(m[1]), int(m[2])) for m in found), reverse=True)


def _names(folder: pathlib.Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []


def _header(folder: pathlib.Path, position: Position) -> dict[str, Any]:
    """What a checkpoint says of itself, without a look at the rest."""
    try:
        return _array_file.read_header(_state(folder, position))
    except (DamagedError, FileNotFoundError):
        return {}


def _state(folder: pathlib.Path, position: Position) -> pathlib.Path:
    epochs, steps = position
    return folder / f"state-{epochs:04d}-{steps:06d}.ckpt"


def _best(folder: pathlib.Path, epoch: int) -> pathlib.Path:
    return folder / f"best-{epoch:04d}.ckpt"


def _are_finite(arrays: Sequence[np.ndarray]) -> bool:
    return all(
        bool(np.isfinite(array).all())
        for array in map(np.asarray, arrays)
        if array.dtype.kind == "f"
    )


def _clear_up(folder: pathlib.Path) -> None:
    """Leaves the newest checkpoints, and the weights that they name."""
    positions = _positions(folder)
    kept = [_header(folder, position) for position in positions[:KEPT]]
    named = {header.get("progress", {}).get("best_epoch") for header in kept}
    for position in positions[KEPT:]:
        _state(folder, position).unlink(missing_ok=True)
    for path in list(folder.iterdir()):
        best = _BEST.fullmatch(path.name)
        if whole_files.is_remnant(path) or (best and int(best[1]) not in named):
            path.unlink(missing_ok=True)
