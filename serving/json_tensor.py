"""JSON values of a REST request or answer as numpy arrays.

Whole lists are checked and converted at once. Only a list that does not fit is walked
value by value, to say which value it was.
"""

import base64
import binascii
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving.errors import InvalidRequestError, UnimplementedError
from serving.json_document import debug_string, to_bytes, type_name
from serving.servable import TensorInfo

MAX_RANK = 64  # numpy's own limit

_STRING = np.dtype(object)
_NUMBER = frozenset({int, float})
# dtype to the Python types of the JSON values that it takes. `bool` is a type of its
# own here, so `true` is no number; other dtypes have no JSON form.
_TYPES: dict[np.dtype[Any], frozenset[type]] = {
    np.dtype(np.float32): _NUMBER,
    np.dtype(np.float64): _NUMBER,
    np.dtype(np.int8): frozenset({int}),
    np.dtype(np.int16): frozenset({int}),
    np.dtype(np.int32): frozenset({int}),
    np.dtype(np.int64): frozenset({int}),
    np.dtype(np.uint8): frozenset({int}),
    np.dtype(np.uint32): frozenset({int}),
    np.dtype(np.uint64): frozenset({int}),
    np.dtype(np.bool_): frozenset({bool}),
    _STRING: frozenset({str, dict}),
}


def tensor(value: Any, info: TensorInfo) -> np.ndarray:
    """Converts one JSON value, or list of lists of them, to an array.

    Args:
        value: Number, string, boolean, `{"b64": ...}`, or nested lists of these, all
            of one shape.
        info: Gives the dtype. The shape is the value's, except that of `[]`.

    Returns:
        [the lists' lengths] array of `info.dtype`. Numbers too large for a float are
        infinite; strings are bytes.

    Raises:
        InvalidRequestError: A value has another type, an integer is out of range,
            base64 is broken, or the lists are ragged.
        UnimplementedError: The dtype has no JSON form.
    """
    array = convert(value, info.dtype)
    if array is None:
        array = _one_by_one(value, info)
    if array.shape == (0,) and info.shape and None not in info.shape[1:]:
        # JSON cannot show the inner shape of no rows, but the signature knows it.
        array = array.reshape(0, *info.shape[1:])
    return array


def reads(dtype: np.dtype[Any]) -> bool:
    """Returns whether values of a dtype have a form in a request."""
    return dtype in _TYPES


def is_base64(value: Any) -> bool:
    """Returns whether `value` is `{"b64": "..."}`, which stands for bytes."""
    return isinstance(value, dict) and len(value) == 1 and "b64" in value


def from_base64(value: Mapping[str, Any]) -> bytes:
    """Returns the bytes that `{"b64": "..."}` stands for.

    Raises:
        InvalidRequestError: It has another form, or its text is not base64.
    """
    if not is_base64(value) or not isinstance(value["b64"], str):
        raise InvalidRequestError(
            f"JSON Value: {debug_string(value)} not formatted correctly for base64 data"
        )
    # Spaces inside and missing padding are allowed.
    text = "".join(value["b64"].split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequestError("Unable to base64 decode") from error


def convert(value: Any, dtype: np.dtype[Any]) -> np.ndarray | None:
    """Converts as `tensor` does, or returns None where that would raise.

    Also where a number is too large for a float: `tensor` knows what to do.
    """
    shape = []
    leaves = [value]
    while leaves and isinstance(leaves[0], list):
        if set(map(type, leaves)) != {list} or len(set(map(len, leaves))) > 1:
            return None
        shape.append(len(leaves[0]))
        leaves = list(itertools.chain.from_iterable(leaves))
    if len(shape) > MAX_RANK or not set(map(type, leaves)) <= _TYPES.get(dtype, set()):
        return None
    try:
        return _to_array(leaves, dtype).reshape(shape)
    except (OverflowError, InvalidRequestError):
        return None


def _to_array(leaves: Sequence[Any], dtype: np.dtype[Any]) -> np.ndarray:
    """Values of the right types as a [values] array; OverflowError if out of range."""
    if dtype == _STRING:
        array = np.empty(len(leaves), dtype)
        array[:] = [
            to_bytes(leaf) if isinstance(leaf, str) else from_base64(leaf)
            for leaf in leaves
        ]
        return array
    with np.errstate(over="ignore"):
        return np.array(leaves, dtype)


def _one_by_one(value: Any, info: TensorInfo) -> np.ndarray:
    """As `tensor`, slower, but its errors name the value."""
    shape = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    if len(shape) > MAX_RANK:
        raise InvalidRequestError(
            f"Encountered list at unexpected level: {MAX_RANK} expected < {MAX_RANK}"
        )
    leaves: list[Any] = []
    _collect(value, shape, 0, info, leaves)
    return _to_array(leaves, info.dtype).reshape(shape)


def _collect(
    value: Any, shape: Sequence[int], level: int, info: TensorInfo, leaves: list[Any]
) -> None:
    """Appends the checked values of `value`, which lies `level` lists deep."""
    if not isinstance(value, list):
        if level != len(shape):
            raise InvalidRequestError(
                f"JSON Value: {debug_string(value)} found at incorrect level: "
                f"{level + 1} in the JSON DOM. Expected at level: {len(shape)}"
            )
        leaves.append(_checked(value, info))
        return
    if level >= len(shape):
        raise InvalidRequestError(
            f"Encountered list at unexpected level: {level} expected < {len(shape)}"
        )
    if len(value) != shape[level]:
        raise InvalidRequestError(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    for item in value:
        _collect(item, shape, level + 1, info, leaves)


def _checked(value: Any, info: TensorInfo) -> Any:
    """`value`, if the dtype takes it; an integer too large for a float as infinity."""
    expected = info.dtype_name.removeprefix("DT_").lower()
    if info.dtype not in _TYPES:
        raise UnimplementedError(
            f"Conversion of JSON Value: {debug_string(value)} to type: {expected}"
        )
    fits = type(value) in _TYPES[info.dtype]
    if fits and info.dtype.kind in "iu":
        limits = np.iinfo(info.dtype)
        fits = bool(limits.min <= value <= limits.max)
    if not fits:
        raise InvalidRequestError(
            f"JSON Value: {debug_string(value)} Type: {type_name(value)} "
            f"is not of expected type: {expected}"
        )
    if info.dtype.kind == "f":
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    return value
