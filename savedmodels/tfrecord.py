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

import numpy as np

_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), bits reversed: RFC 3720, B.4
_BLOCK = 1024  # bytes looked up at once; the table takes 1 KiB for each of them
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
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """Returns the CRC-32C of `data` (RFC 3720, section 12.1).

    A CRC is linear: each byte's share depends only on its value and on how many bytes
    come after it, and the shares are XORed. So a block is one table look-up, which
    numpy does 50 times faster than a loop over its bytes.

    Args:
        data: Any bytes.
    """
    shares, rows = _shares()
    register = 0xFFFFFFFF
    for start in range(0, len(data), _BLOCK):
        block = np.frombuffer(data, np.uint8, min(_BLOCK, len(data) - start), start)
        if block.size < 4:
            for byte in block.tolist():
                register = register >> 8 ^ int(
                    shares[-256 + ((register ^ byte) & 0xFF)]
                )
            continue
        places = rows[_BLOCK - block.size :] + block
        # What came before acts as if it were XORed into the next four bytes.
        places[:4] ^= np.frombuffer(register.to_bytes(4, "little"), np.uint8)
        register = int(np.bitwise_xor.reduce(shares.take(places)))
    return register ^ 0xFFFFFFFF


@functools.cache
def _shares() -> tuple[np.ndarray, np.ndarray]:
    """The share of each byte value in each place of a block, and where a place starts.

    [place * 256 + value] uint32; the last place is the one with no byte after it.
    """
    register: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        register = register >> 1 ^ np.where(register & 1, np.uint32(_POLYNOMIAL), 0)
    last = register
    table = np.empty((_BLOCK, 256), np.uint32)
    for place in range(_BLOCK - 1, -1, -1):
        table[place] = register
        register = register >> 8 ^ last[register & 0xFF]
    return table.ravel(), np.arange(_BLOCK) * 256
