"""TFRecord files, read and written without TensorFlow.

A file is records one after the other, all integers little-endian:

    length [8]  masked CRC-32C of length [4]  data [length]  masked CRC-32C of data [4]

Source: tensorflow/core/lib/io/record_writer.h. Both checksums are compared, as
TensorFlow does: a byte that changed on a disk must not become a score.
"""

import functools
import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")


class TFRecordError(ValueError):
    """The file is no TFRecord, or ends inside a record: nothing more can be read."""


def read(file: BinaryIO) -> Iterator[bytes | None]:
    """Yields the records of an open file, one at a time.

    Args:
        file: Opened for reading bytes, at the start of a record.

    Yields:
        The data of a record; None for one whose data does not fit its checksum. The
        records after it are read as usual.

    Raises:
        TFRecordError: A length does not fit its checksum, or the file ends early.
    """
    while header := file.read(_HEADER.size):
        data = file.read(_data_length(header))
        footer = file.read(_FOOTER.size)
        if len(footer) < _FOOTER.size:
            raise TFRecordError("The file ends inside a record: it was cut short.")
        yield data if _FOOTER.unpack(footer)[0] == masked_crc32c(data) else None


def places(file: BinaryIO) -> Iterator[int]:
    """Yields where each record begins, by stepping over their data.

    Args:
        file: Opened for reading bytes, at the start of a record; must be seekable.
            What is wrong with it ends the list: `read` tells of it, where that can
            also be written down.
    """
    place = file.tell()
    try:
        while header := file.read(_HEADER.size):
            length = _data_length(header) + _FOOTER.size
            yield place
            place = file.seek(length, 1)
    except TFRecordError:
        return


def is_header(start: bytes) -> bool:
    """Whether the first 12 bytes of a file are the length of a record."""
    try:
        _data_length(start)
    except TFRecordError:
        return False
    return True


def framed(data: bytes) -> bytes:
    """Returns one record, as it stands in a file."""
    length = len(data).to_bytes(8, "little")
    header = length + _FOOTER.pack(masked_crc32c(length))
    return b"".join((header, data, _FOOTER.pack(masked_crc32c(data))))


@functools.lru_cache(maxsize=4096)
def _data_length(header: bytes) -> int:
    """The length that a record's first 12 bytes give; most files have few lengths."""
    if len(header) < _HEADER.size:
        raise TFRecordError("The file ends inside a record: it was cut short.")
    length, checksum = _HEADER.unpack(header)
    if checksum != masked_crc32c(header[:8]):
        raise TFRecordError(
            "A record's length does not fit its checksum: this is no TFRecord, or a "
            "compressed or damaged one."
        )
    return int(length)


def masked_crc32c(data: bytes) -> int:
    """Returns the checksum as TFRecord stores it: rotated, plus a constant.

    Args:
        data: Any bytes.
    """
    crc = int(google_crc32c.value(data))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
