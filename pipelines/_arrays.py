"""`.npy` and `.npz` files as instances, without holding a whole array in memory."""

import contextlib
import dataclasses
import math
import pathlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np

from pipelines import _inputs
from pipelines._inputs import Inputs, MismatchError, UnreadableError
from pipelines._reading import Instance, Reading, check_columns, no_columns, plain
from serving.servable import SignatureInfo, TensorInfo


@dataclasses.dataclass(slots=True)
class _Column:
    """One array of a file, read from front to back."""

    name: str  # as messages show it
    file: IO[bytes]
    shape: tuple[int, ...]
    dtype: np.dtype
    by_columns: bool  # Fortran order, whose rows do not lie together


def read(
    path: pathlib.Path,
    signature: SignatureInfo,
    begin: int = 0,
    end: int | None = None,
) -> Iterator[Inputs]:
    """Yields the instances of a `.npy` or `.npz` file.

    Args:
        path: `.npy` fills the only input; `.npz` holds an array for each alias, and
            perhaps others. With the batch axis each row is an instance, without it the
            array is one. An input whose last axis is 1 may come without that axis.
        signature: What the model takes.
        begin: First row; above 0 only where `can_seek`.
        end: Row after the last; None for all that there are.

    Yields:
        Alias to array, without the batch axis, in the input's dtype.

    Raises:
        MismatchError: Aliases, shape or dtype are not those of the signature.
        UnreadableError: The file is damaged, or holds Python objects.
    """
    with contextlib.ExitStack() as stack:
        yield from _read(_open(path, signature, stack), signature, begin, end)


def instances(reading: Reading) -> Iterator[Instance]:
    """Yields what `read` does, with the columns that are wanted beside it.

    Columns are arrays of an `.npz` file that hold one value for each row.

    Raises:
        MismatchError: See `read`; or a column is not there, or is none.
        UnreadableError: See `read`.
    """
    path, span, wanted = reading.path, reading.span, reading.wanted
    signature = reading.signature
    if path.suffix.lower() == ".npy":
        no_columns(reading, "A .npy file")
        for inputs in read(path, signature, span.begin, span.end):
            yield Instance(None, inputs)
        return
    with contextlib.ExitStack() as stack:
        archive, members = _archive(path, stack)
        arrays = _inputs_of(archive, members, signature, stack)
        rows = _count(arrays, signature)
        check_columns(members, reading)
        key = wanted.key_among(members, signature.inputs)
        columns = {
            name: _cells(_member(archive, name, members, stack), rows)
            for name in {*wanted.columns, *([] if key is None else [key])}
        }
        for inputs in _read(arrays, signature, span.begin, span.end):
            cells = {name: next(values) for name, values in columns.items()}
            carried = tuple(cells[name] for name in wanted.columns)
            yield Instance(None if key is None else cells[key], inputs, carried)


def count(path: pathlib.Path, signature: SignatureInfo) -> int:
    """Returns how many instances `read` yields; raises as it does."""
    with contextlib.ExitStack() as stack:
        return _count(_open(path, signature, stack), signature)


def can_seek(path: pathlib.Path) -> bool:
    """Whether rows in the middle can be read without those before them."""
    if path.suffix.lower() != ".npy":
        return False
    with path.open("rb") as file:
        return not _header("The array", file).by_columns


def _count(columns: Mapping[str, _Column], signature: SignatureInfo) -> int:
    batched = _check(columns, signature)
    return next(iter(columns.values())).shape[0] if batched else 1


def _read(
    columns: Mapping[str, _Column],
    signature: SignatureInfo,
    begin: int,
    end: int | None,
) -> Iterator[Inputs]:
    if not _check(columns, signature):
        yield {
            alias: _fit(_whole(column), signature.inputs[alias])
            for alias, column in columns.items()
        }
        return
    total = next(iter(columns.values())).shape[0]
    rows = {alias: _rows(column, begin) for alias, column in columns.items()}
    for _ in range(begin, total if end is None else end):
        yield {
            alias: _fit(next(values), signature.inputs[alias])
            for alias, values in rows.items()
        }


def _open(
    path: pathlib.Path, signature: SignatureInfo, stack: contextlib.ExitStack
) -> dict[str, _Column]:
    """The file's arrays by alias, their headers read."""
    if path.suffix.lower() == ".npy":
        if len(signature.inputs) != 1:
            raise MismatchError(
                f"A .npy file fills one input, but the signature takes "
                f"{_inputs.describe(signature)}. Received: `{path.name}`. "
                "Save an .npz file with one array for each."
            )
        file: IO[bytes] = stack.enter_context(path.open("rb"))
        return {next(iter(signature.inputs)): _header("The array", file)}
    return _inputs_of(*_archive(path, stack), signature, stack)


