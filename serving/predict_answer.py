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

# Field of TensorProto that holds the values, by dtype; its wire type is 2, as of all
# that are made of bytes. Protobuf's bytes are little-endian on every machine.
_VARINTS = 10
_PACKED = (
    {np.dtype("<f4"): 5, np.dtype("<f8"): 6, np.dtype("<i8"): _VARINTS}
    if sys.byteorder == "little"
    else {}
)
_CONTENT = 4
_KEY, _VALUE = b"\x0a", b"\x12"  # of an entry of a map
_OUTPUTS = b"\x0a"


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
        packed = _packed(array, as_content)
        if packed is None:
            proto = tensor_codec.encode(array, as_content=as_content)
            values = proto.SerializeToString()
            parts.append(_entry_head(alias, len(values)))
        else:
            field, values = packed
            parts.append(_head(alias, array.dtype, array.shape, field, len(values)))
        parts.append(values)
    return b"".join(parts)


def _packed(array: np.ndarray, as_content: bool) -> tuple[int, bytes] | None:
    """The field of an array's values, and its bytes; None if protobuf must do it."""
    field = _PACKED.get(array.dtype)
    if field is None or not array.size:
        return None
    if as_content or field != _VARINTS:
        return _CONTENT if as_content else field, array.tobytes()
    numbers = array.reshape(-1).tolist()
    # Such numbers, as of classes, are one byte each.
    if min(numbers) >= 0 and max(numbers) < 0x80:
        return field, bytes(numbers)
    return None


@functools.lru_cache(maxsize=256)
def _spec(model: str, version: int, signature_name: str) -> bytes:
    response = predict_pb2.PredictResponse()
    response.model_spec.name = model
    response.model_spec.version.value = version
    response.model_spec.signature_name = signature_name
    return bytes(response.SerializeToString())


@functools.lru_cache(maxsize=1024)
def _head(
    alias: str, dtype: np.dtype, shape: tuple[int, ...], field: int, size: int
) -> bytes:
    """What stands before the values of an output."""
    head = _tensor_head(dtype, shape, field, size)
    return _entry_head(alias, len(head) + size) + head


def _tensor_head(
    dtype: np.dtype, shape: tuple[int, ...], field: int, size: int
) -> bytes:
    """What stands before the values in a TensorProto."""
    proto = tensor_pb2.TensorProto(dtype=tensor_codec.encode(np.empty(0, dtype)).dtype)
    for length in shape:
        proto.tensor_shape.dim.add(size=length)
    head = bytes(proto.SerializeToString())
    return head + bytes([field << 3 | 2]) + varint(size)


def _entry_head(alias: str, size: int) -> bytes:
    """What stands before the TensorProto in an entry of `outputs`."""
    name = alias.encode()
    key = _KEY + varint(len(name)) + name + _VALUE + varint(size)
    return _OUTPUTS + varint(len(key) + size) + key
