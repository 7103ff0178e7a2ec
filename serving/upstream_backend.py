"""One upstream server: its connection, and what is known of its models."""

import asyncio
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from serving.errors import UnavailableError
from serving.upstream_calls import Forwarded, Metadata, passed_on
from serving.upstream_counters import BackendCounters
from serving.upstream_health import Health, HealthOptions
from serving.upstream_lines import Lines

_INT32_MAX = 2**31 - 1
_OPTIONS = (
    ("grpc.max_receive_message_length", _INT32_MAX),
    ("grpc.max_send_message_length", _INT32_MAX),
    # A server that is back should be found soon: gRPC waits up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
    # A proxy of the environment is for the way out, not for the servers behind.
    ("grpc.enable_http_proxy", 0),
    # A name that stands for several addresses, as a headless Service, reaches them all.
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
)
_MAX_METHODS = 64
_MAX_KEYS = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """An answer's bytes, and the call that has its metadata."""

    data: bytes
    call: Any

    async def forwarded(self) -> Forwarded:
        """Returns what of it passes on."""
        return Forwarded(
            self.data,
            passed_on(await self.call.initial_metadata()),
            passed_on(await self.call.trailing_metadata()),
        )


class BackendLostError(UnavailableError):
    """The server stopped answering while the call was under way."""


class Backend:
    """One upstream server. For one event loop."""

    def __init__(
        self,
        address: str,
        counters: BackendCounters,
        options: HealthOptions,
        on_change: Callable[[], None],
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        """Connects with the first probe. Needs a running event loop.

        Args:
            address: `host:port`, or `unix:path`.
            counters: Where to count.
            options: See there.
            on_change: Called when the server becomes ready, or is no longer.
            credentials: What the connection is encrypted with; None for nothing.
        """
        self.address = address
        self.counters = counters
        self.health = Health(
            address,
            counters,
            options,
            ask=self._ask,
            on_change=on_change,
            on_hang=self._abandon_calls,
            on_answer=self._keep_lines,
        )
        self._lacks_model_s = options.lacks_model_s
        self._channel = (
            grpc.aio.insecure_channel(address, options=_OPTIONS)
            if credentials is None
            else grpc.aio.secure_channel(address, credentials, options=_OPTIONS)
        )
        # For calls that need no event loop; grpcio alone has TLS.
        self.lines = Lines(address) if credentials is None else None
        self._methods: dict[str, Any] = {}
        self._calls: set[Any] = set()
        self._abandoned: set[Any] = set()
        self._serves: set[bytes] = set()
        self._lacks: dict[bytes, float] = {}

    @property
    def ready(self) -> bool:
        """Whether the server is healthy and not ejected."""
        return self.counters.ready

    async def call(
        self, path: str, data: bytes, timeout_s: float | None, metadata: Metadata
    ) -> Reply:
        """Sends one request, and returns the answer; if cancelled, it cancels.

        Raises:
            grpc.aio.AioRpcError: The call ended with another status than OK.
            BackendLostError: The server was ejected as it did not answer probes.
        """
        call = self._method(path)(data, timeout=timeout_s, metadata=metadata)
        self._calls.add(call)
        began = time.monotonic()
        status = "CANCELLED"
        try:
            answer = await call
            status = "OK"
        except grpc.aio.AioRpcError as error:
            status = error.code().name
            self.health.note(error)
            raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if call in self._abandoned and not (task and task.cancelling()):
                raise BackendLostError(f"{self.address} does not answer.") from None
            raise
        finally:
            self._calls.discard(call)
            self._abandoned.discard(call)
            self.counters.count(status, time.monotonic() - began)
        self.health.note(None)
        return Reply(answer, call)

    def answered(self, key: bytes, seconds: float) -> None:
        """Takes note of an answer that came without `call`. From any thread.

        Args:
            key: See `serves`.
            seconds: How long it took.
        """
        self.counters.count("OK", seconds)
        self.health.note(None)
        self.note_model(key, True)

    def failed(self, error: grpc.aio.AioRpcError, seconds: float) -> None:
        """Takes note of a call that ended with another status than OK."""
        self.counters.count(error.code().name, seconds)
        self.health.note(error)

    def serves(self, key: bytes) -> bool:
        """Whether the server answered for a model before; `key` is its ModelSpec."""
        return key in self._serves

    def lacks(self, key: bytes) -> bool:
        """Whether the server said a moment ago that it has no such model."""
        until = self._lacks.get(key)
        return until is not None and time.monotonic() < until

    def note_model(self, key: bytes, has: bool) -> None:
        """Remembers whether the server has a model. Ignores an empty key."""
        if not key or (has and key in self._serves):
            return
        if len(self._serves) + len(self._lacks) > _MAX_KEYS:
            self._serves.clear()
            self._lacks.clear()
        if has:
            self._serves.add(key)
            self._lacks.pop(key, None)
        else:
            self._serves.discard(key)
            self._lacks[key] = time.monotonic() + self._lacks_model_s

    async def close(self) -> None:
        """Closes the connections."""
        await self._channel.close()
        if self.lines is not None:
            await asyncio.to_thread(self.lines.close)

    def _method(self, path: str) -> Any:
        method = self._methods.get(path)
        if method is None:
            if len(self._methods) > _MAX_METHODS:
                self._methods.clear()
            method = self._methods[path] = self._channel.unary_unary(path)
        return method

    async def _ask(self, path: str, timeout_s: float) -> bytes:
        answer: bytes = await self._method(path)(b"", timeout=timeout_s)
        return answer

    def _keep_lines(self) -> None:
        if self.lines is not None:
            self.lines.keep()

    def _abandon_calls(self) -> None:
        # Nobody knows whether these would ever end: they can go on elsewhere.
        if self.lines is not None:
            self.lines.abandon(f"{self.address} does not answer.")
        self._abandoned |= self._calls
        for call in self._abandoned:
            call.cancel()
