"""The numbers of a REST predict request, without a Python object for each of them.

simdjson gives a list's numbers as one buffer, but flattens it; the request's text
without its digits, which is short, shows whether its lists are all of one shape.
`json_document` and `json_decode` say what a request means: what is not surely read as
they read it, errors included, is left to them.
"""

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import simdjson

from serving import json_shapes, json_tensor
from serving.json_document import LARGE_BYTES
from serving.servable import DEFAULT_SIGNATURE, SignatureInfo, TensorInfo

_SIGNATURE_NAME, _ROWS, _COLUMNS = "signature_name", "instances", "inputs"
_BYTES = "b64"  # the key of an object that is no object of inputs

# dtype to simdjson's letter for a buffer, and to the dtype of what that holds.
_DOUBLE, _SIGNED, _UNSIGNED = ("d", np.float64), ("i", np.int64), ("u", np.uint64)
_BUFFERS: Mapping[np.dtype[Any], tuple[Any, type[np.generic]]] = {
    np.dtype(np.float32): _DOUBLE,
    np.dtype(np.float64): _DOUBLE,
    np.dtype(np.int8): _SIGNED,
    np.dtype(np.int16): _SIGNED,
    np.dtype(np.int32): _SIGNED,
    np.dtype(np.int64): _SIGNED,
    np.dtype(np.uint8): _SIGNED,
    np.dtype(np.uint32): _SIGNED,
    np.dtype(np.uint64): _UNSIGNED,
}
_ITEM_BYTES = 8  # of all three
# The least and the largest value of the integers that are narrower than their buffer.
_LIMITS = {
    dtype: (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    for dtype in _BUFFERS
    if dtype.kind in "iu" and dtype.itemsize < _ITEM_BYTES
}


class UnsureError(Exception):
    """The request is not surely one of those that are read here."""


class _Parsers(threading.local):
    """One parser a thread: what it returns are views into it."""

    def __init__(self) -> None:
        self.kept = simdjson.Parser()


_parsers = _Parsers()


def predict_inputs(
    body: bytes, signatures: Mapping[str, SignatureInfo]
) -> tuple[str, bool, dict[str, np.ndarray]] | None:
    """Reads a predict request, if it is one of lists of numbers.

    Args:
        body: JSON, as it came.
        signatures: Those of the version that is asked, by name.

    Returns:
        What `rest_body.predict_inputs` returns: the signature's name, whether rows
        were sent, and the inputs. None where it has to look itself.
    """
    try:
        return _read(body, signatures)
    except UnsureError:
        return None


def _read(
    body: bytes, signatures: Mapping[str, SignatureInfo]
) -> tuple[str, bool, dict[str, np.ndarray]]:
    lists = json_shapes.lists(body)
    if lists is None:
        raise UnsureError
    document = parse(body)
    keys = keys_of(document)
    name: Any = ""
    if _SIGNATURE_NAME in keys:
        name = document[_SIGNATURE_NAME]
        lists.pop(0 if keys[0] == _SIGNATURE_NAME else -1)
        keys.remove(_SIGNATURE_NAME)
    if keys not in ([_ROWS], [_COLUMNS]) or not isinstance(name, str):
        raise UnsureError
    signature = signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        raise UnsureError
    value = document[keys[0]]
    in_rows = keys == [_ROWS]
    if len(lists) == 1:
        inputs = _of_one(value, lists[0], signature, in_rows=in_rows)
    elif in_rows:
        inputs = _of_rows(value, lists[1:], signature)
    else:
        inputs = _of_columns(value, lists[1:], signature)
    return name, in_rows, inputs


def parse(body: bytes) -> Any:
    """Returns a document of simdjson's, for this thread until the next one.

    Raises:
        UnsureError: It is no JSON, or none that simdjson reads.
    """
    is_large = len(body) > LARGE_BYTES  # a parser keeps the memory that it took
    parser = simdjson.Parser() if is_large else _parsers.kept
    try:
        return parser.parse(body)
    except (ValueError, RuntimeError) as error:  # the latter: nested too deep
        raise UnsureError from error


def keys_of(value: Any) -> list[str]:
    """Returns an object's keys, none twice: readers differ on which one counts.

    Raises:
        UnsureError: One is there twice, or it is no object.
    """
    if not isinstance(value, simdjson.Object):
        raise UnsureError
    keys = list(value.keys())
    if len(set(keys)) < len(keys) or _BYTES in keys:
        raise UnsureError
    return keys


def _of_one(
    value: Any, text: bytes, signature: SignatureInfo, *, in_rows: bool
) -> dict[str, np.ndarray]:
    """The only input, given without its name."""
    if len(signature.inputs) != 1 or (in_rows and not _is_list(value)):
        raise UnsureError
    ((alias, info),) = signature.inputs.items()
    return {alias: tensor(value, text, info)}


def _of_columns(
    value: Any, lists: Sequence[bytes], signature: SignatureInfo
) -> dict[str, np.ndarray]:
    """A tensor for each input, by name."""
    keys = keys_of(value)
    if set(keys) != signature.inputs.keys() or len(lists) != len(keys):
        raise UnsureError
    texts = dict(zip(keys, lists, strict=True))
    return {
        alias: tensor(value[alias], texts[alias], info)
        for alias, info in signature.inputs.items()
    }


def _of_rows(
    value: Any, lists: Sequence[bytes], signature: SignatureInfo
) -> dict[str, np.ndarray]:
    """A list of objects, each with a tensor for each input."""
    if not _is_list(value):
        raise UnsureError
    rows = list(value)
    width = len(signature.inputs)
    if len(lists) != width * len(rows):
        raise UnsureError
    found: dict[str, list[tuple[Any, bytes]]] = {key: [] for key in signature.inputs}
    for index, row in enumerate(rows):
        keys = keys_of(row)
        if set(keys) != found.keys():
            raise UnsureError
        for key, text in zip(keys, lists[index * width :][:width], strict=True):
            found[key].append((row[key], text))
    return {alias: _stack(found[alias], signature.inputs[alias]) for alias in found}


def _stack(values: Sequence[tuple[Any, bytes]], info: TensorInfo) -> np.ndarray:
    """One value a row as one array, whose first axis is the rows."""
    text = values[0][1]
    if any(other != text for _, other in values):
        raise UnsureError
    if _is_list(values[0][0]):
        return np.stack([tensor(value, text, info) for value, _ in values])
    return _converted([value for value, _ in values], info)


def tensor(value: Any, text: bytes, info: TensorInfo) -> np.ndarray:
    """Returns a value as an array of `info.dtype`, whatever shape that has.

    Args:
        value: A number, or a list of simdjson's.
        text: Its text without its numbers, as `json_shapes.lists` gives it.
        info: What it is.

    Raises:
        UnsureError: It is not all numbers of one shape, or one is out of range.
    """
    if not _is_list(value):
        return _converted(value, info)
    shape = json_shapes.shape(text)
    if shape is None or info.dtype not in _BUFFERS:
        raise UnsureError
    letter, wide = _BUFFERS[info.dtype]
    try:
        buffer = value.as_buffer(of_type=letter)
    except (TypeError, ValueError) as error:  # another kind of value, or out of range
        raise UnsureError from error
    if buffer.size != math.prod(shape) * _ITEM_BYTES:
        raise UnsureError  # an empty list looks like one of one number
    numbers = np.frombuffer(buffer, wide)
    if info.dtype in _LIMITS and not _are_within(numbers, *_LIMITS[info.dtype]):
        raise UnsureError
    if info.dtype == np.float32:
        with np.errstate(over="ignore"):
            numbers = numbers.astype(np.float32)
    else:  # a copy too: what is left of the buffer goes
        numbers = numbers.astype(info.dtype)
    return numbers.reshape(shape)


def _are_within(numbers: np.ndarray, low: int, high: int) -> bool:
    """Whether all int64 are, by one look at them: those below `low` wrap around."""
    above = (numbers - low if low else numbers).view(np.uint64)
    return int(above.max()) <= high - low


def _converted(value: Any, info: TensorInfo) -> np.ndarray:
    """A value, or a list of them, that is not worth a buffer."""
    array = json_tensor.convert(value, info.dtype)
    if array is None:
        raise UnsureError
    return array


def _is_list(value: Any) -> bool:
    return isinstance(value, simdjson.Array)
