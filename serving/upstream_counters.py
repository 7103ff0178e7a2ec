"""What is counted per upstream server, and the text that Prometheus reads of it.

`Registry.read` gives the numbers, `Registry.prometheus` the text, whose names follow
TF Serving's rule: every character that is no letter, digit or underscore is a colon.
"""

import bisect
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

# TF Serving's buckets of latencies, in microseconds.
_BOUNDS = tuple(10 * 1.8**power for power in range(33))
_PREFIX = ":maaskit:upstream:"


class BackendCounters:
    """The counters of one upstream server.

    Attributes:
        answers: gRPC status to how many attempts ended with it.
        retries: Attempts that were made because one at another server failed.
        ejections: How often the server was taken out after failures.
        ready: Whether it takes requests now.
    """

    __slots__ = ("answers", "ejections", "latencies", "ready", "retries", "total_us")

    def __init__(self) -> None:
        """Begins at zero."""
        self.answers: dict[str, int] = {}
        self.retries = 0
        self.ejections = 0
        self.ready = False
        self.latencies = [0] * (len(_BOUNDS) + 1)
        self.total_us = 0.0

    def count(self, status: str, seconds: float) -> None:
        """Counts one attempt.

        Args:
            status: gRPC status, as in OK.
            seconds: How long it took; kept for answers that are OK, as in TF Serving.
        """
        self.answers[status] = self.answers.get(status, 0) + 1
        if status == "OK":
            microseconds = seconds * 1e6
            self.latencies[bisect.bisect_right(_BOUNDS, microseconds)] += 1
            self.total_us += microseconds


class Registry:
    """The counters of all upstream servers, by address."""

    def __init__(self, addresses: Iterable[str]) -> None:
        """Makes counters for each address."""
        self.backends = {address: BackendCounters() for address in addresses}

    def read(self) -> dict[str, dict[str, Any]]:
        """Returns the numbers by address.

        Returns:
            For each address `ready`, `requests` (attempts), `failures` (those that did
            not end with OK), `retries`, `ejections` and `mean_latency_us` (of those
            that did; None before the first).
        """
        return {
            address: _numbers(counters) for address, counters in self.backends.items()
        }

    def prometheus(self) -> str:
        """Returns the text exposition of all counters."""
        lines = [
            *self._metric("ready", "gauge", lambda c: {"": int(c.ready)}),
            *self._metric("request_count", "counter", _by_status),
            *self._metric("retry_count", "counter", lambda c: {"": c.retries}),
            *self._metric("ejection_count", "counter", lambda c: {"": c.ejections}),
            f"# TYPE {_PREFIX}request_latency histogram",
        ]
        for address, counters in self.backends.items():
            lines += _histogram(_label(address), counters)
        return "\n".join(lines) + "\n"

    def _metric(
        self,
        name: str,
        kind: str,
        values: Callable[[BackendCounters], Mapping[str, float]],
    ) -> list[str]:
        """The lines of one metric; `values` gives further labels to values."""
        return [
            f"# TYPE {_PREFIX}{name} {kind}",
            *(
                f"{_PREFIX}{name}{{{_label(address)}{labels}}} {value}"
                for address, counters in self.backends.items()
                for labels, value in values(counters).items()
            ),
        ]


def _numbers(counters: BackendCounters) -> dict[str, Any]:
    answered = counters.answers.get("OK", 0)
    requests = sum(counters.answers.values())
    return {
        "ready": counters.ready,
        "requests": requests,
        "failures": requests - answered,
        "retries": counters.retries,
        "ejections": counters.ejections,
        "mean_latency_us": counters.total_us / answered if answered else None,
    }


def _by_status(counters: BackendCounters) -> Mapping[str, float]:
    return {
        f',status="{status}"': count
        for status, count in sorted(counters.answers.items())
    }


def _histogram(label: str, counters: BackendCounters) -> list[str]:
    sums: Sequence[int] = list(itertools.accumulate(counters.latencies))
    bounds = [*(f"{bound:g}" for bound in _BOUNDS), "+Inf"]
    name = f"{_PREFIX}request_latency"
    return [
        *(
            f'{name}_bucket{{{label},le="{bound}"}} {count}'
            for bound, count in zip(bounds, sums, strict=True)
        ),
        f"{name}_sum{{{label}}} {counters.total_us:.0f}",
        f"{name}_count{{{label}}} {sums[-1]}",
    ]


def _label(address: str) -> str:
    escaped = address.replace("\\", r"\\").replace('"', r"\"")
    return f'backend="{escaped}"'
