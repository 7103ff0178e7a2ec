"""Answers to Predict as bytes, the frequent dtypes written without protobuf.

`float_val` and its like are the array's own bytes, so that nothing has to be done for
each value. Anything else is protobuf's work.
"""

import functools
import sys
from collections.abc import Mapping

import numpy as np

from savedmodels.protos import predict_pb2, tensor_pb2
from serving import tensor_codec
from serving.wire_format import varint

_FLOAT, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
_INT64 = np.dtype(np.int64)
# Field of TensorProto that holds the values, by dtype; its wire type is 2, as of all
# that are made of bytes.
_PACKED = {_FLOAT: 5, _DOUBLE: 6, _INT64: 10}
_CONTENT = 4
_KEY, _VALUE = b"\x0a", b"\x12"  # of an entry of a map
_OUTPUTS = b"\x0a"
_IS_LITTLE = sys.byteorder == "little"


def serialized(
    model: str,
    version: int,
    signature_name: str,
    outputs: Mapping[str, np.ndarray],
    *,
    as_content: bool,
) -> bytes:
    """Returns the bytes of what `prediction_service.predict_response` returns.

    Args:
        model: Name of the model.
        version: The version that answered.
        signature_name: The signature that answered.
        outputs: Those that were asked for, by alias.
        as_content: See `PredictionService`.

    Raises:
        UnimplementedError: An output cannot be sent.
    """
    parts = [_spec(model, version, signature_name)]
    for alias, array in outputs.items():
        values = _values(array, as_content)
        if values is None:
            proto = tensor_codec.encode(array, as_content=as_content)
            head, values = b"", proto.SerializeToString()
        else:
            field = _CONTENT if as_content else _PACKED[array.dtype]
            head = _tensor_head(array.dtype, array.shape, field, len(values))
        size = len(head) + len(values)
        parts += [_entry_head(alias, size), head, values]
    return b"".join(parts)


def _values(array: np.ndarray, as_content: bool) -> bytes | None:
    """The bytes of an array's values in their field; None if protobuf must do it."""
    if not _IS_LITTLE or array.dtype not in _PACKED or not array.size:
        return None
    if as_content or array.dtype != _INT64:
        return array.tobytes()
    numbers = array.reshape(-1).tolist()
    # Such numbers, as of classes, are one byte each.
    if min(numbers) >= 0 and max(numbers) < 0x80:
        return bytes(numbers)
    return None


@functools.lru_cache(maxsize=256)
def _spec(model: str, version: int, signature_name: str) -> bytes:
    response = predict_pb2.PredictResponse()
    response.model_spec.name = model
    response.model_spec.version.value = version
    response.model_spec.signature_name = signature_name
    return bytes(response.SerializeToString())


@functools.lru_cache(maxsize=1024)
def _tensor_head(
    dtype: np.dtype, shape: tuple[int, ...], field: int, size: int
) -> bytes:
    """What stands before the values in a TensorProto."""
    proto = tensor_pb2.TensorProto(dtype=tensor_codec.encode(np.empty(0, dtype)).dtype)
    for length in shape:
        proto.tensor_shape.dim.add(size=length)
    head = bytes(proto.SerializeToString())
    return head + bytes([field << 3 | 2]) + varint(size)


@functools.lru_cache(maxsize=1024)
def _entry_head(alias: str, size: int) -> bytes:
    """What stands before the TensorProto in an entry of `outputs`."""
    name = alias.encode()
    key = _KEY + varint(len(name)) + name + _VALUE + varint(size)
    return _OUTPUTS + varint(len(key) + size) + key
