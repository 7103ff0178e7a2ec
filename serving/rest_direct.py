"""Predict calls over REST that need no task: from the socket into the queue, and back.

It takes the calls that are plain: numbers alone, all in one run. Whatever is wrong with
one, and what waits for company or is large, is for `rest_server`, which has the words.
All of it happens on the event loop; a task for each call, with the coroutines, timers
and messages of ASGI, took more of the loop's time than reading and writing the numbers.
"""

import asyncio
import functools
import re
import time
from typing import Protocol

from serving import (
    json_encode,
    json_numbers,
    observed_predictor,
    rest_errors,
    rest_http,
    rest_paths,
)
from serving.batch_axis import Arrays, Shapes
from serving.batch_queue import BatchQueue
from serving.batch_run import Task
from serving.embedded import EmbeddedPredictor
from serving.errors import DeadlineExceededError, ServingError, UnavailableError
from serving.loaded_version import LoadedVersion
from serving.predictor import ModelSpec, Prediction
from serving.request_log import RequestLog
from serving.rest_http import Headers, Response
from serving.server_metrics import ServerMetrics
from serving.version_state import Version

_BYTES_OF_A_NUMBER = 8  # of text, about
# Paths of the same few models come again and again; a client could make up any number.
_KNOWN_PATHS = 256
# Measured with 16 and 64 clients on 2 cores; without, nothing ran while all requests
# were read, nor was one read while they ran.
_ENOUGH_TO_RUN = 8
_LET_GO_S = 20e-6


class Connection(Protocol):
    """Where a call came from."""

    def finish(self, call: "RestCall", response: Response) -> None:
        """Sends the answer to a call."""
        ...


class RestDirect:
    """Answers plain predict calls from versions in this process. For one event loop."""

    def __init__(
        self,
        embedded: EmbeddedPredictor,
        metrics: ServerMetrics,
        log: RequestLog,
        *,
        timeout_s: float,
        headers: Headers = (),
    ) -> None:
        """Makes it.

        Args:
            embedded: Has the versions.
            metrics: Where calls are counted, as `rest_observed` does.
            log: Where they are written.
            timeout_s: Seconds that an answer may take; then the call ends with 504.
            headers: Of every response.
        """
        self.embedded = embedded
        self.metrics = metrics
        self.log = log
        self.timeout_s = timeout_s
        self.headers = headers

    def take(
        self, path: bytes, body: bytes, connection: Connection
    ) -> "RestCall | None":
        """Returns a call that can be started, or None for one that is not plain.

        Args:
            path: What was asked for, by POST.
            body: The whole body, not compressed.
            connection: Where the answer goes.
        """
        asked = _spec(path) if len(body) <= rest_http.LARGE_BYTES else None
        if asked is None:
            return None
        try:
            version, loaded = self.embedded.acquire(asked)
        except ServingError:
            return None
        call = None
        try:
            call = self._read(asked, body, version, loaded, connection)
        except ServingError:
            pass  # It comes again, and is told.
        finally:
            if call is None:
                self.embedded.versions.release(version)
        return call

    def _read(
        self,
        asked: ModelSpec,
        body: bytes,
        version: Version[LoadedVersion],
        loaded: LoadedVersion,
        connection: Connection,
    ) -> "RestCall | None":
        began = time.monotonic()
        found = json_numbers.predict_inputs(body, loaded.servable.signatures)
        if found is None:
            return None
        signature_name, in_rows, given = found
        spec = ModelSpec(asked.name, asked.version, asked.label, signature_name)
        name, inputs = self.embedded.prepare(loaded, spec, given, ())
        batcher = self.embedded.batcher(loaded, name)
        shapes, rows = batcher.measure(inputs)
        if loaded.servable.is_deferred(name):
            return None
        if not batcher.starts_at_once(shapes, rows):
            return None
        call = RestCall(self, connection, spec, name, version, in_rows, batcher.queue)
        call.prepare(inputs, rows, shapes, began)
        return call


