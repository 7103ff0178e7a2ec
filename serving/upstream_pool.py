"""All upstream servers as one: which of them gets a call, and who gets it next.

Servers that are ready take turns. One that lacks the model, or is lost before it
answers, passes the call on: inference changes nothing, so it may run twice. Calls of
which that is not known are passed on only where nothing was sent.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import grpc
import grpc.aio

from serving import upstream_calls
from serving.errors import UnavailableError
from serving.http2_client import Connection
from serving.upstream_backend import Backend, BackendLostError, Reply
from serving.upstream_calls import Metadata
from serving.upstream_counters import Registry
from serving.upstream_health import LOST, HealthOptions, is_full

# gRPC's words where no connection came about, so that nothing was sent.
_NOT_CONNECTED = (
    "failed to connect to all addresses",
    "connections to all backends",
    "DNS resolution failed",
)
_Failure: TypeAlias = grpc.aio.AioRpcError | BackendLostError


class _Tries:
    """What came of the attempts of one call so far."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.takes_turns = not upstream_calls.is_profiling(path)
        self.before: Backend | None = None  # Was asked by a connection of `first`.
        self._may_run_twice = upstream_calls.may_run_twice(path)
        self.refusal: grpc.aio.AioRpcError | None = None  # The model is not there.
        self.loss: _Failure | None = None
        self.lost: list[Backend] = []
        self.full = False

    def take(self, backend: Backend, failure: _Failure) -> bool:
        """Keeps a failure, and returns whether another server may do better."""
        if isinstance(failure, BackendLostError) or failure.code() in LOST:
            if not self._may_run_twice and not _never_sent(failure):
                return False
            self.loss = failure
            self.lost.append(backend)
            self.full = self.full or is_full(failure)
        elif upstream_calls.lacks_model(failure, self._path):
            self.refusal = failure
        else:
            return False
        return True


