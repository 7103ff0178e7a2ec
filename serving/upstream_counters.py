"""What is counted per upstream server.

`Registry.read` gives the numbers, `Registry.metrics` the same as Prometheus reads them.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from serving.metrics import (
    LATENCY_BOUNDS,
    Gauge,
    Histogram,
    Labels,
    Metric,
    Tally,
    exposition,
)

_PREFIX = ":maaskit:upstream:"


class BackendCounters:
    """The counters of one upstream server.

    Attributes:
        answers: gRPC status to how many attempts ended with it.
        retries: Attempts that were made because one at another server failed.
        ejections: How often the server was taken out after failures.
        ready: Whether it takes requests now.
        total_us: Microseconds that attempts took which ended with OK.
    """

    def __init__(self, address: str, latency: Histogram) -> None:
        """Begins at zero; latencies go to `latency` too."""
        self.answers: dict[str, int] = {}
        self.retries = 0
        self.ejections = 0
        self.ready = False
        self.total_us = 0.0
        self._latency = latency.of(address)
        self._lock = threading.Lock()

    def count(self, status: str, seconds: float) -> None:
        """Counts one attempt. From any thread.

        Args:
            status: gRPC status, as in OK.
            seconds: How long it took; kept for answers that are OK, as in TF Serving.
        """
        with self._lock:
            self.answers[status] = self.answers.get(status, 0) + 1
            if status != "OK":
                return
            self.total_us += seconds * 1e6
        self._latency.observe(seconds * 1e6)

    def numbers(self) -> dict[str, Any]:
        """Returns what `Registry.read` tells of a server."""
        answered = self.answers.get("OK", 0)
        requests = sum(self.answers.values())
        return {
            "ready": self.ready,
            "requests": requests,
            "failures": requests - answered,
            "retries": self.retries,
            "ejections": self.ejections,
            "mean_latency_us": self.total_us / answered if answered else None,
        }


class Registry:
    """The counters of all upstream servers, by address."""

    def __init__(self, addresses: Iterable[str]) -> None:
        """Makes counters for each address."""
        latency = Histogram(f"{_PREFIX}request_latency", ("backend",), LATENCY_BOUNDS)
        self.backends = {
            address: BackendCounters(address, latency) for address in addresses
        }
        one = ("backend",)
        ready, retries = self._each(lambda c: c.ready), self._each(lambda c: c.retries)
        ejections = self._each(lambda c: c.ejections)
        self.metrics: tuple[Metric, ...] = (
            Gauge(f"{_PREFIX}ready", ready, one),
            Tally(f"{_PREFIX}request_count", self._answers, ("backend", "status")),
            Tally(f"{_PREFIX}retry_count", retries, one),
            Tally(f"{_PREFIX}ejection_count", ejections, one),
            latency,
        )

    def read(self) -> dict[str, dict[str, Any]]:
        """Returns the numbers by address.

        Returns:
            For each address `ready`, `requests` (attempts), `failures` (those that did
            not end with OK), `retries`, `ejections` and `mean_latency_us` (of those
            that did; None before the first).
        """
        return {
            address: counters.numbers() for address, counters in self.backends.items()
        }

    def prometheus(self) -> str:
        """Returns the text exposition of all counters."""
        return exposition(self.metrics)

    def _each(
        self, value: Callable[[BackendCounters], float]
    ) -> Callable[[], Mapping[Labels, float]]:
        """A function that reads one number of every server."""
        return lambda: {(a,): value(counters) for a, counters in self.backends.items()}

    def _answers(self) -> Mapping[Labels, float]:
        return {
            (address, status): count
            for address, counters in self.backends.items()
            for status, count in counters.answers.items()
        }
