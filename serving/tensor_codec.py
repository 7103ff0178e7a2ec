"""TensorProto to numpy and back, by TensorFlow's rules and without TensorFlow.

The rules are those of `tensorflow::Tensor::FromProto`: `tensor_content` wins over the
typed fields; a typed field that is shorter than the shape repeats its last value, and
an empty one means zeros.
"""

import math
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from savedmodels.protos import tensor_pb2, types_pb2
from serving import wire_format
from serving.errors import UnimplementedError

# Per dtype its numpy equal and the field of TensorProto that holds its values.
_FIELDS: Mapping[str, tuple[Any, str]] = {
    "DT_FLOAT": (np.float32, "float_val"),
    "DT_DOUBLE": (np.float64, "double_val"),
    "DT_INT32": (np.int32, "int_val"),
    "DT_UINT8": (np.uint8, "int_val"),
    "DT_INT16": (np.int16, "int_val"),
    "DT_INT8": (np.int8, "int_val"),
    "DT_UINT16": (np.uint16, "int_val"),
    "DT_STRING": (np.object_, "string_val"),
    "DT_INT64": (np.int64, "int64_val"),
    "DT_BOOL": (np.bool_, "bool_val"),
    "DT_UINT32": (np.uint32, "uint32_val"),
    "DT_UINT64": (np.uint64, "uint64_val"),
    "DT_HALF": (np.float16, "half_val"),
    "DT_BFLOAT16": (ml_dtypes.bfloat16, "half_val"),
    "DT_COMPLEX64": (np.complex64, "scomplex_val"),
    "DT_COMPLEX128": (np.complex128, "dcomplex_val"),
}
_DTYPE_NAMES: dict[np.dtype, str] = {
    np.dtype(dtype): name for name, (dtype, _) in _FIELDS.items()
}
_ENUMS: dict[np.dtype, int] = {
    dtype: types_pb2.DataType.Value(name) for dtype, name in _DTYPE_NAMES.items()
}
_BY_ENUM: dict[int, tuple[np.dtype, str]] = {
    types_pb2.DataType.Value(name): (np.dtype(dtype), field)
    for name, (dtype, field) in _FIELDS.items()
}
_BITS = {"half_val": np.uint16}
_PARTS = {"scomplex_val": np.float32, "dcomplex_val": np.float64}
# What the fields hold on the wire, where it is not what they stand for.
_WIRE = {"int_val": np.int32, "half_val": np.int32, **_PARTS}

# A few bytes may ask for a tensor of any size, so its size has a limit: protobuf's own.
_MAX_BYTES = 2**31 - 1
# And so have the values that are not sent, but repeated: 20 bytes could otherwise ask
# for 268 million strings.
_MAX_REPEATED_BYTES = 64 * 1024 * 1024


class TensorParseError(ValueError):
    """The proto does not hold what its dtype and shape announce."""


def dtype_name(dtype: np.dtype) -> str:
    """Returns TensorFlow's name of a numpy dtype, as in `DT_FLOAT`.

    Raises:
        UnimplementedError: TensorFlow's TensorProto has no such dtype.
    """
    try:
        return _DTYPE_NAMES[dtype]
    except KeyError:
        raise UnimplementedError(
            f"A tensor of dtype {dtype} cannot be sent. "
            f"Expected one of: {', '.join(_DTYPE_NAMES.values())}. Received: {dtype}."
        ) from None


def numpy_dtype(enum: int) -> np.dtype:
    """Returns the numpy dtype of a `DataType`; `object` for those numpy cannot hold."""
    return _BY_ENUM[enum][0] if enum in _BY_ENUM else np.dtype(np.object_)


def short_name(dtype: np.dtype) -> str:
    """Returns the name that TensorFlow's error texts use, as in `float` or `int32`."""
    return dtype_name(dtype).removeprefix("DT_").lower()


def decode(proto: tensor_pb2.TensorProto) -> np.ndarray:
    """Returns the array that a TensorProto stands for.

    Args:
        proto: Of a dtype above and a fully known shape.

    Returns:
        Array of that shape, perhaps read-only; strings as an object array of bytes.

    Raises:
        TensorParseError: The values do not fit the dtype and shape.
        UnimplementedError: The dtype has no equal in numpy.
    """
    if proto.dtype not in _BY_ENUM:
        raise UnimplementedError(_unsupported(proto.dtype))
    dtype, field = _BY_ENUM[proto.dtype]
    shape = _shape(proto, dtype)
    count = math.prod(shape)
    if count == 0:
        return np.zeros(shape, dtype)
    if proto.tensor_content:
        return _from_content(proto.tensor_content, dtype, count).reshape(shape)
    return _from_values(proto, dtype, field, count).reshape(shape)


