"""Scores as a Parquet file: a column for the key, and for each output."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import _cells, _inputs
from pipelines._formats import Columns, Writes
from savedmodels.errors import MaaskitError
from serving.servable import TensorInfo

_GROUP_ROWS = 8192  # gathered in memory before they are written


class Parquet:
    """Writes rows in groups."""

    def __init__(self, file: Writes, columns: Columns) -> None:
        self._columns = columns
        fields = [(columns.key, pa.string())]
        for name, kind in zip(columns.carried, columns.types, strict=True):
            fields.append((name, pa.type_for_alias(kind)))
        for alias, info in columns.outputs.items():
            fields.append((alias, _type(info)))
        self._schema = pa.schema(fields)
        self._writer = pq.ParquetWriter(file, self._schema)
        self._batches: list[pa.RecordBatch] = []
        self._rows = 0

    def write(
        self,
        keys: Sequence[object],
        carried: Sequence[Sequence[Any]],
        outputs: Mapping[str, np.ndarray],
    ) -> None:
        """Appends rows."""
        arrays = [pa.array(map(str, keys), pa.string())]
        try:
            for place, name in enumerate(self._columns.carried):
                kind = self._schema.field(name).type
                values = [_carried(row[place], kind) for row in carried]
                arrays.append(pa.array(values, kind))
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise MaaskitError(
                f"A value of the carried column `{name}` is not {kind}: {error}."
            ) from error
        for alias in self._columns.outputs:
            kind = self._schema.field(alias).type
            arrays.append(_array(alias, outputs[alias], kind))
        self._batches.append(pa.record_batch(arrays, schema=self._schema))
        self._rows += len(keys)
        if self._rows >= _GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        """Writes the rest and the footer."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._batches:
            self._writer.write_table(pa.Table.from_batches(self._batches))
            self._batches, self._rows = [], 0


def join(file: Writes, parts: Sequence[Any]) -> None:
    """Writes the rows of several files of one schema as one file."""
    writer = None
    for part in parts:
        with pq.ParquetFile(part) as read:
            writer = writer or pq.ParquetWriter(file, read.schema_arrow)
            for group in range(read.num_row_groups):
                writer.write_table(read.read_row_group(group))
    if writer is not None:
        writer.close()


def _type(info: TensorInfo) -> pa.DataType:
    if _inputs.is_string(info):
        kind = pa.string()
    elif info.dtype.kind in "biuf" and info.dtype != np.float16:
        kind = pa.from_numpy_dtype(info.dtype)
    else:
        kind = pa.float32()  # half, bfloat16 and the like, which few readers know
    rank = 2 if info.shape is None else len(info.shape)
    for _ in range(rank - 1):
        kind = pa.list_(kind)
    return kind


def _carried(value: Any, kind: pa.DataType) -> Any:
    if value is None or kind != pa.string() or isinstance(value, str):
        return value
    return _cells.json_text(value)


def _array(alias: str, values: np.ndarray, kind: pa.DataType) -> pa.Array:
    """An output [rows, ...] as a column."""
    depth, inner = 0, kind
    while pa.types.is_list(inner):
        depth, inner = depth + 1, inner.value_type
    if values.ndim != depth + 1:  # of any rank: a flat list
        values = values.reshape(len(values), -1)
    flat = values.reshape(-1)
    if flat.dtype == object:
        column = pa.array([_cells.text(alias, value) for value in flat], inner)
    else:
        column = pa.array(flat.astype(inner.to_pandas_dtype(), copy=False), inner)
    shape = values.shape if depth else values.shape[:1]
    for level in range(depth, 0, -1):
        rows = int(np.prod(shape[:level]))
        offsets = np.arange(rows + 1, dtype=np.int32) * shape[level]
        column = pa.ListArray.from_arrays(offsets, column)
    return column
