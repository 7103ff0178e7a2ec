"""The gRPC front: method names, deadlines, statuses, health; on grpc.aio.

Everything that is answered is in the services; this binds them to the engine.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from serving import grpc_descriptors, grpc_listening, grpc_methods
from serving.errors import BUG, ServingError, UnavailableError
from serving.grpc_methods import Method, Methods
from serving.grpc_options import GrpcOptions
from serving.model_service import ModelService
from serving.prediction_service import PredictionService
from serving.profiler_service import ProfilerService
from serving.upstream_calls import Forwarded, Metadata, passed_on
from serving.v2_service import InferenceService

logger = logging.getLogger(__name__)

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
INFERENCE_SERVICE = "inference.GRPCInferenceService"
PROFILER_SERVICE = "tensorflow.ProfilerService"
# TF Serving's binary knows the services to health checks by these names.
HEALTH_NAMES = ("PredictionService", "ModelService", PREDICTION_SERVICE, MODEL_SERVICE)

# What is passed on to other servers, whatever the method.
_FORWARDED = (
    "/tensorflow.serving.",
    f"/{INFERENCE_SERVICE}/",
    f"/{PROFILER_SERVICE}/",
)
_MAX_TEXT = 1024
_STRAGGLERS_S = 0.3  # for calls that were sent before the client heard of the stop
_POLL_S = 0.01
_LAST_ANSWERS_S = 0.5  # to send what is answered; calls beyond it are cancelled
_INT32_MAX = 2**31 - 1
_OPTIONS: Mapping[str, int | str] = {
    "grpc.max_receive_message_length": _INT32_MAX,
    "grpc.max_send_message_length": _INT32_MAX,
    # Two servers on one port would share its calls, without a word.
    "grpc.so_reuseport": 0,
}

# Takes a request's bytes and the seconds left for it; returns the answer's message.
Call = Callable[[bytes, float | None], Awaitable[Any]]
# Takes /service/Method, the request's bytes, the seconds left, and metadata.
Forward = Callable[[str, bytes, float | None, Metadata], Awaitable[Forwarded]]


class GrpcServer:
    """One listening port. For one event loop."""

    def __init__(
        self,
        prediction_service: PredictionService | None = None,
        model_service: ModelService | None = None,
        inference_service: InferenceService | None = None,
        profiler_service: ProfilerService | None = None,
        *,
        forward: Forward | None = None,
        health_servicer: health.aio.HealthServicer | None = None,
    ) -> None:
        """Makes a server that does not listen yet.

        Args:
            prediction_service: Answers its calls, or None where others do.
            model_service: Likewise.
            inference_service: Likewise.
            profiler_service: Likewise.
            forward: Answers every other call of either protocol, as bytes; raises a
                `ServingError`, or `grpc.aio.AioRpcError` for another server's.
            health_servicer: Answers health checks; None for one that only knows what
                `set_health` tells.
        """
        self.calls: dict[str, Call] = {}  # by /service/Method
        self.forwarded: list[str] = []  # likewise, as far as they are known
        self.forward: Forward | None = None
        self._draining = False
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._health = health_servicer or health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        services: dict[str, Methods] = {}
        if prediction_service:
            services[PREDICTION_SERVICE] = grpc_methods.of_prediction(
                prediction_service
            )
        if model_service:
            services[MODEL_SERVICE] = grpc_methods.of_model(model_service)
        if inference_service:
            services[INFERENCE_SERVICE] = grpc_methods.of_inference(inference_service)
        if profiler_service:
            services[PROFILER_SERVICE] = grpc_methods.of_profiler(profiler_service)
        handlers = [self._handlers(*service) for service in services.items()]
        if forward:
            self.forward = self._counting(forward)
            handlers.append(_Forwarding(self.forward))
            # Their messages alone are asked for: the methods are another server's.
            services = {
                PREDICTION_SERVICE: grpc_methods.of_prediction(
                    cast(Any, PredictionService)
                ),
                MODEL_SERVICE: grpc_methods.of_model(cast(Any, ModelService)),
            }
            # Whether the servers have these is not known.
            others = {
                INFERENCE_SERVICE: grpc_methods.of_inference(
                    cast(Any, InferenceService)
                ),
                PROFILER_SERVICE: grpc_methods.of_profiler(cast(Any, ProfilerService)),
            }
            self.forwarded = [
                f"/{service}/{name}"
                for service, methods in (services | others).items()
                for name in methods
            ]
        self._services = services
        self._all_handlers = tuple(handlers)

    async def start(
        self, host: str, port: int, options: GrpcOptions | None = None
    ) -> int:
        """Listens, and returns the port.

        Args:
            host: Name or address to listen on; an IPv6 address without brackets.
            port: Port, 0 for a free one, or -1 to listen on a Unix socket alone.
            options: Settings of the engine.

        Raises:
            OSError: The port or the socket is taken, or the address is not this
                machine's.
            InvalidRequestError: The file of keys and certificates is refused.
        """
        options = options or GrpcOptions()
        settings = {**_OPTIONS, **dict(options.channel_arguments)}
        server = grpc.aio.server(options=list(settings.items()))
        server.add_generic_rpc_handlers(self._all_handlers)
        if options.serves_health:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if options.serves_reflection:
            grpc_descriptors.add_reflection(
                server, self._services, serves_health=options.serves_health
            )
        port = grpc_listening.bind(server, host, port, options)
        self._server = server
        await server.start()
        return port

    async def set_health(self, serving: Mapping[str, bool]) -> None:
        """Tells health checks how each name fares; "" is the server as a whole."""
        status = health_pb2.HealthCheckResponse
        for name, ok in serving.items():
            ok = ok and not self._draining
            await self._health.set(name, status.SERVING if ok else status.NOT_SERVING)

    @property
    def is_draining(self) -> bool:
        """Whether new calls are refused."""
        return self._draining

    async def stop(
        self, drain_s: float, busy: Callable[[], bool] = lambda: False
    ) -> None:
        """Refuses new calls, and lets those in flight end.

        Args:
            drain_s: Seconds that they have; then they are cancelled.
            busy: Whether calls are in flight of which this server does not know.
        """
        self._draining = True
        await self._health.enter_graceful_shutdown()
        # While calls end the port stays open, and a little longer: once gRPC closes it,
        # calls on their way end as CANCELLED, not with the UNAVAILABLE that clients
        # take for a reason to try elsewhere.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                await self._idle.wait()
                while busy():
                    await asyncio.sleep(_POLL_S)
                await asyncio.sleep(_STRAGGLERS_S)
        if self._server is not None:
            await self._server.stop(_LAST_ANSWERS_S)

    def _handlers(self, service: str, methods: Methods) -> grpc.GenericRpcHandler:
        handlers = {}
        for name, (method, request, response) in methods.items():
            path = f"{service}/{name}"
            call = self._call(path, method, request)
            self.calls[f"/{path}"] = call
            handlers[name] = grpc.unary_unary_rpc_method_handler(
                # gRPC would log a traceback for each message it cannot parse.
                _bound(call),
                response_serializer=response.SerializeToString,
            )
        return grpc.method_handlers_generic_handler(service, handlers)

    def _call(self, name: str, method: Method, kind: Any) -> Call:
        """Wraps a service's method: it takes bytes, and a bug is a status too."""

        async def answer(data: bytes, timeout_s: float | None) -> Any:
            try:
                with self._counted():
                    return await method(_parsed(data, kind), timeout_s)
            except ServingError:
                raise
            except Exception as error:
                logger.exception("Unexpected error while answering %s", name)
                raise ServingError(BUG) from error

        return answer

    def _counting(self, forward: Forward) -> Forward:
        """Wraps a forwarder: its calls are counted, and a bug is a status too."""

        async def answer(
            path: str, data: bytes, timeout_s: float | None, metadata: Metadata
        ) -> Forwarded:
            try:
                with self._counted():
                    return await forward(path, data, timeout_s, metadata)
            except (ServingError, grpc.aio.AioRpcError):
                raise
            except Exception as error:
                logger.exception("Unexpected error while forwarding %s", path)
                raise ServingError(BUG) from error

        return answer

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """Counts a call while it runs; refuses it once the server is to stop."""
        if self._draining:
            raise UnavailableError("The server is shutting down.")
        self._in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()


