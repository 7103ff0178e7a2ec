"""Frames of HTTP/2 (RFC 9113), and the headers that go over several of them."""

import struct
from collections.abc import Iterator
from typing import TypeAlias

from serving import hpack
from serving.hpack import Fields

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PUSH, PING = 0, 1, 3, 4, 5, 6
GO_AWAY, WINDOW, CONTINUATION = 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4  # flags
TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME = 1, 2, 3, 4, 5
LARGEST = 2**31 - 1
DEFAULT_WINDOW = 65535
DEFAULT_FRAME = 16384
CANCEL, REFUSED = 8, 7  # codes of a reset; the second: nothing was done

_PADDED, _PRIORITY = 8, 32
_MAX_BLOCK = 65536

# Kind, flags, number of the stream, payload.
Frame: TypeAlias = tuple[int, int, int, bytes]


class Http2Error(Exception):
    """The other side does not keep to the protocol."""


class Frames:
    """Cuts what is received into frames."""

    def __init__(self) -> None:
        """Has received nothing."""
        self._rest = b""

    def take(self, data: bytes) -> Iterator[Frame]:
        """Yields the frames that are whole.

        Args:
            data: What follows what was taken before.

        Raises:
            Http2Error: One is larger than may be sent.
        """
        data = self._rest + data if self._rest else data
        start = 0
        while len(data) - start >= 9:
            size = int.from_bytes(data[start : start + 3])
            if size > DEFAULT_FRAME:
                raise Http2Error(f"A frame of {size} bytes is too large.")
            end = start + 9 + size
            if end > len(data):
                break
            number = int.from_bytes(data[start + 5 : start + 9]) & LARGEST
            yield data[start + 3], data[start + 4], number, data[start + 9 : end]
            start = end
        self._rest = data[start:]


class Blocks:
    """Joins the frames of headers, between which there must be no others."""

    def __init__(self) -> None:
        """Has none."""
        self._begun: tuple[int, int, bytes] | None = None

    def take(self, frame: Frame) -> tuple[int, Fields] | None:
        """Returns the flags and fields of headers that are whole by now, or None.

        Args:
            frame: Of any kind.

        Raises:
            Http2Error: It is in the wrong place, or there is no end to them.
            HpackError: They cannot be read.
        """
        kind, flags, number, payload = frame
        if kind == CONTINUATION:
            if self._begun is None or self._begun[0] != number:
                raise Http2Error("Headers go on that never began.")
            flags, payload = (
                self._begun[1] | flags & END_HEADERS,
                self._begun[2] + payload,
            )
        elif self._begun is not None:
            raise Http2Error("Headers were interrupted.")
        elif kind != HEADERS:
            return None
        else:
            payload = unpadded(flags, payload)[5 if flags & _PRIORITY else 0 :]
        if len(payload) > _MAX_BLOCK:
            raise Http2Error("The headers are too large.")
        if not flags & END_HEADERS:
            self._begun = number, flags, payload
            return None
        self._begun = None
        return flags, hpack.decode(payload)


def frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    """Returns a frame's bytes."""
    size = len(payload)
    return (
        struct.pack(">BHBBI", size >> 16, size & 0xFFFF, kind, flags, number) + payload
    )


def integer(payload: bytes) -> int:
    """Returns the number that is all of a payload, or its beginning.

    Raises:
        Http2Error: There is none.
    """
    if len(payload) < 4:
        raise Http2Error(f"A number of {len(payload)} bytes is none.")
    return int.from_bytes(payload[:4])


def unpadded(flags: int, payload: bytes) -> bytes:
    """Returns a payload without what fills it up.

    Raises:
        Http2Error: That is more than there is.
    """
    if not flags & _PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Http2Error("A frame is padded beyond its end.")
    return payload[1 : len(payload) - payload[0]]
