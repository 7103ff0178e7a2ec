"""Whether an upstream server takes requests: probes, ejection, and the way back.

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
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2

from serving.upstream_counters import BackendCounters

logger = logging.getLogger(__name__)

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


def is_full(error: Any) -> bool:
    """Whether a server says that too many requests wait there already."""
    details = error.details() if isinstance(error, grpc.aio.AioRpcError) else ""
    return (details or "").startswith(_FULL)


class Health:
    """The health of one server. For one event loop."""

    def __init__(
        self,
        address: str,
        counters: BackendCounters,
        options: HealthOptions,
        *,
        ask: Callable[[str, float], Awaitable[bytes]],
        on_change: Callable[[], None],
        on_hang: Callable[[], None],
        on_answer: Callable[[], None],
    ) -> None:
        """Knows nothing yet; `watch` finds out.

        Args:
            address: Of the server, for messages.
            counters: Where to count, and where `ready` is kept.
            options: See there.
            ask: Calls a method, by its path, with an empty request, within seconds.
            on_change: Called after the first probe, and when `ready` changes.
            on_hang: Called when the server is ejected as it leaves probes unanswered.
            on_answer: Called after each probe that it answers.
        """
        self.probed = False
        self.problem = "not asked yet"
        self._address = address
        self._counters = counters
        self._options = options
        self._ask = ask
        self._on_change = on_change
        self._on_hang = on_hang
        self._on_answer = on_answer
        self._has_service = True
        self._failed_probes = self._failed_calls = self._ejections = 0
        self._ejected_until = self._ready_since = 0.0

    @property
    def ready(self) -> bool:
        """Whether the server is healthy and not ejected."""
        return self._counters.ready

    async def watch(self) -> None:
        """Probes the server until cancelled."""
        while True:
            await self._probe()
            await asyncio.sleep(self._options.probe_interval_s)

    def note(self, error: grpc.aio.AioRpcError | None) -> None:
        """Takes the outcome of a call: calls that are lost in a row eject."""
        if error is None or error.code() not in LOST or is_full(error):
            self._failed_calls = 0
            return
        self._failed_calls += 1
        if self._failed_calls >= self._options.max_failed_calls:
            self._eject(f"{self._failed_calls} calls in a row: {error.details()}")

    async def _probe(self) -> None:
        try:
            problem = await self._ask_health()
        except grpc.aio.AioRpcError as error:
            self._has_service = True  # What comes back may be another server.
            self._failed_probes += 1
            refused = error.code() == _CODE.UNAVAILABLE
            if refused or self._failed_probes >= self._options.max_failed_probes:
                self._eject(error.details() or error.code().name)
        except Exception:  # A probe that ends would leave its server out for ever.
            logger.exception("Unexpected error while probing %s", self._address)
        else:
            self._failed_probes = 0
            self._on_answer()
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
        if self._has_service:
            try:
                data = await self._ask(_HEALTH, timeout_s)
            except grpc.aio.AioRpcError as error:
                if error.code() not in (_CODE.UNIMPLEMENTED, _CODE.NOT_FOUND):
                    raise
                self._has_service = False
            else:
                answer = health_pb2.HealthCheckResponse.FromString(data)
                return "" if answer.status == answer.SERVING else "it is not serving"
        try:
            await self._ask(_STATUS, timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() not in _REFUSALS:
                raise
        return ""

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
            self._counters.ejections += 1
        self._set_ready(False, problem)
        if self._failed_probes >= self._options.max_failed_probes:
            self._on_hang()

    def _set_ready(self, ready: bool, problem: str) -> None:
        self.problem = problem
        if ready == self.ready:
            return
        self._counters.ready = ready
        if ready:
            self._ready_since = time.monotonic()
            logger.info("Upstream %s takes requests", self._address)
        else:
            logger.warning("Upstream %s is out: %s", self._address, problem)
        self._on_change()
