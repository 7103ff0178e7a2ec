"""The scores of a run as a file, for programs (`.jsonl`) or spreadsheets (`.csv`).

JSONL   a line an instance: `{"key": "7.png", "class_id": 7, "scores": [0.01, ...]}`
CSV     a row an instance: `key,class_id,scores_0,scores_1,...`; an output of one value
        has one column, a vector of fixed length one for each element, and any other
        shape is JSON text in one column

Floats have the fewest digits that read back as the same value of their dtype. `NaN` and
`Infinity` are bare words, as in TF Serving's REST answers. Strings are text; bytes that
are not UTF-8, and outputs whose alias ends with `_bytes`, are base64: in JSONL as
`{"b64": "..."}`, in CSV bare.
"""

import json
import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from pipelines import _cells, _inputs
from pipelines._atomic import AtomicFile
from pipelines._sources import Refusal
from savedmodels.errors import MaaskitError, UsageError
from serving.servable import SignatureInfo, TensorInfo

_FORMATS = (".jsonl", ".csv")


def check_path(path: pathlib.Path) -> None:
    """Raises UsageError unless scores can be written to a file of that name."""
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(
            f"The ending of the output chooses its format. Expected .jsonl or .csv. "
            f"Received: {path}."
        )
    if path.is_dir():
        raise UsageError(
            f"The output is a folder. Expected the name of a file in it. "
            f"Received: {path}."
        )


def errors_path(path: pathlib.Path) -> pathlib.Path:
    """Returns where the refused instances of an output are listed."""
    return path.with_name(f"{path.name}.errors.jsonl")


class ScoresFile:
    """Writes scores and refusals; both files appear at the end, whole, or never.

    Attributes:
        written: Instances with scores so far.
        refused: Instances without so far.
    """

    def __init__(self, path: pathlib.Path, signature: SignatureInfo) -> None:
        """Starts the file.

        Args:
            path: Ends in `.jsonl` or `.csv`.
            signature: Names the outputs and tells which are vectors of fixed length.

        Raises:
            UsageError: `path` has another ending, or is a folder.
            MaaskitError: The folder cannot be written to.
        """
        check_path(path)
        self.written = 0
        self.refused = 0
        self.path = path
        self._key = "key"
        while self._key in signature.outputs:
            self._key = f"_{self._key}"
        # One value first, long vectors last: that is what a person looks for.
        self._infos = dict(sorted(signature.outputs.items(), key=_size))
        self._is_csv = path.suffix.lower() == ".csv"
        self._file = AtomicFile(path)
        self._errors: AtomicFile | None = None
        if self._is_csv:
            names = [
                name
                for alias, info in self._infos.items()
                for name in _cells.column_names(alias, info)
            ]
            self._file.write(_cells.csv_lines([[self._key, *names]]))

    def __enter__(self) -> "ScoresFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.discard()
        if self._errors is not None:
            self._errors.discard()

    def write(self, keys: Sequence[object], outputs: Mapping[str, np.ndarray]) -> None:
        """Appends the answers to one batch.

        Args:
            keys: One for each instance.
            outputs: Alias to array, whose first axis is the instances.

        Raises:
            MaaskitError: An output has not one entry for each instance, or the disk
                is full.
        """
        for alias, info in self._infos.items():
            shape = outputs[alias].shape
            if shape[:1] != (len(keys),) or not _inputs.fits(shape[1:], info):
                raise MaaskitError(
                    f"Output `{alias}` must be {_inputs.describe_tensor(info)} for a "
                    f"batch of {len(keys)}. Received: shape {list(shape)}."
                )
        write = self._csv if self._is_csv else self._jsonl
        self._file.write(write(keys, outputs))
        self.written += len(keys)

    def refuse(self, refusal: Refusal) -> None:
        """Appends to the list of instances that have no scores.

        Raises:
            MaaskitError: The disk is full.
        """
        if self._errors is None:
            self._errors = AtomicFile(errors_path(self.path))
        line = {"file": refusal.file, "row": refusal.row, "reason": refusal.reason}
        self._errors.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.refused += 1

    def publish(self) -> None:
        """Gives the files their names; a list of an earlier run goes away.

        Raises:
            MaaskitError: The disk is full, or fails.
        """
        # The list first: whoever finds the scores finds what is missing in them too.
        if self._errors is not None:
            self._errors.publish()
        self._file.publish()
        if self._errors is None:
            errors_path(self.path).unlink(missing_ok=True)

    def _jsonl(self, keys: Sequence[object], outputs: Mapping[str, np.ndarray]) -> str:
        names = [json.dumps(name, ensure_ascii=False) for name in self._infos]
        columns = [_cells.json_rows(alias, outputs[alias]) for alias in self._infos]
        return "".join(
            f'{{"{self._key}": {json.dumps(key, ensure_ascii=False)}, '
            + ", ".join(f"{n}: {v}" for n, v in zip(names, values, strict=True))
            + "}\n"
            for key, *values in zip(keys, *columns, strict=True)
        )

    def _csv(self, keys: Sequence[object], outputs: Mapping[str, np.ndarray]) -> str:
        columns = [
            _cells.csv_rows(alias, outputs[alias], info)
            for alias, info in self._infos.items()
        ]
        return _cells.csv_lines(
            [key, *(cell for cells in row for cell in cells)]
            for key, *row in zip(keys, *columns, strict=True)
        )


def _size(output: tuple[str, TensorInfo]) -> float:
    """Values an instance; endless where that is not fixed."""
    shape = output[1].shape
    if shape is None or None in shape[1:]:
        return math.inf
    return math.prod(size for size in shape[1:] if size is not None)
