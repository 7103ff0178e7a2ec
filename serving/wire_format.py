"""Numbers as protobuf writes them.

Asked for the numbers of a repeated field, it makes an object of each of them. On the
wire floats stand side by side, as in an array.
"""

import sys

import numpy as np
from google.protobuf.message import Message

# By wire type of a field: bytes that its value takes.
_SIZES = {1: 8, 5: 4}
_VARINT, _BYTES = 0, 2
_MORE = 0x80  # set in each byte of a varint but the last
_LEAST = 64  # numbers; fewer are read one by one as quickly
_IS_LITTLE = sys.byteorder == "little"


def varint(number: int) -> bytes:
    """Returns a number of at least zero as protobuf writes it."""
    octets = []
    while number >= _MORE:
        octets.append(number & 0x7F | _MORE)
        number >>= 7
    return bytes([*octets, number])


def read_varint(data: bytes, position: int, most_bytes: int = 10) -> tuple[int, int]:
    """Returns the number at a position, and the position after it.

    Args:
        data: Where it stands.
        position: Of its first byte.
        most_bytes: That it may take: 5 where it has 32 bits.

    Raises:
        ValueError: There is none.
    """
    number = 0
    for place, byte in enumerate(data[position : position + most_bytes]):
        number |= (byte & 0x7F) << 7 * place
        if byte < _MORE:
            return number, position + place + 1
    raise ValueError(f"there is no number at byte {position}")


def numbers(message: Message, field: str, dtype: np.dtype) -> np.ndarray:
    """Returns what a repeated field of numbers holds.

    Args:
        message: Has the field, which is packed.
        field: Its name.
        dtype: What protobuf's type of it is to numpy: "float" is float32, and so on.

    Returns:
        [count] array, perhaps read-only.
    """
    values = getattr(message, field)
    if dtype.kind == "f" and len(values) >= _LEAST and _IS_LITTLE:
        number = message.DESCRIPTOR.fields_by_name[field].number
        packed = _packed(message.SerializeToString(), number)
        if packed is not None:
            return np.frombuffer(packed, dtype)
    return np.fromiter(values, dtype, len(values))


def _packed(data: bytes, number: int) -> memoryview | None:
    """The bytes of a packed field; None where they are not to be found."""
    position = 0
    while position < len(data):
        key, position = read_varint(data, position)
        kind = key & 7
        if kind == _VARINT:
            _, position = read_varint(data, position)
        elif kind == _BYTES:
            size, position = read_varint(data, position)
            if key >> 3 == number:
                return memoryview(data)[position : position + size]
            position += size
        elif kind in _SIZES:
            position += _SIZES[kind]
        else:
            return None  # a group, of a field that nobody here knows
    return None
