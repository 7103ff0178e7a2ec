"""What shares the first axis: rows of a batch, and the shapes behind them."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

Arrays: TypeAlias = Mapping[str, np.ndarray]
Shapes: TypeAlias = tuple[tuple[int, ...], ...]


def rows(arrays: Arrays) -> int:
    """Returns the length of the batch axis; `inner_shapes` said that there is one."""
    return len(next(iter(arrays.values())))


def part(arrays: Arrays, start: int, end: int) -> dict[str, np.ndarray]:
    """Returns the rows from `start` up to `end`, without copying."""
    return {alias: array[start:end] for alias, array in arrays.items()}


def fits(arrays: Arrays, rows: int) -> bool:
    """Returns whether every array has this many rows."""
    return all(array.ndim and len(array) == rows for array in arrays.values())


def inner_shapes(arrays: Arrays, *, pads: bool = False) -> Shapes | None:
    """Returns the shapes without the batch axis; None where there is no common one.

    Args:
        arrays: Alias to array.
        pads: Whether shorter ones are padded, so that the number of axes counts alone.
    """
    if not arrays or any(array.ndim == 0 for array in arrays.values()):
        return None
    if not fits(arrays, rows(arrays)):
        return None
    if pads:
        return tuple((-1,) * (array.ndim - 1) for array in arrays.values())
    return tuple(array.shape[1:] for array in arrays.values())


def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the rows of all arrays; the shorter ones end in 0, in "" for strings."""
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) == 1:
        return np.concatenate(arrays)
    sizes = tuple(map(max, zip(*shapes, strict=True)))
    rows = sum(map(len, arrays))
    dtype = arrays[0].dtype
    filling = b"" if dtype == np.object_ else np.zeros((), dtype)
    whole = np.full((rows, *sizes), filling, dtype)
    end = 0
    for array in arrays:
        start, end = end, end + len(array)
        whole[(slice(start, end), *map(slice, array.shape[1:]))] = array
    return whole
