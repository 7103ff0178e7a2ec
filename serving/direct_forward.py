"""Calls that pass to an upstream server without the event loop, while all goes well.

It takes calls that may run twice, and whose server is there and can be told at once.
Whatever else becomes of one, such as a refusal or a lost connection, is for the pool,
which knows who may do better.
"""

import asyncio
import enum
import logging
import threading
import time

import grpc.aio

from serving import grpc_over_http2, upstream_calls
from serving.errors import BUG, ServingError
from serving.grpc_sink import CallDetails, Sink
from serving.http2_client import Answer, Connection, Lost
from serving.upstream_backend import Backend
from serving.upstream_calls import Metadata
from serving.upstream_pool import Pool

logger = logging.getLogger(__name__)


class DirectForward:
    """Passes calls on. Thread-safe; made on the event loop that has the pool."""

    def __init__(self, pool: Pool) -> None:
        """Makes it.

        Args:
            pool: The servers.
        """
        self.threads = None
        self.pool = pool
        self.loop = asyncio.get_running_loop()

    def take(
        self, call_id: int, path: str, data: bytes, details: CallDetails, sink: Sink
    ) -> "ForwardCall | None":
        """Returns a call that can be started, or None for one that is not plain.

        Args:
            call_id: What the sink knows it by.
            path: `/service/Method`.
            data: The request's bytes.
            details: Metadata, peer, and seconds left or None.
            sink: Where the answer goes.
        """
        if not upstream_calls.may_run_twice(path):
            return None
        key = upstream_calls.model_key(path, data)
        found = self.pool.first(key)
        if found is None:
            return None
        return ForwardCall(self, sink, call_id, path, data, details, key, *found)


class _State(enum.Enum):
    SENT = enum.auto()
    ON_LOOP = enum.auto()
    OVER = enum.auto()


class ForwardCall:
    """One call; ends once, whoever is the first."""

    __slots__ = (
        "_backend",
        "_began",
        "_call_id",
        "_data",
        "_deadline",
        "_direct",
        "_key",
        "_line",
        "_lock",
        "_metadata",
        "_number",
        "_path",
        "_sink",
        "_state",
        "_task",
    )

    def __init__(
        self,
        direct: DirectForward,
        sink: Sink,
        call_id: int,
        path: str,
        data: bytes,
        details: CallDetails,
        key: bytes,
        backend: Backend,
        line: Connection,
    ) -> None:
        """Makes a call, which is to be started."""
        metadata, _, timeout_s = details
        self._direct = direct
        self._sink = sink
        self._call_id = call_id
        self._path = path
        self._data = data
        self._key = key
        self._backend = backend
        self._line = line
        self._metadata: Metadata = upstream_calls.passed_on(metadata)
        self._began = time.monotonic()
        self._deadline = None if timeout_s is None else self._began + timeout_s
        self._lock = threading.Lock()
        self._state = _State.SENT
        self._number = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Sends it to the server; where that cannot be done at once, the loop does."""
        lines = self._backend.lines
        authority = lines.authority if lines else self._backend.address
        block = grpc_over_http2.request(
            self._path, authority, self._metadata, self._left()
        )
        body = grpc_over_http2.framed(self._data)
        self._number = self._line.ask(block, body, self._end)
        if not self._number:
            self._state = _State.ON_LOOP
            self._hand_over(None)

    def cancel(self) -> None:
        """Takes note that the client has gone, or its time is up."""
        with self._lock:
            before = self._state
            if before is _State.SENT:
                self._state = _State.OVER
        if before is _State.SENT:
            self._line.cancel(self._number)
            self._backend.counters.count("CANCELLED", 0.0)
        elif before is _State.ON_LOOP:
            self._on_loop(self._cancel_task)

    def _left(self) -> float | None:
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - time.monotonic())

    def _end(self, outcome: Answer | Lost) -> None:
        """Takes the server's answer, in the thread that reads."""
        message = None
        if isinstance(outcome, Answer):
            message = grpc_over_http2.message(outcome)
        with self._lock:
            if self._state is not _State.SENT:
                return
            self._state = _State.ON_LOOP if message is None else _State.OVER
        if message is None or isinstance(outcome, Lost):
            self._hand_over(outcome)
            return
        self._backend.answered(self._key, time.monotonic() - self._began)
        initial = grpc_over_http2.metadata(outcome.headers)
        trailing = grpc_over_http2.metadata(outcome.trailers)
        self._sink.answer(
            self._call_id,
            message,
            upstream_calls.passed_on(initial),
            upstream_calls.passed_on(trailing),
        )

    def _hand_over(self, outcome: Answer | Lost | None) -> None:
        self._on_loop(self._go_on, outcome)

    def _on_loop(self, *what: object) -> None:
        if not self._direct.loop.is_closed():
            self._direct.loop.call_soon_threadsafe(*what)  # type: ignore[arg-type]

    def _go_on(self, outcome: Answer | Lost | None) -> None:
        tried = None
        if outcome is not None:
            error = grpc_over_http2.failure(outcome)
            self._backend.failed(error, time.monotonic() - self._began)
            tried = self._backend, error
        self._task = self._direct.loop.create_task(self._ask_pool(tried))

    def _cancel_task(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _ask_pool(
        self, tried: tuple[Backend, grpc.aio.AioRpcError] | None
    ) -> None:
        try:
            reply = await self._direct.pool.call(
                self._path,
                self._data,
                timeout_s=self._left(),
                metadata=self._metadata,
                tried=tried,
            )
            found = await reply.forwarded()
            self._sink.answer(self._call_id, found.data, found.initial, found.trailing)
        except ServingError as error:
            self._sink.refuse(self._call_id, error)
        except grpc.aio.AioRpcError as error:
            self._sink.fail(self._call_id, error)
        except Exception:
            logger.exception("Unexpected error while forwarding %s", self._path)
            self._sink.refuse(self._call_id, ServingError(BUG))
