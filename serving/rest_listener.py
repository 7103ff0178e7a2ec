"""The HTTP engine under the REST application: uvicorn, with limits, and told to end.

uvicorn bounds neither how long nor how large a request's head may be, and waits for
ever for a client that takes no answer. Bodies are limited in `rest_http`.

A call that `rest_direct` takes does not reach the application. To uvicorn it looks like
one that does: later requests of its connection wait for it, and the drain does.
"""

import asyncio
import contextlib
import dataclasses
import functools
import http
import logging
import ssl
from collections.abc import Iterator
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving import json_encode, rest_http
from serving.rest_direct import RestCall, RestDirect
from serving.rest_http import App, Receive, Response, Scope, Send


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a connection may take.

    Attributes:
        head_s: Seconds from a connection, or a request's first byte, to the end of the
            request's headers.
        head_bytes: Bytes of a request's line and headers together, about: what comes
            in one piece is looked at as a whole.
        stalled_s: Seconds in which a client that is sent an answer must take some of
            it.
    """

    head_s: float = 10.0
    head_bytes: int = 64 * 1024
    stalled_s: float = 30.0


def make_server(
    app: App,
    drain_s: float,
    *,
    tls: ssl.SSLContext | None = None,
    limits: Limits | None = None,
    direct: RestDirect | None = None,
) -> uvicorn.Server:
    """Returns a server that does not listen yet.

    Args:
        app: What it serves.
        drain_s: Seconds that requests in flight have once it is told to stop.
        tls: What encrypts it; None for plain text.
        limits: What a connection may take; None for the defaults.
        direct: Answers what it can before the application is asked, if anything does.
    """
    connection: Any = functools.partial(_Connection, limits or Limits(), direct)
    return _Uvicorn(
        uvicorn.Config(
            app,
            loop="none",
            http=connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            access_log=False,
            log_config=None,
            log_level=logging.ERROR,  # clients could fill the log with warnings
            server_header=False,
            proxy_headers=False,  # nobody here asks who the client is
            timeout_graceful_shutdown=max(1, round(drain_s)),
            ssl_context_factory=None if tls is None else lambda *_: tls,
        )
    )


class _Uvicorn(uvicorn.Server):
    """Leaves the signals to the process's own handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Nobody:
    """Stands where uvicorn has an event that wakes an application."""

    def set(self) -> None:
        """Wakes nobody."""


_NOBODY = _Nobody()


class _DirectCycle:
    """Stands where uvicorn has a request and its response.

    Attributes:
        keep_alive: Whether the connection goes on after the answer.
        accepts_gzip: Whether the answer may be compressed.
        response_complete: Whether the answer was sent.
        disconnected: Whether the client has gone.
        more_body: Whether some of the request is still to come.
        message_event: For uvicorn, which wakes an application.
    """

    more_body = False

    def __init__(self, keep_alive: bool, accepts_gzip: bool) -> None:
        self.keep_alive = keep_alive
        self.accepts_gzip = accepts_gzip
        self.response_complete = False
        self.disconnected = False
        self.message_event = _NOBODY