def encode(array: np.ndarray, *, as_content: bool = False) -> tensor_pb2.TensorProto:
    """Returns the TensorProto of an array.

    Args:
        array: Any shape; strings as an object array of bytes.
        as_content: Raw bytes in `tensor_content`, which is shorter to write and read,
            in place of the typed field. Strings always take their typed field.

    Raises:
        UnimplementedError: TensorProto has no such dtype.
    """
    proto = tensor_pb2.TensorProto()
    encode_into(proto, array, as_content=as_content)
    return proto


def encode_into(
    proto: tensor_pb2.TensorProto, array: np.ndarray, *, as_content: bool = False
) -> None:
    """Writes an array to an empty TensorProto. See `encode`."""
    dtype_name(array.dtype)  # Raises for what cannot be sent.
    proto.dtype = _ENUMS[array.dtype]
    dims = proto.tensor_shape.dim
    for size in array.shape:
        dims.add(size=size)
    field = _BY_ENUM[proto.dtype][1]
    if as_content and field != "string_val":
        proto.tensor_content = array.tobytes()
        return
    if field in _BITS:
        array = np.ascontiguousarray(array).view(_BITS[field])
    elif field in _PARTS:
        array = np.ascontiguousarray(array).reshape(-1).view(_PARTS[field])
    getattr(proto, field).extend(array.reshape(-1).tolist())


def _shape(proto: tensor_pb2.TensorProto, dtype: np.dtype) -> tuple[int, ...]:
    """The proto's shape, refused where it is not known or beyond the limit."""
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise TensorParseError(f"the shape is not fully known: {proto.tensor_shape}")
    # numpy has no array without rows whose rows are beyond all bounds.
    count = math.prod(size for size in shape if size)
    if len(shape) > 64 or count * dtype.itemsize > _MAX_BYTES:
        raise TensorParseError(f"shape {list(shape)} is beyond {_MAX_BYTES} bytes")
    return shape


def _from_content(content: bytes, dtype: np.dtype, count: int) -> np.ndarray:
    if dtype == np.object_:
        return _strings_from_content(content, count)
    if len(content) != count * dtype.itemsize:
        raise TensorParseError(
            f"tensor_content has {len(content)} bytes, "
            f"expected {count} x {dtype.itemsize}"
        )
    return np.frombuffer(content, dtype)


def _strings_from_content(content: bytes, count: int) -> np.ndarray:
    """TensorFlow's layout of strings: all lengths as varints, then all bytes."""
    lengths, position = [], 0
    if count > len(content):
        raise TensorParseError(f"tensor_content is too short for {count} strings")
    try:
        for _ in range(count):
            length, position = wire_format.read_varint(content, position, 5)
            lengths.append(length)
    except ValueError:
        raise TensorParseError("tensor_content holds a broken string length") from None
    if position + sum(lengths) != len(content):
        raise TensorParseError("tensor_content does not end with its last string")
    strings = np.empty(count, np.object_)
    for index, length in enumerate(lengths):
        strings[index] = content[position : position + length]
        position += length
    return strings


def _from_values(
    proto: tensor_pb2.TensorProto, dtype: np.dtype, field: str, count: int
) -> np.ndarray:
    if field == "string_val":
        flat = np.empty(len(proto.string_val), dtype)
        flat[:] = proto.string_val
    else:
        flat = wire_format.numbers(proto, field, np.dtype(_WIRE.get(field, dtype)))
        if field in _PARTS:
            if len(flat) % 2:
                raise TensorParseError(f"{field} holds half a number")
            flat = flat.view(dtype)
        elif field in _BITS:
            flat = flat.astype(_BITS[field]).view(dtype)
        else:
            # TensorFlow keeps the low bits of an int32 too.
            flat = flat.astype(dtype, copy=False)
    if len(flat) >= count:
        return flat[:count]
    missing = count - len(flat)
    if len(flat):
        last = flat[-1]
    else:
        last = b"" if dtype == np.object_ else dtype.type(0)
    each = dtype.itemsize + (len(last) if isinstance(last, bytes) else 0)
    if missing * each > _MAX_REPEATED_BYTES:
        raise TensorParseError(
            f"{field} has {count - missing} of {count} values: repeating the last one "
            f"takes more than {_MAX_REPEATED_BYTES} bytes"
        )
    filled = np.empty(count, dtype)
    filled[: count - missing] = flat
    filled[count - missing :] = last
    return filled


def _unsupported(enum: int) -> str:
    known = enum in types_pb2.DataType.values()
    name = types_pb2.DataType.Name(enum) if known else str(enum)
    return (
        f"A tensor of dtype {name} cannot be read. "
        f"Expected one of: {', '.join(_FIELDS)}. Received: {name}."
    )
