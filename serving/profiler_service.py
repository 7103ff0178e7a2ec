"""TensorFlow's profiler over gRPC: a trace of what the server does while it answers.

TensorBoard's "capture profile" and `tf.profiler.experimental.client` ask it. TF Serving
writes the trace to a folder that the caller names, on the server. Here it goes back in
the answer, and the caller's own library writes it to that folder: nobody writes files
over the network, and a caller on another machine gets the trace too.
"""

import asyncio
import contextlib
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from savedmodels import protos
from serving import errors
from serving.errors import (
    FailedPreconditionError,
    InvalidRequestError,
    ServingError,
    UnimplementedError,
)
from serving.profiler_protos import ProfileResponse, TerminateResponse

# A trace is held in memory, and grows with every op that runs meanwhile.
_LONGEST_MS = 60_000
# Name under which the caller's library keeps it, behind the name of the server.
_TRACE = "xplane.pb"


class ProfilerService:
    """Answers `tensorflow.ProfilerService`. For one event loop."""

    def __init__(self) -> None:
        """Traces nothing yet."""
        self._running: dict[str, asyncio.Event] = {}

    async def profile(self, request: Any, timeout_s: float | None) -> Any:
        """Traces for as long as is asked for, and returns the trace.

        Raises:
            FailedPreconditionError: No version has brought TensorFlow.
            ServingError: Another trace is being made.
            InvalidRequestError: It would be too long.
        """
        del timeout_s  # a caller that is gone cancels this
        milliseconds = request.opts.duration_ms or request.duration_ms
        if milliseconds > _LONGEST_MS:
            raise InvalidRequestError(
                f"A trace of {milliseconds} ms is too long. Expected {_LONGEST_MS} ms "
                "at most."
            )
        if protos.light():
            raise FailedPreconditionError(
                "There is nothing to profile: this server runs without TensorFlow, "
                "since LiteRT answers all that was asked. Start it with "
                "--cpu_engine=tensorflow to see TensorFlow's trace."
            )
        if self._running:
            raise _busy("Another profiling session is active.")
        stop = self._running[request.session_id] = asyncio.Event()
        try:
            trace = await self._trace(request.opts, stop, milliseconds / 1000)
        finally:
            del self._running[request.session_id]
        response = ProfileResponse(empty_trace=not trace)
        if trace:
            response.tool_data.add(name=_TRACE, data=trace)
        return response

    async def terminate(self, request: Any, timeout_s: float | None) -> Any:
        """Ends a trace before its time; it is returned as far as it came."""
        del timeout_s
        if request.session_id in self._running:
            self._running[request.session_id].set()
        return TerminateResponse()

    async def monitor(self, request: Any, timeout_s: float | None) -> Any:
        """Refuses, as TensorFlow does where there is no TPU."""
        del request, timeout_s
        raise UnimplementedError("unimplemented.")

    async def _trace(self, options: Any, stop: asyncio.Event, seconds: float) -> bytes:
        with tempfile.TemporaryDirectory(prefix="maaskit-profile-") as folder:
            profiler = protos.import_tensorflow().profiler.experimental
            try:
                with _as_serving_errors():
                    await _to_its_end(profiler.start, folder, _options(options))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await stop.wait()
            except asyncio.CancelledError:
                profiler.stop(save=False)
                raise
            with _as_serving_errors():
                await _to_its_end(profiler.stop)
            return await asyncio.to_thread(_read, pathlib.Path(folder))


async def _to_its_end(function: Callable[..., None], *args: Any) -> None:
    """Calls something in another thread; cancelled, it waits for that first."""
    call = asyncio.ensure_future(asyncio.to_thread(function, *args))
    try:
        await asyncio.shield(call)
    except asyncio.CancelledError:
        # What it raises tells more than that nobody waits for it.
        await call
        raise


def _options(asked: Any) -> Any:
    profiler = protos.import_tensorflow().profiler.experimental
    return profiler.ProfilerOptions(
        host_tracer_level=asked.host_tracer_level,
        python_tracer_level=asked.python_tracer_level,
        device_tracer_level=asked.device_tracer_level,
    )


def _read(folder: pathlib.Path) -> bytes:
    for file in folder.rglob(f"*.{_TRACE}"):
        return file.read_bytes()
    return b""


@contextlib.contextmanager
def _as_serving_errors() -> Iterator[None]:
    """Tells why TensorFlow has no trace: someone else makes one, mostly."""
    try:
        yield
    except Exception as error:
        if type(error).__name__ == "AlreadyExistsError":
            raise _busy(str(error)) from error
        raise ServingError(f"The profiler failed: {error}") from error


def _busy(text: str) -> ServingError:
    """Clients of the profiler try again after this one."""
    return errors.of_grpc_code(grpc.StatusCode.ALREADY_EXISTS.value[0], text)
