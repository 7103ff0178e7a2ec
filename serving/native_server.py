"""The gRPC front outside the interpreter's lock: HTTP/2 in Rust, calls in batches.

One thread at a time receives. It puts plain Predict calls into their queues, has the
event loop answer the others, lets the next thread receive, and runs a batch itself. So
a Predict call changes threads once, on its way out of Rust. The shim's sends plain
calls on to a server itself.

What the front does not answer, such as streams and health, goes on to the grpcio server
behind it, over a Unix socket; so does a method that nobody has.
"""

import asyncio
import functools
import logging
import pathlib
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence

import grpc.aio
from pygrpc_native import NativeGrpcFront

from serving import listening, native_options
from serving.errors import BUG, ResourceExhaustedError, ServingError, UnavailableError
from serving.grpc_intake import Event, Intake
from serving.grpc_options import GrpcOptions
from serving.grpc_server import GrpcServer, shortened
from serving.grpc_sink import Call, Direct
from serving.upstream_calls import Metadata, passed_on

logger = logging.getLogger(__name__)

# For which calls are taken before what came meanwhile is looked at, and others have
# their turn. Most take far less; large ones may take longer than this each.
_TURN_S = 0.002
_SOCKET = "grpcio"


class NativeServer:
    """One listening port, as `GrpcServer` has it, and in front of one.

    For one event loop. Implements `grpc_sink.Sink`.
    """

    def __init__(self, server: GrpcServer, direct: Direct | None = None) -> None:
        """Makes a server that does not listen yet.

        Args:
            server: Has the methods, and answers what the front does not.
            direct: Answers plain calls without the event loop; None where the event
                loop answers all.
        """
        self._server = server
        self._direct = direct
        self._threads_to_help = direct.threads if direct else None
        self._paths = [*server.calls, *server.forwarded]
        self._receiving = threading.Lock()
        self._in_flight: dict[int, Call] = {}
        self._for_loop: dict[int, Event] = {}  # which has not begun them yet
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._threads: list[threading.Thread] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._front: NativeGrpcFront
        self._intake: Intake

    async def start(
        self, host: str, port: int, options: GrpcOptions | None = None
    ) -> int:
        """Listens, and returns the port. See `GrpcServer.start`."""
        options = options or GrpcOptions()
        self._loop = asyncio.get_running_loop()
        arguments, self._max_bytes = native_options.arguments(options)
        address = listening.address(host, port)
        if port > 0:
            # The front would tell why it failed in fewer words.
            listening.open_socket(host, port, "gRPC").close()
        methods = [(path, False) for path in self._paths]
        try:
            self._front = NativeGrpcFront(
                address, methods, call_details=True, metrics=True, **arguments
            )
        except OSError as error:
            raise OSError(f"Cannot listen on {address} for gRPC: {error}.") from error
        self._intake = Intake(self._front, self._cancel, self.refuse)
        self._folder = tempfile.TemporaryDirectory(prefix="maaskit-")
        socket_path = str(pathlib.Path(self._folder.name) / _SOCKET)
        behind = native_options.behind(options, socket_path)
        await self._server.start(host, -1, behind)
        self._front.set_fallback(socket_path)
        self._front.start()
        # One more than may run batches: somebody always receives.
        helped = self._threads_to_help
        count = 1 + (helped.count if helped else 0)
        for number in range(count):
            name = f"grpc-{number}"
            thread = threading.Thread(target=self._serve, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
        return self._front.bound_port

    async def set_health(self, serving: Mapping[str, bool]) -> None:
        """Tells health checks how each name fares; see `GrpcServer.set_health`."""
        await self._server.set_health(serving)

    async def stop(self, drain_s: float) -> None:
        """Refuses new calls, and lets those in flight end.

        Args:
            drain_s: Seconds that they have; then they are cancelled.
        """
        await self._server.stop(drain_s, self._is_busy)
        if self._folder is None:
            return
        self._front.close()
        for task in list(self._tasks.values()):
            task.cancel()
        for call in list(self._in_flight.values()):
            call.cancel()
        # They may be in the middle of a run.
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        self._folder.cleanup()

    def answer(
        self,
        call_id: int,
        data: bytes,
        initial: Metadata = (),
        trailing: Metadata = (),
    ) -> None:
        """Sends a message, and metadata before and after it; in any thread."""
        self._in_flight.pop(call_id, None)
        self._front.respond(call_id, data, initial or None, trailing or None)

    def refuse(self, call_id: int, error: ServingError) -> None:
        """Sends a status, in any thread."""
        self._in_flight.pop(call_id, None)
        code = error.grpc_code.value[0]
        self._front.fail(call_id, code, shortened(str(error)))

    def fail(self, call_id: int, error: grpc.aio.AioRpcError) -> None:
        """Sends another server's status, in any thread.

        Metadata that it sent before are lost: the front has no place for them.
        """
        self._in_flight.pop(call_id, None)
        code = error.code().value[0]
        trailing = passed_on(error.trailing_metadata())
        self._front.fail(call_id, code, error.details() or "", trailing or None)

    def _is_busy(self) -> bool:
        """Whether some call of the front is not answered yet, to the last byte."""
        counts = (self._front.metrics() or {})["methods"] if self._folder else {}
        return any(
            counts[path]["started"]
            > sum(status["count"] for status in counts[path]["status"].values())
            for path in self._paths
            if path in counts
        )

    def _serve(self) -> None:
        """What each thread does: receives in its turn, then helps to run batches."""
        threads = self._threads_to_help
        while True:
            with self._receiving:
                if not self._receive():
                    return
                while threads is None or not threads.wants_help():
                    if not self._receive():
                        return
            threads.help()

    def _receive(self) -> bool:
        """Waits for calls and passes them on; False once the front is closed."""
        waiting = sum(len(event[3]) for event in list(self._for_loop.values()))
        if not self._intake.receive(waiting):
            return False
        end = time.monotonic() + _TURN_S
        for_loop: list[int] = []
        while (event := self._intake.take()) is not None:
            if not self._takes(event):
                self._for_loop[event[1]] = event
                for_loop.append(event[1])
            if time.monotonic() > end:
                break
        if for_loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._begin, for_loop)
        return True

    def _cancel(self, call_id: int) -> None:
        """Gives up a call that was taken, wherever it is."""
        call = self._in_flight.pop(call_id, None)
        if call is not None:
            call.cancel()
        elif self._for_loop.pop(call_id, None) is None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel_task, call_id)

    def _takes(self, event: Event) -> bool:
        """Whether a call needs no event loop; then all is done that it needs."""
        _, call_id, method, data, _, details = event
        try:
            if self._server.is_draining:
                raise UnavailableError("The server is shutting down.")
            if self._max_bytes is not None and len(data) > self._max_bytes:
                raise ResourceExhaustedError(
                    "SERVER: Received message larger than max "
                    f"({len(data)} vs. {self._max_bytes})"
                )
            if self._direct is None:
                return False
            call = self._direct.take(call_id, self._paths[method], data, details, self)
            if call is None:
                return False
            self._in_flight[call_id] = call
            call.start()
        except ServingError as error:
            self.refuse(call_id, error)
        except Exception:  # a bug here must not cost a thread
            logger.exception("Unexpected error while receiving a call")
            self.refuse(call_id, ServingError(BUG))
        return True

    def _begin(self, call_ids: Sequence[int]) -> None:
        """Starts calls of the event loop."""
        for call_id in call_ids:
            task = self._loop.create_task(self._call(call_id))
            self._tasks[call_id] = task
            # Not in the task: one that is cancelled at once never begins.
            task.add_done_callback(functools.partial(self._forget, call_id))

    def _forget(self, call_id: int, _: asyncio.Task[None]) -> None:
        self._tasks.pop(call_id, None)

    def _cancel_task(self, call_id: int) -> None:
        if task := self._tasks.get(call_id):
            task.cancel()

    async def _call(self, call_id: int) -> None:
        """Answers one call on the event loop, unless it was given up meanwhile."""
        event = self._for_loop.pop(call_id, None)
        if event is None:
            return
        _, _, method, data, _, (metadata, _, timeout_s) = event
        path = self._paths[method]
        try:
            if call := self._server.calls.get(path):
                message = await call(data, timeout_s)
                self.answer(call_id, message.SerializeToString())
            elif self._server.forward:
                sent = passed_on(metadata)
                found = await self._server.forward(path, data, timeout_s, sent)
                self.answer(call_id, found.data, found.initial, found.trailing)
        except ServingError as error:
            self.refuse(call_id, error)
        except grpc.aio.AioRpcError as error:
            self.fail(call_id, error)
        except Exception:
            logger.exception("Unexpected error while answering %s", path)
            self.refuse(call_id, ServingError(BUG))
