"""As much of an HTTP/2 client as unary gRPC calls need, without an event loop.

Whoever has a request sends it in its own thread, and the thread that reads the
connection tells of the end. So a call passes through the shim with two threads, where
grpcio takes several and a multiple of the processor time.

A request is taken where it can be sent at once, whole: what the server's windows do not
let through is for a client that can wait.
"""

import dataclasses
import logging
import select
import socket
import struct
import threading
from collections.abc import Callable
from typing import TypeAlias

from serving import hpack
from serving import http2_frames as h2
from serving.hpack import Fields
from serving.http2_frames import Http2Error, frame

logger = logging.getLogger(__name__)

_GRANT = 2**24  # bytes after which the server may send as many more
_READ = 65536
_LOOK_MS = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What the server said: headers, unless there are only trailers; body; trailers."""

    headers: Fields
    body: bytes
    trailers: Fields


@dataclasses.dataclass(frozen=True, slots=True)
class Lost:
    """That the server did not end a call.

    Attributes:
        text: Why, as far as is known.
        code: HTTP/2's, where it has reset the call; None where the connection ended.
    """

    text: str
    code: int | None = None


OnEnd: TypeAlias = Callable[[Answer | Lost], None]


@dataclasses.dataclass(slots=True, eq=False)
class _Stream:
    on_end: OnEnd
    headers: Fields = ()
    parts: list[bytes] = dataclasses.field(default_factory=list)


class Connection:
    """Many calls at a time. Thread-safe."""

    def __init__(self, connected: socket.socket) -> None:
        """Greets the server, and begins to read.

        Args:
            connected: A socket; it is closed with this object.
        """
        self._socket = connected
        self._lock = threading.Lock()
        self._streams: dict[int, _Stream] = {}
        self._next = 1
        self._window = self._stream_window = h2.DEFAULT_WINDOW
        self._frame_size = h2.DEFAULT_FRAME
        self._max_streams = h2.LARGEST
        self._ungranted = 0
        self._unsent = bytearray()
        self._blocks = h2.Blocks()
        self._is_leaving = self._is_over = False
        self._why = "Connection closed by the server"
        settings = (
            (h2.TABLE_SIZE, 0),
            (h2.ENABLE_PUSH, 0),
            (h2.INITIAL_WINDOW, h2.LARGEST),
        )
        greeting = b"".join(struct.pack(">HI", *setting) for setting in settings)
        window = struct.pack(">I", h2.LARGEST - h2.DEFAULT_WINDOW)
        with self._lock:
            self._write(
                h2.PREFACE
                + frame(h2.SETTINGS, 0, 0, greeting)
                + frame(h2.WINDOW, 0, 0, window)
            )
        self._thread = threading.Thread(target=self._read, name="upstream", daemon=True)
        self._thread.start()

    @property
    def is_open(self) -> bool:
        """Whether it takes calls."""
        return not self._is_leaving and not self._is_over

    def ask(self, block: bytes, body: bytes, on_end: OnEnd) -> int:
        """Sends a request.

        Args:
            block: Its headers, by `hpack.encode`.
            body: Its body.
            on_end: Called once, by another thread, perhaps before this returns; not
                after `cancel`.

        Returns:
            The call's number; 0 where it cannot be sent at once, and `on_end` will not
            be called.
        """
        size = len(body)
        with self._lock:
            if (
                not self.is_open
                or self._unsent
                or size > self._window
                or size > self._stream_window
                or len(block) > self._frame_size
                or len(self._streams) >= self._max_streams
            ):
                return 0
            number = self._next
            self._next += 2
            self._is_leaving = self._next >= h2.LARGEST
            self._window -= size
            self._streams[number] = _Stream(on_end)
            step = self._frame_size
            frames = [frame(h2.HEADERS, h2.END_HEADERS, number, block)]
            for start in range(0, size, step):
                end = h2.END_STREAM if start + step >= size else 0
                frames.append(frame(h2.DATA, end, number, body[start : start + step]))
            self._write(b"".join(frames))
        return number

    def cancel(self, number: int) -> None:
        """Tells the server that nobody waits for a call any more."""
        with self._lock:
            if self._streams.pop(number, None) and not self._is_over:
                self._write(frame(h2.RESET, 0, number, struct.pack(">I", h2.CANCEL)))

    def close(self, why: str) -> None:
        """Ends the connection, and so all calls, which are told why."""
        with self._lock:
            if not self._is_over:
                self._is_leaving, self._why = True, why
                self._shut()

    def join(self) -> None:
        """Waits for the end of a connection that was closed."""
        self._thread.join()

    def _read(self) -> None:
        frames = h2.Frames()
        try:
            while data := self._socket.recv(_READ):
                for received in frames.take(data):
                    self._take(received)
        except OSError as error:
            self._note(error.strerror or str(error))
        except (Http2Error, hpack.HpackError) as error:
            self._note(str(error))
        except Exception as error:
            logger.exception("Unexpected error while reading from a server")
            self._note(repr(error))
        with self._lock:
            self._is_over = True
            self._socket.close()
        self._lose(list(self._streams), Lost(self._why))

    def _note(self, why: str) -> None:
        if self.is_open:
            self._why = why

    def _take(self, received: h2.Frame) -> None:
        """Does what a frame asks for."""
        kind, flags, number, payload = received
        if block := self._blocks.take(received):
            self._take_headers(number, *block)
        elif kind == h2.DATA:
            self._grant(len(payload))
            if stream := self._streams.get(number):
                stream.parts.append(h2.unpadded(flags, payload))
                if flags & h2.END_STREAM:
                    self._end(number, ())
        elif kind not in (h2.HEADERS, h2.CONTINUATION):
            self._take_control(kind, flags, number, payload)

    def _take_headers(self, number: int, flags: int, fields: Fields) -> None:
        if flags & h2.END_STREAM:
            self._end(number, fields)
        elif not dict(fields).get(":status", "").startswith("1"):
            if stream := self._streams.get(number):
                stream.headers = fields

    def _take_control(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == h2.RESET:
            code = h2.integer(payload)
            self._lose([number], Lost(f"The server has reset the call: {code}", code))
        elif kind == h2.WINDOW:
            if not number:
                with self._lock:
                    self._window += h2.integer(payload)
        elif kind == h2.SETTINGS and not flags & h2.ACK:
            with self._lock:
                self._set(payload)
                self._write(frame(h2.SETTINGS, h2.ACK, 0, b""))
        elif kind == h2.PING and not flags & h2.ACK:
            with self._lock:
                self._write(frame(h2.PING, h2.ACK, 0, payload))
        elif kind == h2.GO_AWAY:
            self._leave(h2.integer(payload) & h2.LARGEST)
        elif kind == h2.PUSH:
            raise Http2Error("The server pushes what nobody asked for.")

    def _end(self, number: int, trailers: Fields) -> None:
        with self._lock:
            stream = self._streams.pop(number, None)
        if stream is not None:
            stream.on_end(Answer(stream.headers, b"".join(stream.parts), trailers))
        if self._is_leaving and not self._streams:
            self.close(self._why)

    def _lose(self, numbers: list[int], lost: Lost) -> None:
        for number in numbers:
            with self._lock:
                stream = self._streams.pop(number, None)
            if stream is not None:
                stream.on_end(lost)

    def _leave(self, last: int) -> None:
        """Takes no more calls; the server ends those up to the last it names."""
        with self._lock:
            self._is_leaving = True
            beyond = [number for number in self._streams if number > last]
        self._lose(beyond, Lost("The server is leaving", h2.REFUSED))
        if not self._streams:
            self.close(self._why)

    def _set(self, payload: bytes) -> None:
        if len(payload) % 6:
            raise Http2Error("The settings are broken.")
        for name, value in struct.iter_unpack(">HI", payload):
            if name == h2.INITIAL_WINDOW:
                self._stream_window = value
            elif name == h2.MAX_FRAME:
                self._frame_size = max(value, h2.DEFAULT_FRAME)
            elif name == h2.MAX_STREAMS:
                self._max_streams = value

    def _grant(self, size: int) -> None:
        self._ungranted += size
        if self._ungranted >= _GRANT:
            window = struct.pack(">I", self._ungranted)
            with self._lock:
                self._write(frame(h2.WINDOW, 0, 0, window))
            self._ungranted = 0

    def _write(self, data: bytes) -> None:
        """Sends without waiting; what does not go is sent by a thread of its own."""
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self._socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._shut()
            return
        if sent < len(data):
            self._unsent += data[sent:]
            poll = select.poll()
            poll.register(self._socket, select.POLLOUT)
            threading.Thread(target=self._send_rest, args=(poll,), daemon=True).start()

    def _send_rest(self, poll: select.poll) -> None:
        while True:
            poll.poll(_LOOK_MS)
            with self._lock:
                if self._is_over:
                    return
                try:
                    sent = self._socket.send(self._unsent, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    continue
                except OSError:
                    self._shut()
                    return
                del self._unsent[:sent]
                if not self._unsent:
                    return

    def _shut(self) -> None:
        """Wakes the thread that reads, which does the rest."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # It is shut already.
