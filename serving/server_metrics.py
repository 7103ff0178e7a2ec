"""What a server of SavedModels counts: TF Serving's metrics, and a few of its own.

Names, labels, units and buckets are those of `tensorflow_model_server`, times are in
microseconds. What TF Serving has no metric for begins with `:maaskit:`.

Names that clients made up must not fill the memory: a model that nobody serves is
counted as `(unknown)`, and of folders of versions only the newest are remembered.
"""

import os
import pathlib
import re
from collections.abc import Callable, Mapping

from serving.batching_metrics import BatchCounts, BatchingMetrics
from serving.batching_options import BatchingOptions
from serving.graph_run_metrics import GraphRunMetrics
from serving.metrics import (
    LATENCY_BOUNDS,
    SIZE_BOUNDS,
    Counter,
    Gauge,
    Histogram,
    Labels,
    Metric,
    Tally,
)

UNKNOWN = "(unknown)"
_SERVING = ":tensorflow:serving:"
_LOADING = ":tensorflow:cc:saved_model:"
_OWN = ":maaskit:"
_MAX_PATHS = 256
# What TF Serving calls the way that it runs SavedModels.
_RUNTIME = "TF1"
_STATM = pathlib.Path("/proc/self/statm")


class ServerMetrics:
    """The counters of one server. From any thread.

    Attributes:
        graph: Where runs are counted.
    """

    def __init__(self, knows: Callable[[str], bool] = lambda name: True) -> None:
        """Begins at zero.

        Args:
            knows: Whether a model is served, or was; asked only about requests that
                failed.
        """
        self._knows = knows
        # Requests that were answered are in `_latency` too, and counted there alone.
        self._ended = Counter(f"{_SERVING}request_count", ("model_name", "status"))
        self._latency = Histogram(
            f"{_SERVING}request_latency",
            ("model_name", "API", "entrypoint"),
            LATENCY_BOUNDS,
        )
        self._runtime = Histogram(
            f"{_SERVING}runtime_latency",
            ("model_name", "API", "runtime"),
            LATENCY_BOUNDS,
        )
        self._examples = Histogram(
            f"{_SERVING}request_example_counts", ("model",), SIZE_BOUNDS
        )
        self._all_examples = Counter(
            f"{_SERVING}request_example_count_total", ("model",)
        )
        self._warmup = Histogram(
            f"{_SERVING}model_warmup_latency",
            ("model_path", "status"),
            LATENCY_BOUNDS,
            _MAX_PATHS,
        )
        self._warmup_records = Counter(
            f"{_SERVING}model_warmup_records_read",
            ("model_path", "status"),
            _MAX_PATHS,
        )
        self._loads = Counter(
            f"{_LOADING}load_attempt_count", ("model_path", "status"), _MAX_PATHS
        )
        self._load_latency = Counter(
            f"{_LOADING}load_latency", ("model_path",), _MAX_PATHS
        )
        self._logged = Counter(
            f"{_SERVING}request_log_count", ("model_name", "status_code")
        )
        self._batching = BatchingMetrics()
        self.graph = GraphRunMetrics()

    def all(self) -> list[Metric]:
        """Returns the metrics, for `metrics.exposition`."""
        return [
            Tally(self._ended.name, self._requests, ("model_name", "status")),
            self._latency,
            self._runtime,
            self._examples,
            self._all_examples,
            self._warmup,
            self._warmup_records,
            self._loads,
            self._load_latency,
            self._logged,
            *self._batching.all(),
            *self.graph.all(),
        ]

    def value(self, name: str) -> int:
        """Returns the sum of a counter's numbers, 0 for one that there is not.

        Args:
            name: As TF Serving has it, as in `/tensorflow/serving/request_count`.
        """
        wanted = re.sub(r"\W", ":", name)
        return sum(
            int(number)
            for metric in self.all()
            if metric.name == wanted and not isinstance(metric, Histogram)
            for number in metric.read().values()
        )

    def answered(self, model: str, api: str, entrypoint: str, seconds: float) -> None:
        """Counts a request that a model answered.

        Args:
            model: Its name.
            api: As in Predict on gRPC and predict on REST.
            entrypoint: GRPC or REST.
            seconds: How long it took.
        """
        self._latency.of(model, api, entrypoint).observe(seconds * 1e6)

    def ended(self, model: str, status: str) -> None:
        """Counts a request by its status alone: one that failed, or ran nothing.

        Args:
            model: The name that the client gave; "" where it gave none.
            status: gRPC status, as in NOT_FOUND.
        """
        known = not model or self._knows(model)
        self._ended.add(model if known else UNKNOWN, status)

    def ran(self, model: str, api: str, seconds: float) -> None:
        """Counts the time that a request took without its protocol, queue included."""
        self._runtime.of(model, api, _RUNTIME).observe(seconds * 1e6)

    def took_examples(self, model: str, count: int) -> None:
        """Counts the tf.Examples of a request that was answered."""
        self._examples.observe(count, model)
        self._all_examples.add(model, amount=count)

    def loaded(self, path: pathlib.Path, seconds: float | None) -> None:
        """Counts an attempt to load a version.

        Args:
            path: Its folder.
            seconds: How long it took; None where it failed.
        """
        self._loads.add(str(path), "fail" if seconds is None else "success")
        if seconds is not None:
            self._load_latency.add(str(path), amount=round(seconds * 1e6))

    def warmed_up(
        self, path: pathlib.Path, status: str, seconds: float, records: int = 0
    ) -> None:
        """Counts the replay of a version's warm-up requests.

        Args:
            path: The version's folder.
            status: gRPC status of the replay.
            seconds: How long it took.
            records: How many there were, where that is known.
        """
        self._warmup.observe(seconds * 1e6, str(path), status)
        self._warmup_records.add(str(path), status, amount=records)

    def logged(self, model: str, status: str) -> None:
        """Counts a request that was to be logged; `status` says whether it was."""
        self._logged.add(model, status)

    def of_batches(self, options: BatchingOptions) -> BatchCounts:
        """Returns what is told of the queues with some options."""
        return BatchCounts(self._batching, options)

    def _requests(self) -> dict[Labels, float]:
        requests = self._ended.read()
        for (model, *_), count in self._latency.counts().items():
            requests[model, "OK"] = requests.get((model, "OK"), 0) + count
        return requests


def gauges(
    versions: Callable[[], Mapping[Labels, float]],
    waiting: Callable[[], Mapping[Labels, float]],
) -> list[Metric]:
    """Returns the metrics that are read when somebody looks.

    Args:
        versions: Returns how many versions there are by model and state.
        waiting: Returns how many requests wait by model and signature.
    """
    return [
        Gauge(f"{_OWN}versions", versions, ("model_name", "state")),
        Gauge(f"{_OWN}queue_depth", waiting, ("model_name", "signature_name")),
        Gauge(f"{_OWN}resident_memory_bytes", _resident),
    ]


def _resident() -> dict[Labels, float]:
    """The memory that this process holds; nothing where there is no /proc."""
    try:
        pages = int(_STATM.read_text().split()[1])
    except OSError:
        return {}
    return {(): pages * os.sysconf("SC_PAGE_SIZE")}
