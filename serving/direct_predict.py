"""Predict calls that need no event loop: from the wire into the queue, and back.

It takes the calls that are plain. Whatever is wrong with one, and what runs in several
pieces or waits for company, is for `PredictionService`, which has the words for it.
"""

import functools
import logging
import threading
import time
from collections.abc import Callable

from google.protobuf.message import DecodeError

from savedmodels.protos import predict_pb2, prediction_log_pb2
from serving import (
    predict_answer,
    prediction_service,
    request_log_record,
    tensor_codec,
)
from serving.batch_axis import Arrays
from serving.batch_run import Task
from serving.embedded import EmbeddedPredictor
from serving.errors import BUG, ServingError
from serving.grpc_sink import CallDetails, Sink
from serving.loaded_version import LoadedVersion
from serving.predict_templates import Checked, PredictTemplates
from serving.request_log import RequestLog
from serving.server_metrics import ServerMetrics
from serving.signatures import select
from serving.version_state import Version

logger = logging.getLogger(__name__)

PATH = "/tensorflow.serving.PredictionService/Predict"
_API = "Predict"
_ENTRYPOINT = "GRPC"


class DirectPredict:
    """Answers plain Predict calls from versions in this process. Thread-safe."""

    def __init__(
        self,
        embedded: EmbeddedPredictor,
        metrics: ServerMetrics,
        log: RequestLog,
        *,
        as_content: bool = False,
    ) -> None:
        """Makes it.

        Args:
            embedded: Has the versions.
            metrics: Where calls are counted, as `ObservedPredictionService` does.
            log: Where they are written.
            as_content: See `PredictionService`.
        """
        self.embedded = embedded
        self.threads = embedded.threads
        self.metrics = metrics
        self.log = log
        self.as_content = as_content
        self._templates = PredictTemplates()

    def take(
        self, call_id: int, path: str, data: bytes, details: CallDetails, sink: Sink
    ) -> "DirectCall | None":
        """Returns a call that can be started, or None for one that is not plain.

        Args:
            call_id: What the sink knows it by.
            path: `/service/Method`.
            data: The request's bytes.
            details: The last of them: seconds after which nobody waits, or None.
            sink: Where the answer goes.
        """
        if path != PATH:
            return None
        timeout_s = details[2]
        now = time.monotonic()
        known = self._templates.find(data)
        if known is None:
            return self._parse(call_id, data, timeout_s, sink)
        checked, inputs = known
        try:
            version, loaded = self.embedded.acquire(checked.spec)
        except ServingError:
            return None
        if loaded is not checked.loaded:
            self.embedded.versions.release(version)
            return self._parse(call_id, data, timeout_s, sink)
        return DirectCall(
            self, sink, call_id, data, version, checked, inputs, now, timeout_s
        )

    def _parse(
        self, call_id: int, data: bytes, timeout_s: float | None, sink: Sink
    ) -> "DirectCall | None":
        """Returns the call of a request that is not like one before it."""
        now = time.monotonic()
        try:
            request = predict_pb2.PredictRequest.FromString(data)
            spec = prediction_service.model_spec(request)
            inputs = {
                alias: tensor_codec.decode(proto)
                for alias, proto in request.inputs.items()
            }
            version, loaded = self.embedded.acquire(spec)
        except (DecodeError, tensor_codec.TensorParseError, ServingError):
            return None
        call = None
        try:
            output_filter = tuple(request.output_filter)
            name, inputs_ = self.embedded.prepare(loaded, spec, inputs, output_filter)
            batcher = self.embedded.batcher(loaded, name)
            shapes, rows = batcher.measure(inputs_)
            is_loaded = not loaded.servable.is_deferred(name)
            if is_loaded and batcher.starts_at_once(shapes, rows):
                checked = Checked(
                    spec, output_filter, loaded, name, batcher, shapes, rows
                )
                call = DirectCall(
                    self, sink, call_id, data, version, checked, inputs_, now, timeout_s
                )
                self._templates.add(data, request, inputs_, checked)
        except ServingError:
            pass  # It comes again, and is told, on the event loop.
        finally:
            if call is None:
                self.embedded.versions.release(version)
        return call


