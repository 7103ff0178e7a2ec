"""What a server answers from: SavedModels in its own process, or other servers."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from serving import version_folders
from serving.embedded import EmbeddedPredictor
from serving.flags import ServerOptions
from serving.grpc_server import GrpcServer
from serving.model_service import ModelService
from serving.prediction_service import PredictionService
from serving.predictor import Predictor
from serving.version_manager import Sources


class Served(Protocol):
    """What a `serving.server.Server` starts, asks and stops."""

    predictor: Predictor

    def grpc_server(self) -> GrpcServer:
        """Returns the gRPC server that answers from it; it does not listen yet."""
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
        """Prepares; `start` begins to load."""
        self._options = options
        self._embedded = EmbeddedPredictor(
            _sources(options), options.embedded, on_change=on_change
        )
        self.predictor: Predictor = self._embedded

    def grpc_server(self) -> GrpcServer:
        """Returns the gRPC server that answers from it; it does not listen yet."""
        return GrpcServer(
            PredictionService(self._embedded, as_content=self._options.as_content),
            ModelService(self._embedded),
        )

    def start(self) -> None:
        """Begins to load."""
        self._embedded.start()

    async def stop(self) -> None:
        """Frees everything. The calls in flight are over by then."""
        # Versions may take a moment to close: off the event loop.
        await asyncio.to_thread(self._embedded.stop)

    def settled(self) -> bool:
        """Whether all versions that were there at the start are loaded or failed."""
        return self._embedded.versions.settled()

    def ready(self) -> bool:
        """Whether some model answers."""
        return any(self._embedded.models().values())

    def announcement(self) -> str:
        """Returns the versions that are loaded, for the line that says where."""
        available = self._embedded.versions.available()
        models = [f"{name}/{v}" for name, found in available.items() for v in found]
        return f"models: {', '.join(models) or 'none'}"

    def advice(self) -> str:
        """Returns how to get a version where there is none."""
        if self.ready():
            return ""
        where = self._options.store or self._options.model_base_path
        return (
            f"No version in `{where}` can be served yet: waiting for one. "
            "To make one, type `make train MODEL=mnist_classifier`."
        )

    def readiness(self) -> dict[str, Any]:
        """Returns nothing beside the models."""
        return {}

    def metrics(self) -> str:
        """Returns no counters: there are none yet."""
        return ""


def _sources(options: ServerOptions) -> Sources:
    store = options.store
    if store is not None:
        return lambda: version_folders.models_in(store)
    base_path = options.model_base_path
    if base_path is None:
        raise ValueError("Expected a store or a base path. Received: neither.")
    return lambda: {options.model_name: base_path}
