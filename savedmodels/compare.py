"""Whether two answers to the same request are the same answer."""

import dataclasses
from collections.abc import Mapping

import ml_dtypes
import numpy as np

Arrays = Mapping[str, np.ndarray]

# An output that is 0 throughout may be this small a number elsewhere.
_LEAST_SCALE = 1e-6


@dataclasses.dataclass(frozen=True, slots=True)
class Tolerance:
    """How far floats may lie apart: |a - b| <= absolute + relative * |expected|.

    Everything else (integers, booleans, strings) has to be equal.
    """

    relative: float
    absolute: float


def max_difference(expected: Arrays, received: Arrays, tolerance: Tolerance) -> float:
    """Compares two answers alias by alias.

    Args:
        expected: Alias to array; strings are object arrays of bytes.
        received: Likewise.
        tolerance: For floats. NaN equals NaN, and infinity itself.

    Returns:
        The largest |expected - received| of all floats; 0.0 where there are none.

    Raises:
        ValueError: They disagree; says in which alias, and by how much.
    """
    if set(expected) != set(received):
        raise ValueError(
            f"the aliases are {sorted(received)}, where {sorted(expected)} are expected"
        )
    return max(
        _difference(alias, expected[alias], received[alias], tolerance)
        for alias in expected
    )


def share_of_scale(expected: Arrays, received: Arrays, limit: float) -> float:
    """Compares two answers by the scale of each output, its largest finite value.

    Args:
        expected: Alias to array; strings are object arrays of bytes.
        received: Likewise.
        limit: How far floats may lie apart, in parts of that scale.

    Returns:
        The largest difference of all floats, in parts of that scale.

    Raises:
        ValueError: They disagree; says in which alias, and by how much.
    """
    if set(expected) != set(received):
        max_difference(expected, received, Tolerance(0, 0))
    worst = 0.0
    for alias, array in expected.items():
        scale = _scale(array)
        tolerance = Tolerance(relative=0.0, absolute=limit * scale)
        difference = _difference(alias, array, received[alias], tolerance)
        worst = max(worst, difference / scale)
    return worst


def _scale(array: np.ndarray) -> float:
    """The largest finite value; never 0, which no rounding could keep to."""
    if not _is_float(array.dtype) or not array.size:
        return 1.0
    wide = np.complex128 if array.dtype.kind == "c" else np.float64
    sizes = np.abs(array.astype(wide))
    largest = float(sizes[np.isfinite(sizes)].max(initial=0.0))
    return max(largest, _LEAST_SCALE)


def _difference(
    alias: str, expected: np.ndarray, received: np.ndarray, tolerance: Tolerance
) -> float:
    """The largest difference within one alias."""
    if expected.shape != received.shape or expected.dtype != received.dtype:
        raise ValueError(
            f"`{alias}` is {received.shape} {received.dtype}, where "
            f"{expected.shape} {expected.dtype} is expected"
        )
    if not _is_float(expected.dtype):
        unequal = int(np.sum(expected != received))
        if unequal:
            raise ValueError(
                f"`{alias}` differs in {unequal} of {expected.size} values, where none "
                f"may"
            )
        return 0.0
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    left, right = expected.astype(wide), received.astype(wide)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    apart = np.abs(np.where(same, 0, left) - np.where(same, 0, right))
    allowed = tolerance.absolute + tolerance.relative * np.abs(left)
    # Written so that NaN and infinity on one side alone count as apart.
    outside = ~(same | (np.isfinite(left) & (apart <= allowed)))
    if outside.any():
        raise ValueError(
            f"`{alias}` differs by up to {apart.max():.3g} in {int(outside.sum())} of "
            f"{expected.size} values, where {tolerance.absolute:g} + "
            f"{tolerance.relative:g} * |value| is allowed"
        )
    return float(apart.max(initial=0.0))


def _is_float(dtype: np.dtype) -> bool:
    return dtype.kind in "fc" or dtype == ml_dtypes.bfloat16
