"""As much of an HTTP/2 client as `make bench` needs to ask a gRPC server quickly.

grpc.aio takes more processor time for a call than a fast server takes to answer it, so
it would measure itself. Here a request is bytes that were made before, and of an answer
only its frames are looked at.
"""

import asyncio
import collections
import dataclasses
import ssl
import struct
from collections.abc import Awaitable, Callable
from typing import cast

Call = Callable[[], Awaitable[object]]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GO_AWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_INITIAL_WINDOW = 4  # name of a setting
_LARGEST = 2**31 - 1
_DEFAULT_WINDOW = 65535
_FRAME = 16384
# Fields of HPACK's static table.
_POST, _HTTP, _HTTPS = b"\x83", b"\x86", b"\x87"
_GRANT = 2**24  # bytes after which the server may send as many more


@dataclasses.dataclass(slots=True, eq=False)
class _Stream:
    answer: asyncio.Future[None]
    unsent: memoryview
    window: int
    received: int = 0


async def connect(address: str, certificate: str | None = None) -> "Connection":
    """Returns a connection to a gRPC server.

    Args:
        address: `host:port`.
        certificate: File that the server is checked with; None without TLS.

    Raises:
        OSError: There is none.
    """
    host, _, port = address.rpartition(":")
    context = None
    if certificate:
        context = ssl.create_default_context(cafile=certificate)
        context.set_alpn_protocols(["h2"])
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: Connection(address, is_encrypted=bool(certificate)),
        host,
        int(port),
        ssl=context,
    )
    return connection


class Connection(asyncio.Protocol):
    """Many calls at a time."""

    def __init__(self, address: str, *, is_encrypted: bool) -> None:
        """Makes what `connect` connects."""
        self._address = address
        self._scheme = _HTTPS if is_encrypted else _HTTP
        self._streams: dict[int, _Stream] = {}
        self._waiting: collections.deque[int] = collections.deque()
        self._next = 1
        self._window = self._stream_window = _DEFAULT_WINDOW
        self._received = b""
        self._ungranted = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greets the server, and lets it send as much as it likes."""
        self._transport = cast(asyncio.Transport, transport)
        setting = struct.pack(">HI", _INITIAL_WINDOW, _LARGEST)
        window = struct.pack(">I", _LARGEST - _DEFAULT_WINDOW)
        greeting = _frame(_SETTINGS, 0, 0, setting) + _frame(_WINDOW, 0, 0, window)
        self._transport.write(_PREFACE + greeting)

    def caller(self, path: str, message: bytes) -> Call:
        """Returns what sends a message and waits for its answer.

        Args:
            path: As in `/package.Service/Method`.
            message: The request's bytes.
        """
        fields = {
            ":path": path,
            ":authority": self._address,
            "te": "trailers",
            "content-type": "application/grpc",
        }
        head = _POST + self._scheme
        head += b"".join(_field(name, value) for name, value in fields.items())
        body = memoryview(b"\0" + struct.pack(">I", len(message)) + message)
        running = asyncio.get_running_loop()

        def call() -> asyncio.Future[None]:
            number, self._next = self._next, self._next + 2
            answer = running.create_future()
            self._streams[number] = _Stream(answer, body, self._stream_window)
            self._transport.write(_frame(_HEADERS, _END_HEADERS, number, head))
            self._waiting.append(number)
            self._send()
            return answer

        return call

    def close(self) -> None:
        """Ends the connection."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Takes frames, whole ones."""
        data = self._received + data if self._received else data
        start = 0
        while len(data) - start >= 9:
            end = start + 9 + int.from_bytes(data[start : start + 3])
            if end > len(data):
                break
            number = int.from_bytes(data[start + 5 : start + 9])
            self._take(data[start + 3], data[start + 4], number, data[start + 9 : end])
            start = end
        self._received = data[start:]
        if self._waiting:
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        """Ends every call."""
        for number in list(self._streams):
            self._end(number, f"The server closed the connection: {error}.")

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """Does what a frame asks for."""
        if kind == _DATA:
            self._grant(len(payload))
            if stream := self._streams.get(number):
                stream.received += len(payload)
        elif kind == _WINDOW:
            self._widen(number, int.from_bytes(payload))
        elif kind == _SETTINGS and not flags & _ACK:
            self._set(payload)
            self._transport.write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._transport.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _RESET:
            self._end(number, "The server has reset the call.")
        elif kind == _GO_AWAY:
            self._transport.close()
        if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            self._end(number)

    def _end(self, number: int, problem: str = "") -> None:
        stream = self._streams.pop(number, None)
        if stream is None or stream.answer.done():
            return
        if not problem and not stream.received:
            # Its status is compressed by HPACK; the calls that were checked tell it.
            problem = "The server answered with a status and without a message."
        if problem:
            stream.answer.set_exception(ConnectionError(problem))
        else:
            stream.answer.set_result(None)

    def _send(self) -> None:
        """Sends what the server's windows let through, call by call."""
        for _ in range(len(self._waiting)):
            number = self._waiting.popleft()
            stream = self._streams.get(number)
            while stream is not None and stream.unsent:
                size = min(len(stream.unsent), _FRAME, stream.window, self._window)
                if size <= 0:
                    self._waiting.append(number)
                    break
                part, stream.unsent = stream.unsent[:size], stream.unsent[size:]
                stream.window -= size
                self._window -= size
                flags = 0 if stream.unsent else _END_STREAM
                self._transport.write(_frame(_DATA, flags, number, bytes(part)))

    def _widen(self, number: int, size: int) -> None:
        if not number:
            self._window += size
        elif stream := self._streams.get(number):
            stream.window += size

    def _set(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", payload):
            if name == _INITIAL_WINDOW:
                for stream in self._streams.values():
                    stream.window += value - self._stream_window
                self._stream_window = value

    def _grant(self, size: int) -> None:
        self._ungranted += size
        if self._ungranted >= _GRANT:
            window = struct.pack(">I", self._ungranted)
            self._transport.write(_frame(_WINDOW, 0, 0, window))
            self._ungranted = 0


def _frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    head = struct.pack(
        ">BHBBI", len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, number
    )
    return head + payload


def _field(name: str, value: str) -> bytes:
    """A header, by HPACK: both in full, never remembered."""
    return b"\x00" + _text(name) + _text(value)


def _text(text: str) -> bytes:
    size, octets = len(text), b""
    if size < 0x7F:
        return bytes([size]) + text.encode()
    size -= 0x7F
    while size >= 0x80:
        octets += bytes([size & 0x7F | 0x80])
        size >>= 7
    return b"\x7f" + octets + bytes([size]) + text.encode()
