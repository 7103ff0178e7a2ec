"""What is counted of the queues in which requests wait for a batch."""

from collections.abc import Sequence

from serving.batch_run import Task, padded_rows
from serving.batching_options import BatchingOptions
from serving.metrics import SIZE_BOUNDS, Histogram, Metric, Tally

_BATCHING = ":tensorflow:serving:batching_session:"
# TF Serving's bounds for the time in a queue, in microseconds.
_QUEUING_BOUNDS = tuple(100 * 1.2**power for power in range(52))


class BatchingMetrics:
    """The metrics of all queues of a server together."""

    def __init__(self) -> None:
        """Begins at zero."""
        self.queuing = Histogram(
            f"{_BATCHING}queuing_latency", ("thread_pool_name",), _QUEUING_BOUNDS
        )
        self.padding = Histogram(
            f"{_BATCHING}padding_size", ("execution_batch_size",), SIZE_BOUNDS
        )
        self.input_size = Histogram(f"{_BATCHING}input_batch_size", (), SIZE_BOUNDS)
        self.processed = Histogram(f"{_BATCHING}processed_batch_size", (), SIZE_BOUNDS)
        # Each batch is one run, so it is counted once.
        self.runs = Tally(f"{_BATCHING}wrapped_run_count", self.processed.counts)

    def all(self) -> list[Metric]:
        """Returns them, for `metrics.exposition`."""
        return [self.queuing, self.runs, self.padding, self.input_size, self.processed]


class BatchCounts:
    """Counts what passes through a queue. Implements `batch_queue.BatchObserver`."""

    def __init__(self, metrics: BatchingMetrics, options: BatchingOptions) -> None:
        """Makes the counter of queues with the same options.

        Args:
            metrics: Where it counts.
            options: Those of the queues.
        """
        self._waits = metrics.queuing.of(options.thread_pool_name)
        self._inputs = metrics.input_size.of()
        self._processed = metrics.processed.of()
        self._padding = metrics.padding
        self._sizes = options.allowed_batch_sizes

    def submitted(self, rows: int) -> None:
        """Counts a request."""
        self._inputs.observe(rows)

    def started(self, tasks: Sequence[Task], now: float) -> None:
        """Counts a batch, and how long each of its requests waited."""
        rows = padded_rows(tasks, self._sizes)
        self._processed.observe(rows)
        self._waits.observe_all([(now - task.since) * 1e6 for task in tasks])
        if self._sizes:  # without, there would be a distribution for each size
            padding = rows - sum(task.rows for task in tasks)
            self._padding.observe(padding, str(rows))
