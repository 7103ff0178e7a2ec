"""What is counted of the runs of graphs, under the names that TensorFlow counts them.

Every run that answers requests counts, by LiteRT too; those of warm-ups do not.
"""

import time
from collections.abc import Callable

from serving.batch_axis import Arrays
from serving.metrics import Histogram, Metric, Tally

_CORE = ":tensorflow:core:"
# TensorFlow's bounds, in microseconds and in bytes.
_TIME_BOUNDS = tuple(1000.0 * 2**power for power in range(20))
_SIZE_BOUNDS = tuple(float(4**power) for power in range(14))


class GraphRunMetrics:
    """The counters of the runs of one server. From any thread."""

    def __init__(self) -> None:
        """Begins at zero."""
        self._times = Histogram(
            f"{_CORE}graph_run_time_usecs_histogram", (), _TIME_BOUNDS
        )
        self._sizes = Histogram(
            f"{_CORE}graph_run_input_tensor_bytes", (), _SIZE_BOUNDS
        )
        self._time, self._size = self._times.of(), self._sizes.of()

    def all(self) -> list[Metric]:
        """Returns the metrics, for `metrics.exposition`."""
        return [
            Tally(f"{_CORE}graph_runs", self._times.counts),
            Tally(
                f"{_CORE}graph_run_time_usecs",
                lambda: {(): round(self._time.read()[1])},
            ),
            self._times,
            self._sizes,
        ]

    def counted(self, run: Callable[[Arrays], Arrays]) -> Callable[[Arrays], Arrays]:
        """Returns `run`, which takes inputs and returns outputs, with each run counted.

        One that raises is not.
        """

        def counted_run(inputs: Arrays) -> Arrays:
            began = time.perf_counter()
            outputs = run(inputs)
            self._time.observe((time.perf_counter() - began) * 1e6)
            self._size.observe(sum(array.nbytes for array in inputs.values()))
            return outputs

        return counted_run
