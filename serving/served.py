"""What a server answers from: SavedModels in its own process, or other servers."""

import asyncio
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from serving import batching_options, grpc_engine, model_config, version_folders
from serving.config_reloader import ConfigReloader
from serving.direct_predict import DirectPredict
from serving.embedded import EmbeddedPredictor
from serving.errors import FailedPreconditionError
from serving.flags import ServerOptions
from serving.grpc_observed import ObservedPredictionService
from serving.grpc_server import GrpcServer
from serving.metrics import exposition
from serving.model_service import ModelService
from serving.native_server import NativeServer
from serving.observed_predictor import ObservedPredictor
from serving.predictor import Predictor
from serving.profiler_service import ProfilerService
from serving.request_log import RequestLog
from serving.rest_direct import RestDirect
from serving.rest_http import Headers
from serving.served_models import ServedModels
from serving.server_metrics import ServerMetrics, gauges
from serving.v2_service import InferenceService
from serving.version_policy import Source


class Served(Protocol):
    """What a `serving.server.Server` starts, asks and stops."""

    predictor: Predictor
    counters: ServerMetrics | None

    def grpc_server(self) -> GrpcServer | NativeServer:
        """Returns the gRPC server that answers from it; it does not listen yet.

        Raises:
            InvalidRequestError: No engine can do what the options ask for.
        """
        ...

    def rest_direct(self, timeout_s: float, headers: Headers) -> RestDirect | None:
        """Returns what answers plain REST calls before the application does, if any.

        Args:
            timeout_s: Seconds that an answer may take.
            headers: Of every response.
        """
        ...

    def start(self) -> None:
        """Begins to load, or to probe."""
        ...

    async def stop(self) -> None:
        """Frees everything. The calls in flight are over by then."""
        ...

    def settled(self) -> bool:
        """Whether all that was there at the start is loaded, or has failed."""
        ...

    def ready(self) -> bool:
        """Whether some request can be answered."""
        ...

    async def watch(self) -> None:
        """Goes on for as long as requests can be answered at all.

        Raises:
            OSError: They no longer can.
        """
        ...

    def announcement(self) -> str:
        """Returns what is served, for the line that says where."""
        ...

    def advice(self) -> str:
        """Returns what to do where something is amiss; "" for nothing."""
        ...

    def readiness(self) -> dict[str, Any]:
        """Returns what `/readyz` tells beside the models."""
        ...

    def metrics(self) -> str:
        """Returns the counters as Prometheus reads them; "" for none."""
        ...


class Embedded:
    """SavedModels in this process, as what a server answers from."""

    def __init__(
        self, options: ServerOptions, *, on_change: Callable[[], None]
    ) -> None:
        """Prepares; `start` begins to load.

        Args:
            options: What to serve, and how.
            on_change: See `EmbeddedPredictor`.

        Raises:
            ServingError: A config file is refused.
        """
        self._options = options
        models = _served_models(options)
        embedded = options.embedded
        if options.batching_file is not None:
            batching = batching_options.read(options.batching_file)
            embedded = dataclasses.replace(embedded, batching=batching)
        counters = ServerMetrics(lambda name: name in self._embedded.versions.models)
        self.counters: ServerMetrics | None = counters
        self._log = RequestLog(models.request_log, counters)
        self._counters = counters
        self._embedded = EmbeddedPredictor(
            models.sources,
            embedded,
            on_change=on_change,
            labelled=models.labelled,
            metrics=counters,
        )
        self._reloader = ConfigReloader(models, self._embedded.versions)
        self._follow: asyncio.Task[None] | None = None
        self.predictor: Predictor = ObservedPredictor(
            self._embedded, counters, self._log
        )

    def grpc_server(self) -> GrpcServer | NativeServer:
        """Returns the gRPC server that answers from it; it does not listen yet.

        Raises:
            InvalidRequestError: The engine that is named cannot do what is asked for.
        """
        observed = (self._embedded, self._counters, self._log)
        as_content = self._options.as_content
        server = GrpcServer(
            ObservedPredictionService(*observed, as_content=as_content),
            ModelService(self._embedded, self._reloader, metric=self._counters.value),
            InferenceService(self.predictor, self.ready, self._counters),
            ProfilerService() if self._options.serves_profiler else None,
        )
        direct = DirectPredict(*observed, as_content=as_content)
        return grpc_engine.choose(server, self._options.grpc, direct)

    def rest_direct(self, timeout_s: float, headers: Headers) -> RestDirect:
        """Returns what answers plain REST calls."""
        return RestDirect(
            self._embedded,
            self._counters,
            self._log,
            timeout_s=timeout_s,
            headers=headers,
        )

    def start(self) -> None:
        """Begins to load. Needs a running event loop."""
        self._embedded.start()
        file, wait_s = self._options.model_config_file, self._options.config_file_wait_s
        if file is not None and wait_s > 0:
            follow = self._reloader.follow_file(file, wait_s)
            self._follow = asyncio.create_task(follow)

    async def stop(self) -> None:
        """Frees everything. The calls in flight are over by then."""
        if self._follow is not None:
            self._follow.cancel()
        # Versions may take a moment to close: off the event loop.
        await asyncio.to_thread(self._embedded.stop)
        await asyncio.to_thread(self._log.close)

    def settled(self) -> bool:
        """Whether all versions that were there at the start are loaded or failed."""
        return self._embedded.versions.settled()

    def ready(self) -> bool:
        """Whether some model answers."""
        return any(self._embedded.models().values())

    async def watch(self) -> None:
        """Goes on until cancelled."""
        await asyncio.Event().wait()

    def announcement(self) -> str:
        """Returns the versions that are loaded, for the line that says where."""
        available = self._embedded.versions.available()
        models = [f"{name}/{v}" for name, found in available.items() for v in found]
        return f"models: {', '.join(models) or 'none'}"

    def advice(self) -> str:
        """Returns how to get a version where there is none."""
        if self.ready():
            return ""
        options = self._options
        where = options.model_config_file or options.store or options.model_base_path
        return (
            f"No version in `{where}` can be served yet: waiting for one. "
            "To make one, type `make train MODEL=mnist_classifier`."
        )

    def readiness(self) -> dict[str, Any]:
        """Returns nothing beside the models."""
        return {}

    def metrics(self) -> str:
        """Returns all counters as Prometheus reads them."""
        embedded = self._embedded
        seen_now = gauges(embedded.versions.states, embedded.waiting)
        return exposition([*self._counters.all(), *seen_now])


def _served_models(options: ServerOptions) -> ServedModels:
    """What to serve, as the command line says."""
    allow_labels = options.allow_labels_for_unavailable
    if options.model_config_file is not None:
        models = ServedModels(allow_labels_for_unavailable=allow_labels)
        configs = model_config.read(options.model_config_file)
        try:
            models.replace(configs, {})
        except FailedPreconditionError as error:
            raise FailedPreconditionError(
                f"{error}: at the start, none is. To let labels wait for their "
                "versions, type --allow_version_labels_for_unavailable_models."
            ) from error
        return models
    store, base_path = options.store, options.model_base_path
    if store is not None:
        found: Callable[[], Mapping[str, Source] | None] = functools.partial(
            version_folders.models_in, store
        )
    elif base_path is not None:
        found = functools.partial(dict, {options.model_name: Source(base_path)})
    else:
        raise ValueError("Expected a store or a base path. Received: neither.")
    return ServedModels(found, allow_labels_for_unavailable=allow_labels)