class _Forwarding(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Takes every method of either protocol, those unknown here too, as bytes."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        """Returns what answers a method, or None for one of another API."""
        path = handler_call_details.method
        if not path.startswith(_FORWARDED):
            return None
        return grpc.unary_unary_rpc_method_handler(
            functools.partial(self._answer, path)
        )

    async def _answer(
        self, path: str, data: bytes, context: grpc.aio.ServicerContext
    ) -> bytes:
        """Answers one call with an upstream server's bytes, metadata and status."""
        timeout_s = context.time_remaining()
        metadata = passed_on(context.invocation_metadata())
        try:
            found = await self._forward(path, data, timeout_s, metadata)
        except ServingError as error:
            await context.abort(error.grpc_code, shortened(str(error)))
            raise AssertionError("abort raises") from error
        except grpc.aio.AioRpcError as error:
            if initial := passed_on(error.initial_metadata()):
                await context.send_initial_metadata(initial)
            trailing = passed_on(error.trailing_metadata())
            await context.abort(error.code(), error.details() or "", trailing)
            raise AssertionError("abort raises") from error
        if found.initial:
            await context.send_initial_metadata(found.initial)
        if found.trailing:
            context.set_trailing_metadata(found.trailing)
        return found.data


def _bound(call: Call) -> Callable[..., Awaitable[Any]]:
    """Makes a call one that grpc.aio knows: its errors become statuses."""

    async def answer(data: bytes, context: grpc.aio.ServicerContext) -> Any:
        try:
            return await call(data, context.time_remaining())
        except ServingError as error:
            code, text = error.grpc_code, str(error)
        await context.abort(code, shortened(text))

    return answer


def shortened(text: str) -> str:
    """Returns an error's text, cut as TF Serving cuts it for gRPC's headers."""
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "...TRUNCATED"


def _parsed(data: bytes, kind: Any) -> Any:
    """The message that `data` holds; INTERNAL where it holds none, as in C++ gRPC."""
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise ServingError(
            f"The request cannot be parsed. Expected a {kind.DESCRIPTOR.full_name}. "
            f"Received: {len(data)} bytes that are none."
        ) from error