class RestCall:
    """One call. Implements `batch_run.Answer`; ends once, whoever is the first."""

    __slots__ = (
        "_connection",
        "_direct",
        "_done",
        "_in_rows",
        "_inputs",
        "_late",
        "_loop",
        "_name",
        "_queue",
        "_since",
        "_spec",
        "_task",
        "_version",
        "_writing",
    )

    _inputs: Arrays
    _since: float
    _task: Task | None

    def __init__(
        self,
        direct: RestDirect,
        connection: Connection,
        spec: ModelSpec,
        name: str,
        version: Version[LoadedVersion],
        in_rows: bool,
        queue: BatchQueue,
    ) -> None:
        """Makes a call, which is to be prepared.

        Args:
            direct: Has what all calls share.
            connection: Where the answer goes.
            spec: What was asked, and to be logged.
            name: Of the signature.
            version: What is asked; released at the end.
            in_rows: Whether the answer has rows too.
            queue: Of the signature.
        """
        self._direct = direct
        self._connection = connection
        self._spec = spec
        self._name = name
        self._version = version
        self._in_rows = in_rows
        self._queue = queue
        self._done = False
        self._loop = asyncio.get_running_loop()
        self._late = self._loop.call_later(direct.timeout_s, self._on_late)
        self._writing: asyncio.Task[None] | None = None

    def prepare(
        self, inputs: Arrays, rows: int, shapes: Shapes | None, now: float
    ) -> None:
        """Takes the inputs, as `Batcher.measure` has them, and the time it came."""
        self._inputs, self._since = inputs, now
        deadline = now + self._direct.timeout_s
        self._task = Task(inputs, rows, shapes, self, deadline, now)

    def start(self) -> None:
        """Gets into the queue."""
        # As in `DirectCall`: the task has the call, which must not have the task.
        task, self._task = self._task, None
        if task is None:
            raise RuntimeError("A call starts once.")
        try:
            self._queue.admit(task.rows)
        except ServingError as error:
            self.set_exception(error)
            return
        threads = self._direct.embedded.threads
        if self._queue.put(task):
            # What else comes in this turn of the event loop shares the batch,
            self._loop.call_soon(threads.wake)
        if self._queue.waiting >= _ENOUGH_TO_RUN and threads.wants_help():
            # up to a size where a run meanwhile gains more than a larger batch would.
            # The thread can only begin while this one lets go of the interpreter.
            threads.wake()
            time.sleep(_LET_GO_S)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Returns the event loop."""
        return self._loop

    def done(self) -> bool:
        """Whether it has ended."""
        return self._done

    def set_result(self, result: Arrays, /) -> None:
        """Sends the outputs."""
        if self._done:
            return
        now = time.monotonic()
        metrics, model = self._direct.metrics, self._spec.name
        metrics.ran(model, "Predict", now - self._since)
        size = _BYTES_OF_A_NUMBER * sum(array.size for array in result.values())
        if size > rest_http.LARGE_BYTES:
            self._writing = self._loop.create_task(self._answer_later(result, size))
            return
        try:
            self._answer(result, self._write(result))
        except Exception as error:
            self.set_exception(error)

    def set_exception(self, exception: BaseException, /) -> None:
        """Sends what went wrong."""
        if self._done:
            return
        self._end(rest_errors.status(exception))
        self._connection.finish(self, rest_errors.response(exception))

    def cancel(self, msg: object = None) -> None:
        """Ends it because the server does: uvicorn does so to tasks."""
        del msg
        gone = UnavailableError("The server is shutting down.")
        # Not at once: whoever cancels goes through the set of all calls.
        self._loop.call_soon(self.set_exception, gone)

    def drop(self) -> None:
        """Takes note that the client has gone."""
        if not self._done:
            self._end("CANCELLED")

    def _on_late(self) -> None:
        seconds = self._direct.timeout_s
        self.set_exception(
            DeadlineExceededError(f"Timed out: no answer within {seconds:g} s.")
        )

    async def _answer_later(self, outputs: Arrays, size: int) -> None:
        try:
            text = await rest_http.off_loop(size, self._write, outputs)
            if not self._done:
                self._answer(outputs, text)
        except Exception as error:
            self.set_exception(error)

    def _write(self, outputs: Arrays) -> str:
        write = json_encode.predictions if self._in_rows else json_encode.outputs
        return write(outputs)

    def _answer(self, outputs: Arrays, text: str) -> None:
        spec, log = self._spec, self._direct.log
        answer = Prediction(outputs, self._version.number, self._name)
        observed_predictor.log_prediction(log, spec, self._inputs, (), answer)
        seconds = time.monotonic() - self._since
        self._direct.metrics.answered(spec.name, "predict", "REST", seconds)
        self._end(None)
        self._connection.finish(self, rest_http.json_response(text))

    def _end(self, status: str | None) -> None:
        """Lets go of the version, and counts a call that was not answered."""
        self._done = True
        self._late.cancel()
        self._direct.embedded.versions.release(self._version)
        if status is not None:
            self._direct.metrics.ended(self._spec.name, status)


@functools.lru_cache(maxsize=_KNOWN_PATHS)
def _spec(path: bytes) -> ModelSpec | None:
    """What a path asks to predict; None for another one."""
    match: re.Match[str] | None = rest_paths.CALL.fullmatch(path.decode("latin-1"))
    if match is None or match[4].lower() != "predict":
        return None
    try:
        return rest_paths.model_spec(match)
    except ServingError:
        return None
