"""The scores of one file, and the list of what was refused beside it.

What a row looks like in each format stands in `pipelines/_formats.py`.
"""

import json
import math
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines import _formats, _inputs
from pipelines._atomic import AtomicFile
from pipelines._formats import Columns
from pipelines._sources import Refusal
from savedmodels.errors import MaaskitError, UsageError
from serving.servable import SignatureInfo, TensorInfo

STDOUT = pathlib.Path("-")


def columns(
    signature: SignatureInfo, carried: Sequence[str] = (), types: Sequence[str] = ()
) -> Columns:
    """Returns what a row of scores holds, the outputs of one value first.

    Args:
        signature: Names the outputs and tells which are vectors of fixed length.
        carried: Names of columns that go along.
        types: pyarrow's names of their types; `string` where there is none.

    Raises:
        UsageError: An output has the name of a column that goes along.
    """
    both = sorted(set(carried) & set(signature.outputs))
    if both:
        raise UsageError(
            "What is carried along cannot have the name of an output. Expected other "
            f"names than {', '.join(signature.outputs)}. Received: {', '.join(both)}."
        )
    key = "key"
    while key in signature.outputs or key in carried:
        key = f"_{key}"
    types = [*types, *["string"] * (len(carried) - len(types))]
    outputs = dict(sorted(signature.outputs.items(), key=_size))
    return Columns(key, carried, types, outputs)


class ScoresFile:
    """Writes scores and refusals; both files appear at the end, whole, or never.

    Attributes:
        written: Instances with scores so far.
        refused: Instances without so far.
        size: Bytes of the scores, once they are published.
        sha256: Of the scores, once they are published.
    """

    def __init__(
        self,
        path: pathlib.Path,
        row: Columns,
        errors: pathlib.Path,
        *,
        header: bool = True,
    ) -> None:
        """Starts the file.

        Args:
            path: Its ending chooses the format; `STDOUT` is written to at once.
            row: What a row holds.
            errors: The list of what is refused; written if there is anything.
            header: Whether a CSV file begins with the names of the columns.

        Raises:
            UsageError: `path` has another ending.
            MaaskitError: The folder cannot be written to.
        """
        self.written = self.refused = self.size = 0
        self.sha256 = ""
        self.path = path
        self._errors_path = errors
        self._row = row
        name = "jsonl" if path == STDOUT else _formats.of(path)
        self._file = _Stdout() if path == STDOUT else AtomicFile(path)
        self._errors: AtomicFile | None = None
        self._format = _formats.create(name, self._file, row, header)

    def __enter__(self) -> "ScoresFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.discard()
        if self._errors is not None:
            self._errors.discard()

    def write(
        self,
        keys: Sequence[object],
        outputs: Mapping[str, np.ndarray],
        carried: Sequence[Sequence[Any]] | None = None,
    ) -> None:
        """Appends the answers to one batch.

        Args:
            keys: One for each instance.
            outputs: Alias to array, whose first axis is the instances.
            carried: For each instance the values that go along; None for none.

        Raises:
            MaaskitError: An output has not one entry for each instance, or the disk
                is full.
        """
        for alias, info in self._row.outputs.items():
            shape = outputs[alias].shape
            if shape[:1] != (len(keys),) or not _inputs.fits(shape[1:], info):
                raise MaaskitError(
                    f"Output `{alias}` must be {_inputs.describe_tensor(info)} for a "
                    f"batch of {len(keys)}. Received: shape {list(shape)}."
                )
        self._format.write(keys, carried or [()] * len(keys), outputs)
        self.written += len(keys)

    def refuse(self, refusal: Refusal) -> None:
        """Appends to the list of instances that have no scores.

        Raises:
            MaaskitError: The disk is full.
        """
        self.refused += 1
        if self.path == STDOUT:
            print(f"refused: {error_line(refusal)}", end="", file=sys.stderr)
            return
        if self._errors is None:
            self._errors = AtomicFile(self._errors_path)
        self._errors.write(error_line(refusal).encode())

    def publish(self) -> None:
        """Gives the files their names; a list of an earlier run goes away.

        Raises:
            MaaskitError: The disk is full, or fails.
        """
        self._format.close()
        self.size, self.sha256 = self._file.size, self._file.sha256
        # The list first: whoever finds the scores finds what is missing in them too.
        if self._errors is not None:
            self._errors.publish()
        self._file.publish()
        if self._errors is None and self.path != STDOUT:
            self._errors_path.unlink(missing_ok=True)


def error_line(refusal: Refusal) -> str:
    """Returns a refusal as a line of the list."""
    line = {"file": refusal.file, "row": refusal.row, "reason": refusal.reason}
    return json.dumps(line, ensure_ascii=False) + "\n"


class _Stdout:
    """Standard output in the place of an `AtomicFile`."""

    size = 0
    sha256 = ""

    def write(self, data: bytes) -> int:
        return sys.stdout.buffer.write(data)

    def publish(self) -> None:
        sys.stdout.buffer.flush()

    def discard(self) -> None:
        pass


def _size(output: tuple[str, TensorInfo]) -> float:
    """Values an instance; endless where that is not fixed."""
    shape = output[1].shape
    if shape is None or None in shape[1:]:
        return math.inf
    return math.prod(size for size in shape[1:] if size is not None)