class Pool:
    """The upstream servers. For one event loop."""

    def __init__(
        self,
        addresses: Sequence[str],
        options: HealthOptions | None = None,
        *,
        on_change: Callable[[], None] = lambda: None,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        """Prepares; `start` begins to probe. Needs a running event loop.

        Args:
            addresses: `host:port` or `unix:path` of each server.
            options: When a server is taken out, and when it comes back.
            on_change: Called after a server's first probe, and when it comes or goes.
            credentials: What connections are encrypted with; None for nothing.
        """
        self.registry = Registry(addresses)
        self._backends = [
            Backend(
                address, counters, options or HealthOptions(), on_change, credentials
            )
            for address, counters in self.registry.backends.items()
        ]
        self._turns = itertools.count()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins to probe the servers."""
        self._tasks = [asyncio.create_task(b.health.watch()) for b in self._backends]

    async def stop(self) -> None:
        """Ends the probes, and closes the connections."""
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks)
        for backend in self._backends:
            await backend.close()

    def settled(self) -> bool:
        """Whether every server was probed."""
        return all(backend.health.probed for backend in self._backends)

    def ready(self) -> bool:
        """Whether some server takes requests."""
        return any(backend.ready for backend in self._backends)

    def problems(self) -> dict[str, str]:
        """Returns, by address, why a server takes no requests; "" where it does."""
        return {backend.address: backend.health.problem for backend in self._backends}

    async def call(
        self,
        path: str,
        data: bytes,
        *,
        timeout_s: float | None,
        metadata: Metadata = (),
        tried: tuple[Backend, grpc.aio.AioRpcError] | None = None,
    ) -> Reply:
        """Asks one server, and where that is of no use, the others.

        Args:
            path: `/service/Method`.
            data: The request, serialized.
            timeout_s: Seconds for all attempts together; None for no limit.
            metadata: Sent with the request.
            tried: A server that was asked already, by a connection of `first`, and how
                that ended; None where none was.

        Raises:
            grpc.aio.AioRpcError: The answer is an error.
            UnavailableError: No server could be reached.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        key = upstream_calls.model_key(path, data)
        tries = _Tries(path)
        if tried is not None:
            self._take(*tried, key, tries)
            tries.before = tried[0]
        again = tried is not None
        for backend in self._order(key, tries):
            left_s = None if end is None else end - time.monotonic()
            backend.counters.retries += again
            again = True
            try:
                reply = await backend.call(path, data, left_s, metadata)
            except (grpc.aio.AioRpcError, BackendLostError) as failure:
                self._take(backend, failure, key, tries)
                continue
            backend.note_model(key, True)
            return reply
        raise self._verdict(key, tries)

    async def call_all(
        self,
        path: str,
        data: bytes,
        *,
        timeout_s: float | None,
        metadata: Metadata = (),
    ) -> Reply:
        """Asks every server, ready or not, and returns the first one's answer.

        Raises:
            grpc.aio.AioRpcError: One of them answered with an error, where one answer
                is not enough: the first such.
            UnavailableError: One could not be reached, likewise.
        """
        outcomes = await asyncio.gather(
            *(b.call(path, data, timeout_s, metadata) for b in self._backends),
            return_exceptions=True,
        )
        replies = [outcome for outcome in outcomes if isinstance(outcome, Reply)]
        if replies and upstream_calls.is_answered_by_any(path):
            return replies[0]
        for backend, outcome in zip(self._backends, outcomes, strict=True):
            if isinstance(outcome, grpc.aio.AioRpcError):
                raise _told(outcome, f"Upstream {backend.address} cannot be reached")
            if isinstance(outcome, BaseException):
                raise outcome
        return replies[0]

    def first(self, key: bytes) -> tuple[Backend, Connection] | None:
        """Returns who gets a call, and over which connection. Thread-safe.

        None where that is not plain, as nobody is ready: `call` knows what to do then.

        Args:
            key: See `upstream_calls.model_key`.
        """
        ready = [b for b in self._backends if b.ready and not b.lacks(key)]
        if not ready:
            return None
        backend = ready[next(self._turns) % len(ready)]
        line = backend.lines.pick() if backend.lines else None
        return (backend, line) if line else None

    def _take(
        self, backend: Backend, failure: _Failure, key: bytes, tries: _Tries
    ) -> None:
        """Takes note of a failure; raises it where another server would not help."""
        if not tries.take(backend, failure):
            raise failure
        if failure is tries.refusal:
            backend.note_model(key, False)

    def _order(self, key: bytes, tries: _Tries) -> Iterator[Backend]:
        """The servers to try, one after the other as long as none has answered."""
        before = tries.before
        if not tries.takes_turns:
            turn = 0
        elif before:
            # That turn is taken; its next one is in the same place without it.
            turn = self._backends.index(before)
        else:
            turn = next(self._turns)
        ready = [b for b in self._backends if b.ready and b is not before]
        passed_over = [backend for backend in ready if backend.lacks(key)]
        for group in ([b for b in ready if b not in passed_over], passed_over):
            for place in range(len(group)):
                yield group[(turn + place) % len(group)]
        if tries.refusal or tries.full:
            return
        # What is out may be back by now; and behind the address of one that was lost,
        # another process may take the connection.
        yield from [b for b in self._backends if b not in ready]
        yield from ready[:1]

    def _verdict(self, key: bytes, tries: _Tries) -> Exception:
        """The error of a call that no server answered."""
        out = [*tries.lost, *(b for b in self._backends if not b.ready)]
        owner = next((b for b in out if b.serves(key)), None)
        if tries.refusal and not owner:
            refusal: Exception = tries.refusal
            return refusal
        if owner and not tries.loss:
            return UnavailableError(
                f"Upstream {owner.address}, which served the model, cannot be "
                f"reached: {owner.health.problem}."
            )
        addresses = ", ".join(backend.address for backend in self._backends)
        return _told(tries.loss, f"No upstream server can be reached: {addresses}")


def _told(failure: _Failure | None, text: str) -> Exception:
    """The failure as it is; where it is only that nobody was there, in our words."""
    if isinstance(failure, grpc.aio.AioRpcError) and _never_sent(failure):
        return UnavailableError(f"{text}. Last error: {failure.details()}")
    return failure or UnavailableError(f"{text}.")


def _never_sent(failure: _Failure) -> bool:
    """Whether no connection came about."""
    if isinstance(failure, BackendLostError):
        return False
    return (failure.details() or "").startswith(_NOT_CONNECTED)