class _Connection(HttpToolsProtocol):
    """Keeps to its limits; is not waited for unless its request is complete.

    A request whose client has gone is given up: where it waits, it is not run.
    """

    def __init__(
        self, limits: Limits, direct: RestDirect | None, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._direct = direct
        self._held: list[bytes] | None = None  # body of a request that may be direct
        self._call: RestCall | None = None
        # Of the call. uvicorn's own is that of the newest request, which may wait.
        self._direct_cycle = _DirectCycle(True, False)
        self._answer, self.app = self.app, self._run
        self._answering: asyncio.Task[None] | None = None
        self._is_between_requests = True  # or within a head
        self._head_bytes = 0
        self._patience: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._lose_patience_later()

    def connection_lost(self, exc: Exception | None) -> None:
        self._be_patient()
        if self._stalled is not None:
            self._stalled.cancel()
        super().connection_lost(exc)
        if self._answering is not None:
            self._answering.cancel()  # nobody will read it
        if self._call is not None:
            self._direct_cycle.disconnected = True
            cast("set[Any]", self.tasks).discard(self._call)
            self._call.drop()
            self._call = None

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application, for one request: those of a connection take turns."""
        self._answering = asyncio.current_task()
        try:
            await self._answer(scope, receive, send)
        finally:
            self._answering = None

    def data_received(self, data: bytes) -> None:
        if self._is_between_requests:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._held is not None:
            self._pass_on()  # the rest of its body may take any time
        if not self._is_between_requests or not self._head_bytes:
            return
        if self._head_bytes > self._limits.head_bytes:
            self._refuse(
                http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                "The request's headers are too large. Expected at most "
                f"{self._limits.head_bytes} bytes.",
            )
        elif self._patience is None and not self.transport.is_closing():
            self._lose_patience_later()

    def on_headers_complete(self) -> None:
        self._is_between_requests = False
        self._head_bytes = 0
        self._be_patient()
        if self._direct is not None and self._may_be_direct():
            self._held = []
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._held is not None:
            self._held.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._held is None or not self._start_direct(self._held):
            self._pass_on()
            super().on_message_complete()
            # Nothing else writes there; read before `receive` is called first.
            self.scope["extensions"] = rest_http.IS_COMPLETE
        self._is_between_requests = True
        self._be_patient()

    def finish(self, call: RestCall, response: Response) -> None:
        """Sends the answer to a direct call. See `rest_direct.Connection`."""
        cycle, tasks = self._direct_cycle, cast("set[Any]", self.tasks)
        tasks.discard(call)
        if cycle.disconnected or self._direct is None:
            return
        response = rest_http.finished(response, self._direct.headers)
        if cycle.accepts_gzip and rest_http.is_worth_gzip(response):
            task = self.loop.create_task(self._finish_compressed(response))
            task.add_done_callback(tasks.discard)
            tasks.add(task)
        else:
            self._write(response)

    def _may_be_direct(self) -> bool:
        """Whether a request is of the kind that `rest_direct` looks at."""
        cycle, parser = self.cycle, self.parser
        return (
            (cycle is None or cycle.response_complete)
            and not self.pipeline
            and not self.flow.write_paused
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and all(name != b"content-encoding" for name, _ in self.headers)
        )

    def _start_direct(self, held: list[bytes]) -> bool:
        """Starts a direct call, if the request is plain."""
        if self._direct is None:
            return False
        call = self._direct.take(self.url, b"".join(held), self)
        if call is None:
            return False
        self._held = None
        self._call = call
        scope = cast("Scope", self.scope)
        self._direct_cycle = _DirectCycle(
            self.parser.should_keep_alive(), rest_http.accepts_gzip(scope)
        )
        self.cycle = cast("Any", self._direct_cycle)
        # The drain waits for what is in it, or cancels it.
        cast("set[Any]", self.tasks).add(call)
        call.start()
        return True

    def _pass_on(self) -> None:
        """Gives what was held back to the application."""
        held, self._held = self._held, None
        if held is None:
            return
        super().on_headers_complete()
        for part in held:
            super().on_body(part)

    async def _finish_compressed(self, response: Response) -> None:
        self._write(await rest_http.compressed(response))

    def _write(self, response: Response) -> None:
        """Sends the answer to a direct call, in one piece."""
        cycle = self._direct_cycle
        if cycle.disconnected:
            return
        headers = rest_http.head(response)
        closes = (b"connection", b"close")
        if not cycle.keep_alive and closes not in headers:
            headers.append(closes)
        lines = [STATUS_LINE[response.status]]
        for name, value in (*self.server_state.default_headers, *headers):
            lines += (name, b": ", value, b"\r\n")
        self.transport.write(b"".join((*lines, b"\r\n", response.body)))
        cycle.response_complete = True
        self._call = None
        if closes in headers:
            self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._is_between_requests and not self.pipeline:
            # The rest of a body that nobody reads: the next head may never come.
            self._lose_patience_later()
        if self._stalled is None:
            self._watch_answer(-1)

    def shutdown(self) -> None:
        cycle = self.cycle
        if cycle is not None and cycle.more_body and not self.pipeline:
            self.transport.close()
        else:
            super().shutdown()

    def _lose_patience_later(self) -> None:
        self._be_patient()
        self._patience = self.loop.call_later(self._limits.head_s, self._on_late)

    def _be_patient(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _on_late(self) -> None:
        self._patience = None
        if self.cycle is not None and not self.cycle.response_complete:
            # The next request's head, sent before the answer to this one.
            self._lose_patience_later()
        elif self._head_bytes and self._is_between_requests:
            self._refuse(
                http.HTTPStatus.REQUEST_TIMEOUT,
                "Timed out: the request's headers did not arrive within "
                f"{self._limits.head_s:g} s.",
            )
        else:
            self.transport.close()

    def _refuse(self, status: http.HTTPStatus, text: str) -> None:
        """Answers in place of the application, and closes."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            body = json_encode.error(text).encode()
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\n"
                "content-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()

    def _watch_answer(self, size_before: int) -> None:
        """Ends a connection whose client takes nothing of what it is sent."""
        self._stalled = None
        size = self.transport.get_write_buffer_size()
        if size and size == size_before:
            self.transport.abort()
        elif size:
            self._stalled = self.loop.call_later(
                self._limits.stalled_s, self._watch_answer, size
            )
