"""TensorFlow itself says what each TensorProto means."""

import ml_dtypes
import numpy as np
import pytest

from savedmodels.protos import tensor_pb2, types_pb2
from serving import tensor_codec
from serving.errors import UnimplementedError

DTYPES = [
    np.float32,
    np.float64,
    np.float16,
    ml_dtypes.bfloat16,
    np.int8,
    np.int16,
    np.int32,
    np.int64,
    np.uint8,
    np.uint16,
    np.uint32,
    np.uint64,
    np.bool_,
    np.complex64,
    np.complex128,
]


def values(dtype):
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        return np.array([[info.min, 0, 1], [2, 3, info.max]], dtype)
    return np.array([[0, 1, 2], [0.5, 1.5, 3]]).astype(dtype)


def meaning_to_tensorflow(tf, proto):
    """What `tensorflow::Tensor::FromProto` reads."""
    return tf.io.parse_tensor(proto.SerializeToString(), proto.dtype).numpy()


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_tensorflow_reads_what_is_encoded(tf, dtype, as_content):
    array = values(dtype)
    proto = tensor_codec.encode(array, as_content=as_content)
    assert bool(proto.tensor_content) == as_content
    np.testing.assert_array_equal(meaning_to_tensorflow(tf, proto), array)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_tensorflow_encodes_is_read(tf, dtype):
    array = values(dtype)
    proto = tf.make_tensor_proto(array)
    decoded = tensor_codec.decode(proto)
    assert decoded.dtype == array.dtype
    np.testing.assert_array_equal(decoded, array)


@pytest.mark.parametrize("dtype", DTYPES)
def test_typed_fields_come_back(dtype):
    array = values(dtype)
    decoded = tensor_codec.decode(tensor_codec.encode(array))
    assert decoded.dtype == array.dtype
    np.testing.assert_array_equal(decoded, array)


@pytest.mark.parametrize("unknown", [b"", b"\xf8\x07\x01", b"\xfb\x07\x2a\x00\xfc\x07"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_many_values_are_read_among_fields_that_nobody_knows(tf, dtype, unknown):
    array = np.resize(values(dtype), (40, 5))
    sent = tensor_codec.encode(array).SerializeToString() + unknown
    proto = tensor_pb2.TensorProto.FromString(sent)
    decoded = tensor_codec.decode(proto)
    assert decoded.dtype == array.dtype
    np.testing.assert_array_equal(decoded, array)
    np.testing.assert_array_equal(decoded, meaning_to_tensorflow(tf, proto))


@pytest.mark.parametrize("strings", [[b"a", b"", "\u00e9".encode()], [b"nul\0", b"\0"]])
def test_strings_keep_every_byte(tf, strings):
    array = np.array(strings, np.object_)
    proto = tensor_codec.encode(array, as_content=True)
    assert list(proto.string_val) == strings
    assert meaning_to_tensorflow(tf, proto).tolist() == strings
    assert tensor_codec.decode(proto).tolist() == strings


@pytest.mark.parametrize("strings", [[b"ab", b"", b"c"], [b"x" * 300, b"y" * 20_000]])
def test_strings_are_read_from_tensor_content(tf, strings):
    content = tf.io.serialize_tensor(tf.constant(strings)).numpy()
    proto = tensor_pb2.TensorProto.FromString(content)
    if not proto.tensor_content:  # lengths as varints, then the bytes
        lengths = b"".join(_varint(len(text)) for text in strings)
        proto.ClearField("string_val")
        proto.tensor_content = lengths + b"".join(strings)
    assert meaning_to_tensorflow(tf, proto).tolist() == strings
    assert tensor_codec.decode(proto).tolist() == strings


@pytest.mark.parametrize(
    "sent", [[], [7.0], [7.0, 8.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0, 5.0]]
)
def test_short_and_long_fields_mean_what_they_mean_to_tensorflow(tf, sent):
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=sent)
    proto.tensor_shape.dim.add(size=4)
    np.testing.assert_array_equal(
        tensor_codec.decode(proto), meaning_to_tensorflow(tf, proto)
    )


def test_strings_without_values_are_empty():
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING)
    proto.tensor_shape.dim.add(size=2)
    assert tensor_codec.decode(proto).tolist() == [b"", b""]


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1, 2, 3)])
def test_every_shape_comes_back(shape):
    array = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    decoded = tensor_codec.decode(tensor_codec.encode(array))
    assert decoded.shape == shape
    np.testing.assert_array_equal(decoded, array)


def test_reads_rows_of_a_larger_array():
    rows = np.arange(12, dtype=np.complex64).reshape(4, 3)[::2]
    np.testing.assert_array_equal(
        tensor_codec.decode(tensor_codec.encode(rows)), [[0, 1, 2], [6, 7, 8]]
    )


def _varint(number):
    return (
        number.to_bytes(1, "little")
        if number < 128
        else bytes([number & 127 | 128]) + _varint(number >> 7)
    )


@pytest.mark.parametrize(
    ("dtype", "sizes", "content"),
    [
        (types_pb2.DT_FLOAT, [3], b"\0" * 8),
        (types_pb2.DT_FLOAT, [-1], b"\0" * 8),
        (types_pb2.DT_FLOAT, [2**40, 2**40], b""),
        (types_pb2.DT_FLOAT, [2**31], b""),
        (types_pb2.DT_FLOAT, [0, 2**62], b""),
        (types_pb2.DT_STRING, [2], b"\x05ab"),
        (types_pb2.DT_STRING, [2], b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        (types_pb2.DT_STRING, [2], b"\x01\x01abc"),
        # A length has 32 bits: two, in more bytes than they take.
        (types_pb2.DT_STRING, [1], b"\x82\x80\x80\x80\x80\x00ab"),
        (types_pb2.DT_STRING, [2**29], b"a"),
    ],
)
def test_values_that_do_not_fit_are_refused(dtype, sizes, content):
    proto = tensor_pb2.TensorProto(dtype=dtype, tensor_content=content)
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    with pytest.raises(tensor_codec.TensorParseError):
        tensor_codec.decode(proto)


def test_a_shape_of_unknown_rank_is_refused():
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT)
    proto.tensor_shape.unknown_rank = True
    with pytest.raises(tensor_codec.TensorParseError, match="not fully known"):
        tensor_codec.decode(proto)


@pytest.mark.parametrize("dtype", [types_pb2.DT_VARIANT, types_pb2.DT_INVALID, 12345])
def test_a_dtype_without_values_is_unimplemented(dtype):
    with pytest.raises(UnimplementedError, match="cannot be read"):
        tensor_codec.decode(tensor_pb2.TensorProto(dtype=dtype))


def test_an_array_of_times_cannot_be_sent():
    with pytest.raises(UnimplementedError, match="datetime64"):
        tensor_codec.encode(np.zeros(1, "datetime64[s]"))


@pytest.mark.parametrize(
    ("dtype", "values", "size"),
    [
        ("DT_FLOAT", {"float_val": [1]}, 2**25),
        ("DT_STRING", {"string_val": [b"a"]}, 2**24),
        ("DT_STRING", {"string_val": [bytes(2**20)]}, 100),
        ("DT_INT64", {}, 2**24),
    ],
)
def test_a_few_bytes_cannot_ask_for_a_huge_tensor(dtype, values, size):
    proto = tensor_pb2.TensorProto(dtype=dtype, **values)
    proto.tensor_shape.dim.add(size=size)
    with pytest.raises(tensor_codec.TensorParseError, match="repeating the last one"):
        tensor_codec.decode(proto)
