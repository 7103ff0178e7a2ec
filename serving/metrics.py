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

    def __init__(
        self, name: str, label_names: Labels = (), limit: int | None = None
    ) -> None:
        """Begins at zero.

        Args:
            name: As Prometheus shows it.
            label_names: What tells the numbers apart.
            limit: How many numbers are kept, where labels come and go for ever: the
                oldest one makes room. None for all.
        """
        self.name = name
        self._label_names = label_names
        self._limit = limit
        self._values: dict[Labels, float] = {}
        self._lock = threading.Lock()

    def add(self, *labels: str, amount: float = 1) -> None:
        """Adds to one of the numbers. From any thread."""
        with self._lock:
            self._values[labels] = self._values.get(labels, 0) + amount
            if self._limit is not None and len(self._values) > self._limit:
                del self._values[next(iter(self._values))]

    def read(self) -> dict[Labels, float]:
        """Returns the numbers by labels."""
        with self._lock:
            return dict(self._values)

    def samples(self) -> Iterator[str]:
        """Yields a line for each number."""
        for labels, value in sorted(self.read().items()):
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
        self.read = read
        self._label_names = label_names

    def samples(self) -> Iterator[str]:
        """Yields a line for each number."""
        for labels, value in sorted(self.read().items()):
            yield _line(self.name, self._label_names, labels, value)


class Tally(Gauge):
    """Such numbers, where they only rise."""

    kind = "counter"


class Distribution:
    """How many values lay below each bound. From any thread."""

    __slots__ = ("_bounds", "_counts", "_lock", "_total")

    def __init__(self, bounds: Sequence[float]) -> None:
        """Begins without values.

        Args:
            bounds: Rising; what lies above the last is counted too.
        """
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0
        self._lock = threading.Lock()

    def observe(self, value: float) -> None:
        """Counts one value."""
        place = bisect.bisect_left(self._bounds, value)
        with self._lock:
            self._counts[place] += 1
            self._total += value

    def observe_all(self, values: Sequence[float]) -> None:
        """Counts several values at once."""
        places = [bisect.bisect_left(self._bounds, value) for value in values]
        with self._lock:
            for place in places:
                self._counts[place] += 1
            self._total += sum(values)

    def read(self) -> tuple[list[int], float]:
        """Returns how many values lay at or below each bound, all last; and the sum."""
        with self._lock:
            return list(itertools.accumulate(self._counts)), self._total


class Histogram:
    """A distribution for each combination of labels."""

    kind = "histogram"

    def __init__(
        self,
        name: str,
        label_names: Labels,
        bounds: Sequence[float],
        limit: int | None = None,
    ) -> None:
        """Begins without values.

        Args:
            name: As Prometheus shows it.
            label_names: What tells the distributions apart.
            bounds: See `Distribution`.
            limit: How many distributions are kept; see `Counter`.
        """
        self.name = name
        self._label_names = label_names
        self._bounds = bounds
        self._limit = limit
        self._ends = [*(f"{bound:g}" for bound in bounds), "+Inf"]
        self._found: dict[Labels, Distribution] = {}
        self._lock = threading.Lock()

    def of(self, *labels: str) -> Distribution:
        """Returns the distribution of some labels; it may be kept, to look up less."""
        found = self._found.get(labels)
        if found is not None:
            return found
        with self._lock:
            if self._limit is not None and len(self._found) >= self._limit:
                del self._found[next(iter(self._found))]
            return self._found.setdefault(labels, Distribution(self._bounds))

    def observe(self, value: float, *labels: str) -> None:
        """Counts one value. From any thread."""
        self.of(*labels).observe(value)

    def counts(self) -> dict[Labels, int]:
        """Returns how many values there were, by labels."""
        with self._lock:
            found = list(self._found.items())
        return {labels: values.read()[0][-1] for labels, values in found}

    def samples(self) -> Iterator[str]:
        """Yields the lines of each distribution."""
        with self._lock:
            found = sorted(self._found.items(), key=lambda item: item[0])
        names = (*self._label_names, "le")
        for labels, values in found:
            below, total = values.read()
            if not below[-1]:
                continue
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
