"""One upstream server: its connection, its health, and what is known of its models.

A server takes requests while its probes succeed. Each second it is asked for its health
(`grpc.health.v1`, or where it has none, as TF Serving by default, whether it answers
GetModelStatus at all). It is ejected where no connection comes about, where it leaves
two probes unanswered, or after five calls in a row that failed; it comes back with a
probe that succeeds, after a time that doubles with each ejection.
"""

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2

from serving.errors import UnavailableError
from serving.upstream_counters import BackendCounters

logger = logging.getLogger(__name__)

Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]

_INT32_MAX = 2**31 - 1
_OPTIONS = (
    ("grpc.max_receive_message_length", _INT32_MAX),
    ("grpc.max_send_message_length", _INT32_MAX),
    # A server that is back should be found soon: gRPC waits up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
    # A name that stands for several addresses, as a headless Service, reaches them all.
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
)
_HEALTH = "/grpc.health.v1.Health/Check"
_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
_CODE = grpc.StatusCode
# A request without a model: TF Serving refuses it, and so shows that it is there.
_REFUSALS = (_CODE.INVALID_ARGUMENT, _CODE.NOT_FOUND)
# The server did not answer, or could not: another one may. CANCELLED is what calls end
# with that reach a gRPC server while it closes.
LOST = (_CODE.UNAVAILABLE, _CODE.CANCELLED)
# TF Serving's words for a queue that is full: no fault, and not cured by more calls.
_FULL = "The batch scheduling queue"
_MAX_METHODS = 64
_MAX_KEYS = 1000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class HealthOptions:
    """When a server is taken out, and when it comes back.

    Attributes:
        probe_interval_s: Seconds between two probes of a server.
        probe_timeout_s: Seconds in which a probe is to be answered.
        max_failed_probes: Probes unanswered in a row that eject a server.
        max_failed_calls: Calls lost in a row that do.
        ejection_s: Seconds of the first ejection; each further one doubles it.
        max_ejection_s: Seconds that none exceeds.
        forgiven_after_s: Seconds of health after which the first is the first again.
        lacks_model_s: Seconds for which a server that lacks a model is passed over.
    """

    probe_interval_s: float = 1.0
    probe_timeout_s: float = 3.0
    max_failed_probes: int = 2
    max_failed_calls: int = 5
    ejection_s: float = 1.0
    max_ejection_s: float = 30.0
    forgiven_after_s: float = 60.0
    lacks_model_s: float = 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """An answer's bytes, and the call that has its metadata."""

    data: bytes
    call: Any


class BackendLostError(UnavailableError):
    """The server stopped answering while the call was under way."""


def is_full(error: Any) -> bool:
    """Whether a server says that too many requests wait there already."""
    details = error.details() if isinstance(error, grpc.aio.AioRpcError) else ""
    return (details or "").startswith(_FULL)


class Backend:
    """One upstream server. For one event loop."""

    def __init__(
        self,
        address: str,
        counters: BackendCounters,
        options: HealthOptions,
        on_change: Callable[[], None],
    ) -> None:
        """Connects with the first probe. Needs a running event loop.

        Args:
            address: `host:port`, or `unix:path`.
            counters: Where to count.
            options: See there.
            on_change: Called when the server becomes ready, or is no longer.
        """
        self.address = address
        self.counters = counters
        self.probed = False
        self.problem = "not asked yet"
        self._options = options
        self._on_change = on_change
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._methods: dict[str, Any] = {}
        self._calls: set[Any] = set()
        self._abandoned: set[Any] = set()
        self._has_health = True
        self._failed_probes = self._failed_calls = self._ejections = 0
        self._ejected_until = self._ready_since = 0.0
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
            self._note(error)
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
        self._failed_calls = 0
        return Reply(answer, call)

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
            self._lacks[key] = time.monotonic() + self._options.lacks_model_s

    async def watch(self) -> None:
        """Probes the server until cancelled."""
        while True:
            await self._probe()
            await asyncio.sleep(self._options.probe_interval_s)

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    def _method(self, path: str) -> Any:
        method = self._methods.get(path)
        if method is None:
            if len(self._methods) > _MAX_METHODS:
                self._methods.clear()
            method = self._methods[path] = self._channel.unary_unary(path)
        return method

    async def _probe(self) -> None:
        try:
            problem = await self._ask_health()
        except grpc.aio.AioRpcError as error:
            self._has_health = True  # What comes back may be another server.
            self._failed_probes += 1
            refused = error.code() == _CODE.UNAVAILABLE
            if refused or self._failed_probes >= self._options.max_failed_probes:
                self._eject(error.details() or error.code().name)
        except Exception:  # A probe that ends would leave its server out for ever.
            logger.exception("Unexpected error while probing %s", self.address)
        else:
            self._failed_probes = 0
            if problem:
                self._set_ready(False, problem)
            elif time.monotonic() >= self._ejected_until:
                self._set_ready(True, "")
        if not self.probed:
            self.probed = True
            self._on_change()

    async def _ask_health(self) -> str:
        """What keeps the server from taking requests, as it says; "" for nothing."""
        timeout_s = self._options.probe_timeout_s
        if self._has_health:
            try:
                data = await self._method(_HEALTH)(b"", timeout=timeout_s)
            except grpc.aio.AioRpcError as error:
                if error.code() not in (_CODE.UNIMPLEMENTED, _CODE.NOT_FOUND):
                    raise
                self._has_health = False
            else:
                answer = health_pb2.HealthCheckResponse.FromString(data)
                return "" if answer.status == answer.SERVING else "it is not serving"
        try:
            await self._method(_STATUS)(b"", timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() not in _REFUSALS:
                raise
        return ""

    def _note(self, error: grpc.aio.AioRpcError) -> None:
        """Counts calls that were lost in a row."""
        if error.code() not in LOST or is_full(error):
            self._failed_calls = 0
            return
        self._failed_calls += 1
        if self._failed_calls >= self._options.max_failed_calls:
            self._eject(f"{self._failed_calls} calls in a row: {error.details()}")

    def _eject(self, problem: str) -> None:
        """Takes the server out, for longer than the last time."""
        self._failed_calls = 0
        if self.ready:
            now = time.monotonic()
            if now - self._ready_since > self._options.forgiven_after_s:
                self._ejections = 0
            wait_s = self._options.ejection_s * 2**self._ejections
            self._ejected_until = now + min(wait_s, self._options.max_ejection_s)
            self._ejections += 1
            self.counters.ejections += 1
        self._set_ready(False, problem)
        if self._failed_probes >= self._options.max_failed_probes:
            # Nobody knows whether these would ever end: they can go on elsewhere.
            self._abandoned |= self._calls
            for call in self._abandoned:
                call.cancel()

    def _set_ready(self, ready: bool, problem: str) -> None:
        self.problem = problem
        if ready == self.ready:
            return
        self.counters.ready = ready
        if ready:
            self._ready_since = time.monotonic()
            self._lacks.clear()
            logger.info("Upstream %s takes requests", self.address)
        else:
            logger.warning("Upstream %s is out: %s", self.address, problem)
        self._on_change()
