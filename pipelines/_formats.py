"""Scores as bytes of a file, in the format that its ending chooses.

JSONL     a line an instance: `{"key": "7.png", "class_id": 7, "scores": [0.01, ...]}`
CSV       a row an instance: `key,class_id,scores_0,scores_1,...`; an output of one
          value has one column, a vector of fixed length one for each element, and any
          other shape is JSON text in one column
Parquet   a column for the key, as text, and for each output; arrays are lists
TFRecord  a tf.Example an instance, with a feature for the key and for each output

Floats of text have the fewest digits that read back as the same value of their dtype.
`NaN` and `Infinity` are bare words, as in TF Serving's REST answers. Strings are text;
bytes that are not UTF-8, and outputs whose alias ends with `_bytes`, are base64: in
JSONL as `{"b64": "..."}`, in CSV and Parquet bare. A tf.Example has them as they are.
"""

import dataclasses
import gzip
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from pipelines import _cells
from savedmodels import tfrecord
from savedmodels.errors import UsageError
from savedmodels.protos import example_pb2
from serving.servable import TensorInfo

ENDINGS = ".jsonl .csv .parquet .tfrecord, but for .parquet also with .gz"
_ENDING = re.compile(r"\.(jsonl|csv|tfrecord)(\.gz)?$|\.(parquet)$", re.IGNORECASE)


class Writes(Protocol):
    """What formats write to: an `AtomicFile`, or standard output."""

    def write(self, data: bytes) -> int:
        """Appends bytes."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Columns:
    """What a row of scores holds.

    Attributes:
        key: Name of the key.
        carried: Names of what is carried along.
        types: pyarrow's names of their types, where a format needs them beforehand.
        outputs: Alias to output, in their order.
    """

    key: str
    carried: Sequence[str]
    types: Sequence[str]
    outputs: Mapping[str, TensorInfo]


class Format(Protocol):
    """Writes rows."""

    def write(
        self,
        keys: Sequence[object],
        carried: Sequence[Sequence[Any]],
        outputs: Mapping[str, np.ndarray],
    ) -> None:
        """Appends rows; `carried` has the values of one row after the other."""
        ...

    def close(self) -> None:
        """Writes what a file of the format ends with."""
        ...


def of(path: pathlib.Path) -> str:
    """Returns `jsonl`, `csv`, `tfrecord` or `parquet`, the first three also with `.gz`.

    Raises:
        UsageError: The name has another ending.
    """
    found = _ENDING.search(path.name)
    if found is None:
        raise UsageError(
            f"The ending of the output chooses its format. Expected one of: {ENDINGS}. "
            f"Received: {path}."
        )
    return found.group().lower().removeprefix(".")


def create(name: str, file: Writes, columns: Columns, header: bool) -> Format:
    """Returns what writes a format into a file.

    Args:
        name: From `of`.
        file: Where to.
        columns: What a row holds.
        header: Whether a CSV file begins with the names: only the first part of one
            does.
    """
    if name == "parquet":
        from pipelines import _parquet_scores  # it brings pyarrow

        return _parquet_scores.Parquet(file, columns)
    if name.endswith(".gz"):
        return _Compressed(name.removesuffix(".gz"), file, columns, header)
    if name == "csv":
        return _Csv(file, columns, header)
    return _JsonLines(file, columns) if name == "jsonl" else _TFRecord(file, columns)


class _JsonLines:
    def __init__(self, file: Writes, columns: Columns) -> None:
        self._file = file
        self._outputs = columns.outputs
        names = (columns.key, *columns.carried, *columns.outputs)
        members = [_cells.json_text(name).replace("%", "%%") + ": %s" for name in names]
        self._line = "{" + ", ".join(members) + "}\n"

    def write(
        self,
        keys: Sequence[object],
        carried: Sequence[Sequence[Any]],
        outputs: Mapping[str, np.ndarray],
    ) -> None:
        text = _cells.json_text
        columns = [_cells.json_rows(alias, outputs[alias]) for alias in self._outputs]
        lines = [
            self._line % (text(key), *map(text, extra), *values)
            for key, extra, *values in zip(keys, carried, *columns, strict=True)
        ]
        self._file.write("".join(lines).encode("utf-8", "surrogatepass"))

    def close(self) -> None:
        pass


class _Csv:
    def __init__(self, file: Writes, columns: Columns, header: bool) -> None:
        self._file = file
        self._outputs = columns.outputs
        names = [
            name
            for alias, info in columns.outputs.items()
            for name in _cells.column_names(alias, info)
        ]
        if header:
            self._lines([[columns.key, *columns.carried, *names]])

    def write(
        self,
        keys: Sequence[object],
        carried: Sequence[Sequence[Any]],
        outputs: Mapping[str, np.ndarray],
    ) -> None:
        columns = [
            _cells.csv_rows(alias, outputs[alias], info)
            for alias, info in self._outputs.items()
        ]
        self._lines(
            [
                [key, *map(_cell, extra), *(cell for cells in row for cell in cells)]
                for key, extra, *row in zip(keys, carried, *columns, strict=True)
            ]
        )

    def _lines(self, rows: Sequence[Sequence[object]]) -> None:
        self._file.write(_cells.csv_lines(rows).encode("utf-8", "surrogateescape"))

    def close(self) -> None:
        pass


class _TFRecord:
    def __init__(self, file: Writes, columns: Columns) -> None:
        self._file = file
        self._columns = columns

    def write(
        self,
        keys: Sequence[object],
        carried: Sequence[Sequence[Any]],
        outputs: Mapping[str, np.ndarray],
    ) -> None:
        records = []
        for row, (key, extra) in enumerate(zip(keys, carried, strict=True)):
            example = example_pb2.Example()
            _set(example, self._columns.key, [key])
            for name, value in zip(self._columns.carried, extra, strict=True):
                _set(example, name, value if isinstance(value, list) else [value])
            for alias in self._columns.outputs:
                _set(example, alias, outputs[alias][row].reshape(-1).tolist())
            # The same rows are the same bytes: the order of a map is otherwise chance.
            data = example.SerializeToString(deterministic=True)
            records.append(tfrecord.framed(data))
        self._file.write(b"".join(records))

    def close(self) -> None:
        pass


class _Compressed:
    """Another format through gzip; files of it can be joined as they are."""

    def __init__(self, name: str, file: Writes, columns: Columns, header: bool) -> None:
        # Without the time, so that the same rows are the same bytes.
        sink: Any = file
        self._file = gzip.GzipFile("", "wb", 6, sink, mtime=0)
        self._inner = create(name, self._file, columns, header)

    def write(
        self,
        keys: Sequence[object],
        carried: Sequence[Sequence[Any]],
        outputs: Mapping[str, np.ndarray],
    ) -> None:
        self._inner.write(keys, carried, outputs)

    def close(self) -> None:
        self._file.close()


def _cell(value: object) -> object:
    if value is None:
        return ""
    return value if isinstance(value, str | int | float) else _cells.json_text(value)


def _set(example: example_pb2.Example, name: str, values: Sequence[Any]) -> None:
    """Fills a feature by the kind of its values."""
    feature = example.features.feature[name]
    if all(isinstance(value, int) for value in values):
        feature.int64_list.value.extend(map(int, values))
    elif all(isinstance(value, int | float) for value in values):
        feature.float_list.value.extend(values)
    else:
        texts = (
            v if isinstance(v, str | bytes) else _cells.json_text(v) for v in values
        )
        feature.bytes_list.value.extend(
            text.encode() if isinstance(text, str) else text for text in texts
        )