class DirectCall:
    """One call. Implements `batch_run.Answer`; ends once, whoever is the first."""

    __slots__ = (
        "_call_id",
        "_checked",
        "_data",
        "_deadline",
        "_direct",
        "_once",
        "_since",
        "_sink",
        "_task",
        "_version",
    )

    def __init__(
        self,
        direct: DirectPredict,
        sink: Sink,
        call_id: int,
        data: bytes,
        version: Version[LoadedVersion],
        checked: Checked,
        inputs: Arrays,
        now: float,
        timeout_s: float | None,
    ) -> None:
        """Makes a call, which is to be started.

        Args:
            direct: Has what all calls share.
            sink: Where the answer goes.
            call_id: What the sink knows it by.
            data: The request's bytes.
            version: What is asked; released at the end.
            checked: What is known of the request.
            inputs: Alias to array, as `Batcher` takes them.
            now: Time of the monotonic clock at which it came.
            timeout_s: Seconds after which nobody waits, or None.
        """
        self._direct = direct
        self._sink = sink
        self._call_id = call_id
        self._data = data
        self._version = version
        self._checked = checked
        self._once = threading.Lock()
        self._since = now
        self._deadline = None if timeout_s is None else now + timeout_s
        self._task: Task | None = Task(
            inputs, checked.rows, checked.shapes, self, self._deadline, now
        )

    def start(self) -> None:
        """Gets into the queue; the caller is about to help to run it."""
        queue = self._checked.batcher.queue
        # The task has the call. If that had the task too, only the collector would free
        # the inputs, which it does not see the size of: gigabytes may wait for it.
        task, self._task = self._task, None
        if task is None:
            raise RuntimeError("A call starts once.")
        try:
            queue.admit(task.rows)
        except ServingError as error:
            self.set_exception(error)
            return
        queue.put(task)

    def get_loop(self) -> None:
        """Any thread may call it."""

    def done(self) -> bool:
        """Whether it has ended."""
        return self._once.locked()

    def set_result(self, result: Arrays, /) -> None:
        """Sends the outputs."""
        if self._is_first():
            self._end(self._answer, result)

    def set_exception(self, exception: Exception, /) -> None:
        """Sends what went wrong."""
        if self._is_first():
            self._end(self._refuse, exception)

    def cancel(self) -> None:
        """Takes note that the client has gone, or its time is up."""
        if self._is_first():
            late = self._deadline is not None and time.monotonic() >= self._deadline
            status = "DEADLINE_EXCEEDED" if late else "CANCELLED"
            self._end(self._direct.metrics.ended, self._checked.spec.name, status)

    def _is_first(self) -> bool:
        return self._once.acquire(blocking=False)

    def _end(self, tell: Callable[..., None], *what: object) -> None:
        """Tells how it ended, and lets go of the version."""
        try:
            tell(*what)
        except Exception as error:
            self._refuse(error)
        finally:
            self._direct.embedded.versions.release(self._version)

    def _answer(self, outputs: Arrays) -> None:
        direct, checked = self._direct, self._checked
        model = checked.spec.name
        direct.metrics.ran(model, _API, time.monotonic() - self._since)
        data = predict_answer.serialized(
            model,
            self._version.number,
            checked.name,
            select(outputs, checked.output_filter),
            as_content=direct.as_content,
        )
        if options := direct.log.sampled(model):
            size = len(self._data) + len(data)
            make = functools.partial(_record, self._data, data)
            direct.log.offer(model, options, size, make)
        seconds = time.monotonic() - self._since
        direct.metrics.answered(model, _API, _ENTRYPOINT, seconds)
        self._sink.answer(self._call_id, data)

    def _refuse(self, error: Exception) -> None:
        if not isinstance(error, ServingError):
            logger.error("Unexpected error while answering %s", PATH, exc_info=error)
            error = ServingError(BUG)
        self._direct.metrics.ended(self._checked.spec.name, error.grpc_code.name)
        self._sink.refuse(self._call_id, error)


def _record(request: bytes, response: bytes) -> prediction_log_pb2.PredictionLog:
    return request_log_record.of_messages(
        "predict_log",
        predict_pb2.PredictRequest.FromString(request),
        predict_pb2.PredictResponse.FromString(response),
    )
