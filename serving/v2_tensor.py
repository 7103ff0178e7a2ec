"""Tensors as the Open Inference Protocol writes them: in JSON, and as raw bytes.

Raw bytes are the values in C order, little-endian; of strings, each with its length in
four bytes before it. JSON is a list, flat or nested, whose shape stands beside it.
"""

import math
import struct
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from serving import json_encode, json_tensor
from serving.errors import InvalidRequestError
from serving.servable import TensorInfo
from serving.signatures import SignatureInfo

BYTES = "BYTES"
_DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    BYTES: np.dtype(np.object_),
}
_DATATYPES = {dtype: name for name, dtype in _DTYPES.items()}
# What JSON can hold in place of what it cannot.
_WIDER = {"FP16": "FP32", "BF16": "FP32", "UINT16": "UINT32"}
_LENGTH = struct.Struct("<I")


def datatype(dtype: np.dtype) -> str:
    """Returns the protocol's name of a dtype.

    Raises:
        InvalidRequestError: It has none.
    """
    if dtype not in _DATATYPES:
        raise InvalidRequestError(f"The protocol has no datatype for {dtype.name}.")
    return _DATATYPES[dtype]


def metadata(alias: str, info: TensorInfo) -> dict[str, Any]:
    """Returns what is told of an input or output; -1 for an axis of any size.

    A tensor of any rank is told as one axis, since the protocol has no word for it.
    """
    shape = [-1] if info.shape is None else [-1 if n is None else n for n in info.shape]
    return {"name": alias, "datatype": datatype(info.dtype), "shape": shape}


def check(signature: SignatureInfo, alias: str, name: str) -> None:
    """Raises InvalidRequestError where an input comes in another datatype than its own.

    Args:
        signature: What is asked. Inputs that it does not have are passed over.
        alias: The input.
        name: The datatype that it is sent in.
    """
    json_info(alias, name)  # refuses a datatype that there is not
    info = signature.inputs.get(alias)
    if info is not None and info.dtype != _DTYPES[name]:
        raise InvalidRequestError(
            f"Input `{alias}` must be {datatype(info.dtype)}. Received: {name}."
        )


def json_info(alias: str, name: str) -> TensorInfo:
    """Returns what an input's values are in JSON; other arguments as for `from_json`.

    Raises:
        InvalidRequestError: There is no such datatype.
    """
    if name not in _DTYPES:
        raise InvalidRequestError(
            f"Input `{alias}` is of an unknown datatype. Expected one of "
            f"{', '.join(_DTYPES)}. Received: {name}."
        )
    return TensorInfo(alias, _DTYPES[_WIDER.get(name, name)], None, name)


def from_json(data: Any, alias: str, name: str, shape: Sequence[int]) -> np.ndarray:
    """Returns an array from JSON.

    Args:
        data: A list, flat or nested as `shape` says; or an array of it, of the dtype
            that `json_info` gives.
        alias: The input, for errors.
        name: Its datatype.
        shape: Its shape.

    Raises:
        InvalidRequestError: A value is of another type, or there are more or fewer.
    """
    array = data
    if not isinstance(data, np.ndarray):
        array = json_tensor.tensor(data, json_info(alias, name))
    if name == "UINT16" and array.size and array.max() > np.iinfo(np.uint16).max:
        raise InvalidRequestError(
            f"Input `{alias}` must be UINT16. Received: {array.max()}."
        )
    with np.errstate(over="ignore"):  # too large for a float is infinite
        array = array.astype(_DTYPES[name], copy=False)
    return _shaped(array.reshape(-1), alias, shape)


def to_json(array: np.ndarray) -> str:
    """Returns an array as a flat list. Strings are text."""
    wider = _WIDER.get(datatype(array.dtype))
    if wider:
        array = array.astype(_DTYPES[wider])
    return json_encode.tensor(array.reshape(-1))


def from_raw(data: bytes, alias: str, name: str, shape: Sequence[int]) -> np.ndarray:
    """Returns an array from raw bytes; arguments and errors as for `from_json`."""
    dtype = _DTYPES[name]
    if name == BYTES:
        return _shaped(_strings(data, alias), alias, shape)
    if len(data) % dtype.itemsize:
        raise InvalidRequestError(
            f"Input `{alias}` is {name}, of {dtype.itemsize} bytes each. "
            f"Received: {len(data)} bytes."
        )
    return _shaped(np.frombuffer(data, dtype), alias, shape)


def from_values(
    values: Sequence[Any], alias: str, name: str, shape: Sequence[int]
) -> np.ndarray:
    """Returns an array from a message's typed values; the rest as for `from_json`."""
    dtype = _DTYPES[name]
    if name == BYTES:
        array = np.empty(len(values), np.object_)
        array[:] = values
        return _shaped(array, alias, shape)
    array = np.array(values, None if values else dtype)
    if dtype.kind in "iu" and array.size:
        limits = np.iinfo(dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise InvalidRequestError(
                f"Input `{alias}` must be {name}. "
                f"Received: values from {array.min()} to {array.max()}."
            )
    return _shaped(array.astype(dtype), alias, shape)


def to_raw(array: np.ndarray) -> bytes:
    """Returns an array as raw bytes."""
    if array.dtype != np.object_:
        return array.tobytes()
    parts = []
    for value in array.flat:
        encoded = value.encode() if isinstance(value, str) else bytes(value)
        parts += [_LENGTH.pack(len(encoded)), encoded]
    return b"".join(parts)


def _strings(data: bytes, alias: str) -> np.ndarray:
    values: list[bytes] = []
    place = 0
    while place < len(data):
        start = place + _LENGTH.size
        length = _LENGTH.unpack(data[place:start])[0] if start <= len(data) else 0
        place = start + length
        if place > len(data):
            raise InvalidRequestError(f"Input `{alias}` ends inside a string.")
        values.append(data[start:place])
    array = np.empty(len(values), np.object_)
    array[:] = values
    return array


def _shaped(flat: np.ndarray, alias: str, shape: Sequence[int]) -> np.ndarray:
    if flat.size != math.prod(shape) or any(size < 0 for size in shape):
        raise InvalidRequestError(
            f"Input `{alias}` has the shape {list(shape)}, so it must have "
            f"{math.prod(shape)} values. Received: {flat.size}."
        )
    try:
        return flat.reshape(shape)
    except (ValueError, OverflowError) as error:  # too many axes, or too long ones
        raise InvalidRequestError(
            f"Input `{alias}` has a shape that no tensor can have: {error}."
        ) from error
