"""The load generator of `make bench`: a process that takes one job a line on stdin.

Closed loop: each client sends its next request when its last one is answered, so that
as many are in flight as there are clients. Requests are bytes that were made before,
answers stay bytes: what is timed is the server, and as little of the client as may be.
"""

import asyncio
import contextlib
import gc
import json
import pathlib
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import uvloop

from pipelines import _bench_http2
from pipelines._bench_tools import CALLS_PER_CONNECTION

Call = Callable[[], Awaitable[object]]

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_LOOK_S = 0.001
_LONGER = 5  # times the seconds asked for


def main() -> None:
    """Does jobs until stdin ends."""
    gc.freeze()
    uvloop.run(_work())


async def _work() -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            answer = await _measure(json.loads(line))
        except Exception as error:
            answer = {"error": _text(error)}
        print(json.dumps(answer), flush=True)


async def _measure(job: dict[str, Any]) -> dict[str, Any]:
    """Times one cell, and writes when each request was sent and answered."""
    body = pathlib.Path(job["body"]).read_bytes()
    clients = _grpc_clients if job["protocol"] == "gRPC" else _rest_clients
    async with clients(job, body) as calls:
        loop = _ClosedLoop(calls)
        begin, end = await loop.run(job["warmup_s"], job["seconds"])
    np.save(job["samples"], np.array([loop.starts, loop.ends]))
    return {"begin": begin, "end": end}


class _ClosedLoop:
    """Keeps as many requests in flight as there are clients."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._calls = calls
        self._going = True
        self.starts: list[float] = []
        self.ends: list[float] = []

    async def run(self, warmup_s: float, seconds: float | None) -> tuple[float, float]:
        """Returns when counting began and ended.

        Args:
            warmup_s: Seconds before it begins.
            seconds: Seconds that it goes on; None until a line comes on stdin.
        """
        async with asyncio.TaskGroup() as group:
            for call in self._calls:
                group.create_task(self._keep_asking(call))
            await self._at_least(warmup_s)
            begin = time.monotonic()
            if seconds is None:
                await asyncio.to_thread(sys.stdin.readline)
            else:
                await self._at_least(seconds)
            end = time.monotonic()
            self._going = False
        return begin, end

    async def _at_least(self, seconds: float) -> None:
        """Waits, for slow servers longer: until there was an answer for each client."""
        before = len(self.ends)
        latest = time.monotonic() + _LONGER * seconds
        await asyncio.sleep(seconds)
        while (answers := len(self.ends) - before) < len(self._calls):
            if answers and time.monotonic() > latest:
                break
            await asyncio.sleep(_LOOK_S)

    async def _keep_asking(self, call: Call) -> None:
        while self._going:
            start = time.monotonic()
            await call()
            self.ends.append(time.monotonic())
            self.starts.append(start)


@contextlib.asynccontextmanager
async def _grpc_clients(job: dict[str, Any], body: bytes) -> AsyncIterator[list[Call]]:
    """Calls that are bytes on both sides, a few of them to a connection."""
    number = -(-job["in_flight"] // CALLS_PER_CONNECTION)
    connections = []
    try:
        for _ in range(number):
            connections.append(
                await _bench_http2.connect(job["address"], job.get("certificate"))
            )
        yield [
            connections[client % number].caller(job["path"], body)
            for client in range(job["in_flight"])
        ]
    finally:
        for connection in connections:
            connection.close()


@contextlib.asynccontextmanager
async def _rest_clients(job: dict[str, Any], body: bytes) -> AsyncIterator[list[Call]]:
    """A connection for each client, kept alive where the server does."""
    host, _, port = job["address"].rpartition(":")
    head = (
        f"POST {job['path']} HTTP/1.1\r\nHost: {job['address']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    clients = []
    try:
        for _ in range(job["in_flight"]):
            clients.append(_HttpClient(host, int(port), request))
            await clients[-1].connect()
        yield [client.call for client in clients]
    finally:
        for client in clients:
            client.close()


class _HttpClient:
    """One request at a time, on one connection as long as the server keeps it."""

    def __init__(self, host: str, port: int, request: bytes) -> None:
        self._host, self._port, self._request = host, port, request
        self._connection: _HttpConnection | None = None

    async def connect(self) -> None:
        running = asyncio.get_running_loop()
        _, self._connection = await running.create_connection(
            _HttpConnection, self._host, self._port
        )

    async def call(self) -> None:
        """Sends the request, and waits for its answer."""
        if self._connection is None or self._connection.is_over:
            await self.connect()
        if self._connection is not None:
            await self._connection.ask(self._request)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class _HttpConnection(asyncio.Protocol):
    """One request at a time, whose answer has a content-length."""

    def __init__(self) -> None:
        self.is_over = False
        self._answer: asyncio.Future[None] | None = None
        self._received = b""
        self._size: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    async def ask(self, request: bytes) -> None:
        """Sends a request and waits for its answer."""
        self._received, self._size = b"", None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        await self._answer
        if self.is_over:
            self._transport.close()

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._size is None:
            head = self._received.find(b"\r\n\r\n")
            if head < 0:
                return
            length = _LENGTH.search(self._received, 0, head)
            self._size = head + 4 + int(length[1]) if length else 0
            self.is_over = bool(_CLOSE.search(self._received, 0, head))
        if len(self._received) >= self._size:
            self._end_call()

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer and not self._answer.done():
            text = f"The server closed the connection: {error}."
            self._answer.set_exception(ConnectionError(text))

    def _end_call(self) -> None:
        if self._answer is None or self._answer.done():
            return
        # HTTP/1.1 200 OK
        if self._received[9:12] == b"200" and self._size:
            self._answer.set_result(None)
        else:
            text = self._received[:500].decode(errors="replace")
            self._answer.set_exception(ConnectionError(f"The server said: {text}"))


def _text(error: BaseException) -> str:
    """What went wrong in the first of the clients that failed."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main()
