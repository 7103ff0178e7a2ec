"""Requests and their answers on disk, as `logging_config` of a model asks for.

They are PredictionLogs in TFRecord files, so a file can be a version's warm-up
requests, if it has no more than the 1000 that are allowed, or be scored. A thread of
its own writes them: a disk that is slow, full or gone costs log records, which are
counted, and never a request.
"""

import collections
import dataclasses
import logging
import pathlib
import random
import threading
import time
from collections.abc import Callable

from savedmodels.protos import prediction_log_pb2
from serving.request_log_file import RequestLogFile
from serving.server_metrics import ServerMetrics

logger = logging.getLogger(__name__)

_MAX_WAITING = 1000
_MAX_WAITING_BYTES = 64 * 2**20
_CLOSE_S = 10.0  # a disk that hangs must not keep the server from ending
_MAX_FILE_BYTES = 64 * 2**20


@dataclasses.dataclass(frozen=True, slots=True)
class RequestLogOptions:
    """Which requests of a model are logged, and where.

    Attributes:
        filename_prefix: How the names of its files begin, folders included.
        sampling_rate: The share of requests that is logged, 0 to 1.
    """

    filename_prefix: pathlib.Path
    sampling_rate: float


@dataclasses.dataclass(frozen=True, slots=True)
class _Waiting:
    """A request that is to be written, and about how many bytes it holds."""

    model: str
    options: RequestLogOptions
    size: int
    time_s: int
    make: Callable[[], prediction_log_pb2.PredictionLog]


class RequestLog:
    """Writes what is offered. From any thread; it never waits for the disk."""

    def __init__(
        self,
        options_of: Callable[[str], RequestLogOptions | None],
        metrics: ServerMetrics,
        *,
        max_waiting: int = _MAX_WAITING,
        max_waiting_bytes: int = _MAX_WAITING_BYTES,
        max_file_bytes: int = _MAX_FILE_BYTES,
    ) -> None:
        """Makes a log that has no file yet.

        Args:
            options_of: Returns what a model's config says now; None for no log.
            metrics: Where records are counted: OK, or why they are lost.
            max_waiting: Requests that may wait to be written; more are dropped.
            max_waiting_bytes: About how much they may hold.
            max_file_bytes: Where a file is ended and the next one begun.
        """
        self._options_of = options_of
        self._metrics = metrics
        self._max_waiting = max_waiting
        self._max_waiting_bytes = max_waiting_bytes
        self._max_file_bytes = max_file_bytes
        self._files: dict[str, RequestLogFile] = {}
        self._waiting: collections.deque[_Waiting] = collections.deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._writer: threading.Thread | None = None
        self._last_error = ""

    def sampled(self, model: str) -> RequestLogOptions | None:
        """Returns how a request is logged, drawn by chance; None where it is not."""
        options = self._options_of(model)
        if options is None or random.random() >= options.sampling_rate:
            return None
        return options

    def offer(
        self,
        model: str,
        options: RequestLogOptions,
        size: int,
        make: Callable[[], prediction_log_pb2.PredictionLog],
    ) -> None:
        """Has a request written, or drops it where too much waits already.

        Args:
            model: Model name.
            options: What `sampled` returned.
            size: About how many bytes the request holds until then.
            make: Returns the record; called by the thread that writes.
        """
        entry = _Waiting(model, options, size, int(time.time()), make)
        with self._changed:
            taken = not self._closing and (
                len(self._waiting) < self._max_waiting
                and self._waiting_bytes + size <= self._max_waiting_bytes
            )
            if taken:
                self._waiting.append(entry)
                self._waiting_bytes += size
                self._changed.notify()
                if self._writer is None:
                    self._writer = threading.Thread(
                        target=self._write_all, name="request-log", daemon=True
                    )
                    self._writer.start()
        if not taken:
            self._metrics.logged(model, "RESOURCE_EXHAUSTED")

    def close(self) -> None:
        """Writes what waits, as far as the disk takes it, and closes the files."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._writer is not None:
            self._writer.join(_CLOSE_S)

    def _write_all(self) -> None:
        """What the thread does: writes until it is told to end, and all is written."""
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if not self._waiting:
                    break
                entry = self._waiting.popleft()
                self._waiting_bytes -= entry.size
            self._metrics.logged(entry.model, self._write(entry))
        for file in self._files.values():
            file.close()

    def _write(self, entry: _Waiting) -> str:
        """Writes one record, and returns the status to count."""
        try:
            log = entry.make()
            metadata = log.log_metadata
            metadata.timestamp_secs = entry.time_s
            metadata.sampling_config.sampling_rate = entry.options.sampling_rate
            self._file(entry).write(log.SerializeToString())
        except OSError as error:
            if str(error) != self._last_error:  # once, not for each record
                logger.error("Requests are not logged: %s", error)
            self._last_error = str(error)
            return "UNKNOWN"
        except Exception:  # a bug here must not end the thread
            logger.exception("Unexpected error while logging a request")
            return "INTERNAL"
        self._last_error = ""
        return "OK"

    def _file(self, entry: _Waiting) -> RequestLogFile:
        """The model's file, another one where its config has changed."""
        prefix = entry.options.filename_prefix
        file = self._files.get(entry.model)
        if file is None or file.prefix != prefix:
            if file is not None:
                file.close()
            file = RequestLogFile(prefix, entry.model, self._max_file_bytes)
            self._files[entry.model] = file
        return file
