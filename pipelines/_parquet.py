"""Parquet files as instances, their columns mapped by name.

An input takes the column of its name: numbers or texts, lists of the input's shape or
flat ones of its size, or binary that is an encoded image or the numbers' bytes. A
vector may also lie in columns of its own, `scores_0, scores_1, ...`.
"""

import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import _images, _inputs
from pipelines._inputs import MismatchError, UnreadableError
from pipelines._reading import Instance, Item, Reading, check_columns, plain

_ROWS = 128  # decoded at once


def instances(reading: Reading) -> Iterator[Item]:
    """Yields the instances of a part of a file, its row groups."""
    try:
        with pq.ParquetFile(reading.path) as file:
            names = file.schema_arrow.names
            columns = _Columns(names, reading)
            groups = range(reading.span.begin, file.num_row_groups)
            if reading.span.end is not None:
                groups = range(reading.span.begin, reading.span.end)
            for batch in file.iter_batches(_ROWS, list(groups), columns.needed):
                yield from columns.instances(batch)
    except pa.ArrowException as error:
        raise UnreadableError(
            f"The file is not Parquet, or damaged: {error}."
        ) from error


class _Columns:
    """Which columns make the instances."""

    def __init__(self, names: Sequence[str], reading: Reading) -> None:
        self._reading = reading
        self._inputs = {
            alias: found
            for alias in reading.signature.inputs
            if (found := _names(alias, names))
        }
        check_columns([*self._inputs, *names], reading, names)
        self._key = key = reading.wanted.key_among(names, self._inputs)
        taken = [name for found in self._inputs.values() for name in found]
        extra = [*reading.wanted.columns, *([] if key is None else [key])]
        self.needed = list(dict.fromkeys([*taken, *extra]))

    def instances(self, batch: pa.RecordBatch) -> Iterator[Item]:
        """Yields the rows of a batch; if one is bad, all one by one, to find it."""
        wanted = self._reading.wanted
        try:
            arrays = {
                alias: self._input(batch, alias, names)
                for alias, names in self._inputs.items()
            }
        except (MismatchError, UnreadableError) as error:
            if batch.num_rows == 1:
                yield error
                return
            for row in range(batch.num_rows):
                yield from self.instances(batch.slice(row, 1))
            return
        keys = [None] * batch.num_rows
        if self._key is not None:
            keys = [plain(key) for key in batch.column(self._key).to_pylist()]
        columns = [batch.column(name).to_pylist() for name in wanted.columns]
        for row in range(batch.num_rows):
            inputs = {alias: array[row, ...] for alias, array in arrays.items()}
            carried = tuple(plain(column[row]) for column in columns)
            yield Instance(keys[row], inputs, carried)

    def _input(
        self, batch: pa.RecordBatch, alias: str, names: Sequence[str]
    ) -> np.ndarray:
        """One input of all rows of a batch."""
        signature = self._reading.signature
        info = signature.inputs[alias]
        parts = [batch.column(name) for name in names]
        for name, part in zip(names, parts, strict=True):
            if part.null_count:
                raise MismatchError(
                    f"`{alias}` must be {_inputs.describe_tensor(info)}. "
                    f"Received: no value in `{name}`."
                )
        if len(parts) > 1:
            values = np.stack([_array(part, alias) for part in parts], axis=1)
        elif _is_bytes(parts[0].type) and not _inputs.is_string(info):
            is_image = alias == _images.image_alias(signature)
            rows = [self._decoded(cell, alias, is_image) for cell in _bytes(parts[0])]
            return np.stack(rows)
        else:
            values = _array(parts[0], alias)
        if values.dtype != object:
            values = _inputs.numbers(values, alias, info)
        elif not _inputs.is_string(info):
            raise MismatchError(
                f"`{alias}` must be {_inputs.describe_tensor(info)}. "
                f"Received: {parts[0].type}."
            )
        if _inputs.fits(values.shape[1:], info):
            return values
        flat = values.reshape(len(values), -1)
        rows = [_inputs.shaped(row, alias, info) for row in flat]
        return np.stack(rows)

    def _decoded(self, cell: bytes, alias: str, is_image: bool) -> np.ndarray:
        info = self._reading.signature.inputs[alias]
        raw = _images.from_raw(cell, info)
        if raw is not None:
            return raw
        if is_image:
            return _images.from_image(cell, alias, info, self._reading.note)
        raise MismatchError(
            f"`{alias}` must be {_inputs.describe_tensor(info)}. "
            f"Received: {len(cell)} bytes."
        )


def row_groups(path: pathlib.Path, most: int) -> tuple[int, list[tuple[int, int]]]:
    """Returns the rows of a file, and (group, row) where it may be divided.

    Args:
        path: A Parquet file.
        most: Rows of one part, about.

    Raises:
        UnreadableError: It is none.
        OSError: It cannot be read.
    """
    try:
        metadata = pq.read_metadata(path)
    except pa.ArrowException as error:
        raise UnreadableError(f"The file is not Parquet: {error}.") from error
    marks, row, last = [], 0, 0
    for group in range(metadata.num_row_groups):
        if row - last >= most:
            marks.append((group, row))
            last = row
        row += metadata.row_group(group).num_rows
    return row, marks


def types(path: pathlib.Path, names: Sequence[str]) -> list[str]:
    """Returns pyarrow's names of columns' types; `string` for all but plain numbers.

    Args:
        path: A Parquet file; of one that cannot be read, reading it tells why.
        names: Columns.
    """
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError):
        return []
    found = [schema.field(name).type for name in names if name in schema.names]
    if len(found) < len(names):
        return []
    plain = [
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or kind == pa.bool_()
        for kind in found
    ]
    return [
        str(kind) if is_plain and kind != pa.float16() else "string"
        for kind, is_plain in zip(found, plain, strict=True)
    ]


def _names(alias: str, names: Sequence[str]) -> list[str]:
    if alias in names:
        return [alias]
    found: list[str] = []
    while (name := f"{alias}_{len(found)}") in names:
        found.append(name)
    return found


def _array(column: pa.Array, alias: str) -> np.ndarray:
    """A column [rows, ...] of numbers, or of objects of bytes."""
    shape = [len(column)]
    while pa.types.is_list(column.type) or _is_other_list(column.type):
        sizes = column.value_lengths().unique().to_pylist()
        if len(sizes) > 1 or None in sizes:
            raise MismatchError(
                f"`{alias}` holds lists of several lengths, which are read one by one."
            )
        shape.append(sizes[0] if sizes else 0)
        column = column.flatten()
    if column.null_count:
        raise MismatchError(f"`{alias}` holds lists in which values are missing.")
    if _is_bytes(column.type):
        values = np.empty(len(column), object)
        values[:] = _bytes(column)
    else:
        values = column.to_numpy(zero_copy_only=False)
    return values.reshape(shape)


def _is_other_list(kind: pa.DataType) -> bool:
    return any(
        is_one(kind) for is_one in (pa.types.is_large_list, pa.types.is_fixed_size_list)
    )


def _is_bytes(kind: pa.DataType) -> bool:
    of_bytes = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_fixed_size_binary,
    )
    return any(is_one(kind) for is_one in of_bytes)


def _bytes(column: pa.Array) -> list[bytes]:
    cells = column.to_pylist()
    return [cell.encode() if isinstance(cell, str) else cell for cell in cells]
