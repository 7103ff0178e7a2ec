"""What shares the first axis: rows of a batch, and the shapes behind them."""

from collections.abc import Mapping
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


def inner_shapes(arrays: Arrays) -> Shapes | None:
    """Returns the shapes without the batch axis; None where there is no common one."""
    if not arrays or any(array.ndim == 0 for array in arrays.values()):
        return None
    if not fits(arrays, rows(arrays)):
        return None
    return tuple(array.shape[1:] for array in arrays.values())
