"""The shim: both protocols in front of other TF Serving servers.

gRPC calls pass through as bytes, whatever their method, those of the profiler and the
Open Inference Protocol too where the servers have them; REST is answered by the same
code as embedded models, over `UpstreamPredictor`.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import grpc.aio
from grpc_health.v1 import health, health_pb2

from serving import grpc_engine, upstream_calls
from serving.direct_forward import DirectForward
from serving.errors import ServingError, UnimplementedError
from serving.grpc_options import GrpcOptions
from serving.grpc_server import GrpcServer
from serving.native_server import NativeServer
from serving.predictor import Predictor
from serving.rest_http import Headers
from serving.server_metrics import ServerMetrics
from serving.upstream_calls import Forwarded, Metadata
from serving.upstream_health import HealthOptions
from serving.upstream_pool import Pool
from serving.upstream_predictor import UpstreamPredictor
from serving.upstream_tls import UpstreamTls


class Upstream:
    """Other servers, as what a `serving.server.Server` answers from."""

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        timeout_s: float,
        on_change: Callable[[], None],
        options: HealthOptions | None = None,
        tls: UpstreamTls | None = None,
        forwards_profiler: bool = True,
        grpc_options: GrpcOptions | None = None,
    ) -> None:
        """Prepares; `start` begins to probe. Needs a running event loop.

        Args:
            addresses: `host:port` or `unix:path` of each server.
            timeout_s: Seconds for what the shim itself asks them.
            on_change: Called after a server's first probe, and when it comes or goes.
            options: When a server is taken out, and when it comes back.
            tls: What connections to them are encrypted with; None for nothing.
            forwards_profiler: Whether traces of the servers may be asked for.
            grpc_options: How the shim itself speaks gRPC.

        Raises:
            InvalidRequestError: A file of `tls` is refused.
        """
        credentials = None if tls is None else tls.credentials()
        self._pool = Pool(
            addresses, options, on_change=on_change, credentials=credentials
        )
        self._forwards_profiler = forwards_profiler
        self._grpc_options = grpc_options or GrpcOptions()
        self._upstream = UpstreamPredictor(self._pool, timeout_s=timeout_s)
        self.predictor: Predictor = self._upstream
        self.counters: ServerMetrics | None = None  # each server counts its own

    def grpc_server(self) -> GrpcServer | NativeServer:
        """Returns a gRPC server that passes all calls of TF Serving's API on.

        Raises:
            InvalidRequestError: The engine that is named cannot do what is asked for.
        """
        server = GrpcServer(
            forward=self.forward, health_servicer=_ModelHealth(self._upstream)
        )
        direct = DirectForward(self._pool)
        return grpc_engine.choose(server, self._grpc_options, direct)

    def rest_direct(self, timeout_s: float, headers: Headers) -> None:
        """Returns nothing: every REST call becomes one by gRPC."""
        del timeout_s, headers

    def start(self) -> None:
        """Begins to probe the servers."""
        self._pool.start()

    async def stop(self) -> None:
        """Closes the connections. The calls in flight are over by then."""
        await self._pool.stop()

    def settled(self) -> bool:
        """Whether every server was probed."""
        return self._pool.settled()

    def ready(self) -> bool:
        """Whether some server takes requests."""
        return self._pool.ready()

    async def watch(self) -> None:
        """Goes on until cancelled: servers that are gone may come back."""
        await asyncio.Event().wait()

    def announcement(self) -> str:
        """Returns what is served, for the line that says where."""
        return f"upstream: {', '.join(self._pool.problems())}"

    def advice(self) -> str:
        """Returns what to do where something is amiss; "" for nothing."""
        return "\n".join(
            f"Upstream {address} is not ready: {why}. It is asked again every second."
            for address, why in self._pool.problems().items()
            if why
        )

    def readiness(self) -> dict[str, Any]:
        """Returns the counters of every server, for `/readyz`."""
        problems = self._pool.problems()
        return {
            "upstream": {
                address: {**numbers, "problem": problems[address]}
                for address, numbers in self._pool.registry.read().items()
            }
        }

    def metrics(self) -> str:
        """Returns all counters as Prometheus reads them."""
        return self._pool.registry.prometheus()

    async def forward(
        self, path: str, data: bytes, timeout_s: float | None, metadata: Metadata
    ) -> Forwarded:
        """Answers one call with an upstream server's bytes and metadata.

        Raises:
            grpc.aio.AioRpcError: It answers with an error.
            ServingError: No server could be reached.
        """
        if not self._forwards_profiler and upstream_calls.is_profiling(path):
            raise UnimplementedError(
                "The profiler is turned off (--enable_profiler=false)."
            )
        is_for_all = upstream_calls.is_for_all(path)
        call = self._pool.call_all if is_for_all else self._pool.call
        reply = await call(path, data, timeout_s=timeout_s, metadata=metadata)
        return await reply.forwarded()


class _ModelHealth(health.aio.HealthServicer):  # type: ignore[misc]
    """Also knows the models that the upstream servers have, by their names."""

    def __init__(self, predictor: UpstreamPredictor) -> None:
        super().__init__()
        self._predictor = predictor
        self._told: set[str] = set()

    async def set(
        self, service: str, status: health_pb2.HealthCheckResponse.ServingStatus
    ) -> None:
        """Takes the status of a name that is the shim's own."""
        self._told.add(service)
        await super().set(service, status)

    async def Check(  # noqa: N802 -- the .proto names it
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        """Answers from what the server told, and asks upstream about other names."""
        response = health_pb2.HealthCheckResponse
        if request.service in self._told:
            return await super().Check(request, context)
        try:
            versions = await self._predictor.status(request.service)
        except ServingError as error:
            await context.abort(error.grpc_code, str(error))
        available = any(version.state == "AVAILABLE" for version in versions)
        return response(status=response.SERVING if available else response.NOT_SERVING)
