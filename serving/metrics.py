"""Counters, gauges and histograms, and the text in which Prometheus reads them.

Names are TF Serving's, which begin with a colon and end as they please, so that
dashboards made for it stay true: Prometheus's own client gives counters another end.
"""

import bisect
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

Labels: TypeAlias = tuple[str, ...]  # values, in the order of a metric's label names

# TF Serving's bounds for latencies, in microseconds.
LATENCY_BOUNDS = tuple(10 * 1.8**power for power in range(33))
# And for sizes of batches.
SIZE_BOUNDS = tuple(float(2**power) for power in range(15))


class Counter:
    """A number for each combination of labels, which only rises."""

    kind = "counter"

    def __init__(self, name: str, label_names: Labels = ()) -> None:
        """Begins at zero.

        Args:
            name: As Prometheus shows it.
            label_names: What tells the numbers apart.
        """
        self.name = name
        self._label_names = label_names
        self._values: dict[Labels, float] = {}
        self._lock = threading.Lock()

    def add(self, *labels: str, amount: float = 1) -> None:
        """Adds to one of the numbers. From any thread."""
        with self._lock:
            self._values[labels] = self._values.get(labels, 0) + amount

    def samples(self) -> Iterator[str]:
        """Yields a line for each number."""
        with self._lock:
            values = sorted(self._values.items())
        for labels, value in values:
            yield _line(self.name, self._label_names, labels, value)


class Gauge:
    """Numbers that are asked for when somebody looks."""

    kind = "gauge"

    def __init__(
        self,
        name: str,
        read: Callable[[], Mapping[Labels, float]],
        label_names: Labels = (),
    ) -> None:
        """Makes a gauge.

        Args:
            name: As Prometheus shows it.
            read: Returns the numbers by labels.
            label_names: What tells them apart.
        """
        self.name = name
        self._read = read
        self._label_names = label_names

    def samples(self) -> Iterator[str]:
        """Yields a line for each number."""
        for labels, value in sorted(self._read().items()):
            yield _line(self.name, self._label_names, labels, value)


class Histogram:
    """How many values lay below each bound, for each combination of labels."""

    kind = "histogram"

    def __init__(self, name: str, label_names: Labels, bounds: Sequence[float]) -> None:
        """Begins without values.

        Args:
            name: As Prometheus shows it.
            label_names: What tells the distributions apart.
            bounds: Rising; what lies above the last is counted too.
        """
        self.name = name
        self._label_names = label_names
        self._bounds = bounds
        self._ends = [*(f"{bound:g}" for bound in bounds), "+Inf"]
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}
        self._lock = threading.Lock()

    def observe(self, value: float, *labels: str) -> None:
        """Counts one value. From any thread."""
        place = bisect.bisect_left(self._bounds, value)
        with self._lock:
            counts = self._counts.get(labels)
            if counts is None:
                counts = self._counts[labels] = [0] * len(self._ends)
                self._sums[labels] = 0.0
            counts[place] += 1
            self._sums[labels] += value

    def samples(self) -> Iterator[str]:
        """Yields the lines of each distribution."""
        with self._lock:
            found = [
                (labels, list(counts), self._sums[labels])
                for labels, counts in sorted(self._counts.items())
            ]
        names = (*self._label_names, "le")
        for labels, counts, total in found:
            below = list(itertools.accumulate(counts))
            for end, count in zip(self._ends, below, strict=True):
                yield _line(f"{self.name}_bucket", names, (*labels, end), count)
            yield _line(f"{self.name}_sum", self._label_names, labels, total)
            yield _line(f"{self.name}_count", self._label_names, labels, below[-1])


Metric: TypeAlias = Counter | Gauge | Histogram


def exposition(metrics: Sequence[Metric]) -> str:
    """Returns the text that Prometheus reads.

    Args:
        metrics: Those without a number yet are left out.

    Returns:
        Lines, each with its end; "" where nothing was counted yet.
    """
    lines = []
    for metric in metrics:
        if samples := list(metric.samples()):
            lines += [f"# TYPE {metric.name} {metric.kind}", *samples]
    return "".join(f"{line}\n" for line in lines)


def _line(name: str, label_names: Labels, labels: Labels, value: float) -> str:
    pairs = ",".join(
        f'{label}="{_escaped(text)}"'
        for label, text in zip(label_names, labels, strict=True)
    )
    number = str(int(value)) if float(value).is_integer() else repr(float(value))
    return f"{name}{{{pairs}}} {number}" if pairs else f"{name} {number}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
