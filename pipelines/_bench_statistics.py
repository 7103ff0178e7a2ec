"""From the times of single requests to the figures of a round, and of all rounds."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, slots=True)
class Samples:
    """The requests that one load generator sent, in the order of their answers.

    Attributes:
        begin: When the warm-up was over, in seconds of the machine's monotonic clock.
        end: When the last request that counts was answered, on the same clock.
        starts: When each request was sent.
        ends: When its answer was complete.
    """

    begin: float
    end: float
    starts: np.ndarray
    ends: np.ndarray


@dataclasses.dataclass(frozen=True, slots=True)
class Timing:
    """One cell in one round."""

    requests_per_s: float
    mean_ms: float
    p50_ms: float
    p99_ms: float
    requests: int


@dataclasses.dataclass(frozen=True, slots=True)
class Spread:
    """A figure over all rounds."""

    median: float
    low: float
    high: float


def timing(samples: Samples) -> Timing:
    """Returns the figures of the requests that were answered after the warm-up.

    Raises:
        ValueError: There are none.
    """
    counts = (samples.ends > samples.begin) & (samples.ends <= samples.end)
    latencies_ms = 1000 * (samples.ends - samples.starts)[counts]
    p50_ms = percentile(latencies_ms, 50)
    return Timing(
        requests_per_s=len(latencies_ms) / (samples.end - samples.begin),
        mean_ms=float(np.mean(latencies_ms)),
        p50_ms=p50_ms,
        p99_ms=percentile(latencies_ms, 99),
        requests=len(latencies_ms),
    )


def percentile(values: np.ndarray, percent: float) -> float:
    """Returns the least of the values that `percent` of them do not exceed.

    Raises:
        ValueError: There are no values.
    """
    if not len(values):
        raise ValueError("No request was answered in time to be counted.")
    return float(np.percentile(values, percent, method="inverted_cdf"))


def during(
    samples: Samples, windows: Sequence[tuple[float, float]]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the latencies [ms] of the requests inside and outside some windows.

    Args:
        samples: Requests; those of the warm-up are in neither.
        windows: Begin and end of each. A request that was under way in one is inside.
    """
    inside = np.zeros(len(samples.starts), bool)
    for begin, end in windows:
        inside |= (samples.ends > begin) & (samples.starts < end)
    counts = samples.starts >= samples.begin
    latencies_ms = 1000 * (samples.ends - samples.starts)
    return latencies_ms[counts & inside], latencies_ms[counts & ~inside]


def spread(values: Sequence[float]) -> Spread:
    """Returns the median and the range of a figure's values, one a round."""
    return Spread(float(np.median(values)), min(values), max(values))