def _inputs_of(
    archive: zipfile.ZipFile,
    members: Mapping[str, str],
    signature: SignatureInfo,
    stack: contextlib.ExitStack,
) -> dict[str, _Column]:
    """The arrays of an `.npz` file that the model takes."""
    found = {alias: members[alias] for alias in signature.inputs if alias in members}
    if set(signature.inputs) - set(signature.defaults) - set(found):
        _inputs.check_aliases(members, signature)
    return {alias: _member(archive, alias, members, stack) for alias in found}


def _archive(
    path: pathlib.Path, stack: contextlib.ExitStack
) -> tuple[zipfile.ZipFile, dict[str, str]]:
    """An `.npz` file, and its members by the names of their arrays."""
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
    except zipfile.BadZipFile as error:
        raise UnreadableError(f"The file is not an .npz archive: {error}.") from error
    return archive, {name.removesuffix(".npy"): name for name in archive.namelist()}


def _member(
    archive: zipfile.ZipFile,
    name: str,
    members: Mapping[str, str],
    stack: contextlib.ExitStack,
) -> _Column:
    return _header(f"`{name}`", stack.enter_context(archive.open(members[name])))


def _cells(column: _Column, rows: int) -> Iterator[Any]:
    """The values of an array beside the inputs."""
    if column.shape != (rows,):
        raise MismatchError(
            f"A column must hold one value for each of the {rows} rows. Received: "
            f"{column.name}, an array of shape {list(column.shape)}."
        )
    return (plain(value.item()) for value in _rows(column, 0))


def _header(name: str, file: IO[bytes]) -> _Column:
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            header = np.lib.format.read_array_header_1_0(file)
        else:  # 3.0 differs from 2.0 only for names of fields, refused below
            header = np.lib.format.read_array_header_2_0(file)
    except (ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UnreadableError(f"{name} has no readable header: {error}.") from error
    shape, by_columns, dtype = header
    if dtype.hasobject:
        raise UnreadableError(
            f"{name} holds Python objects, which are not read because loading them can "
            "run code. Expected numbers or fixed-length strings."
        )
    return _Column(name, file, shape, dtype, by_columns and len(shape) > 1)


def _check(columns: Mapping[str, _Column], signature: SignatureInfo) -> bool:
    """Whether the arrays have the batch axis; raises where they do not fit."""
    batched = set()
    for alias, column in columns.items():
        info = signature.inputs[alias]
        if not _inputs.castable(column.dtype, info):
            raise MismatchError(
                f"Input `{alias}` is {_inputs.describe_tensor(info)}. "
                f"Received: {column.dtype.name}, which may hold values that it cannot. "
                "Convert the array first, with the values brought into its range: "
                "pixels of 0 to 1 become uint8 by "
                "`np.rint(array * 255).astype(np.uint8)`."
            )
        if column.shape and _fits(column.shape[1:], info):
            batched.add(True)
        elif _fits(column.shape, info):
            batched.add(False)
        else:
            raise MismatchError(
                f"Input `{alias}` is {_inputs.describe_tensor(info)}. "
                f"Received: an array of shape {list(column.shape)}."
            )
    sizes = {column.shape[:1] for column in columns.values()}
    if len(batched) > 1 or (True in batched and len(sizes) > 1):
        shapes = ", ".join(f"{c.name} {list(c.shape)}" for c in columns.values())
        raise MismatchError(
            "All arrays must have the same number of instances on their first axis. "
            f"Received: {shapes}."
        )
    return True in batched


def _fits(shape: tuple[int, ...], info: TensorInfo) -> bool:
    # Grey images are often saved without their axis of one channel.
    lacks_axis = info.shape is not None and info.shape[1:][-1:] == (1,)
    return _inputs.fits(shape, info) or (lacks_axis and _inputs.fits((*shape, 1), info))


def _fit(values: np.ndarray, info: TensorInfo) -> np.ndarray:
    values = _inputs.cast(values, info)
    return values if _inputs.fits(values.shape, info) else values[..., np.newaxis]


def _rows(column: _Column, begin: int) -> Iterator[np.ndarray]:
    """The elements of the first axis."""
    if column.by_columns:
        yield from _whole(column)
        return
    if begin:
        size = math.prod(column.shape[1:]) * column.dtype.itemsize
        column.file.seek(begin * size, 1)
    for row in range(begin, column.shape[0]):
        yield _take(column, column.shape[1:], f"after {row} of {column.shape[0]} rows")


def _whole(column: _Column) -> np.ndarray:
    shape = column.shape[::-1] if column.by_columns else column.shape
    array = _take(column, shape, "before its array does")
    return array.transpose() if column.by_columns else array


def _take(column: _Column, shape: tuple[int, ...], ends: str) -> np.ndarray:
    """The next values of the file in `shape`."""
    size = math.prod(shape) * column.dtype.itemsize
    try:
        data = column.file.read(size)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise UnreadableError(f"{column.name} cannot be read: {error}.") from error
    if len(data) < size:
        raise UnreadableError(f"{column.name} is cut short: the file ends {ends}.")
    return np.frombuffer(data, column.dtype).reshape(shape)
