"""BentoML in front of a SavedModel, with its adaptive batching.

Imported where BentoML is installed, by the processes that it starts too. These know
the version and the path of requests from the environment.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import bentoml

from pipelines import _bench_peers as peers

_VERSION, _PATH = "MAASKIT_BENCH_VERSION", "MAASKIT_BENCH_PATH"
_MAX_ROWS = 64
_MAX_LATENCY_MS = 60_000  # beyond it requests are refused, which ends a benchmark


@bentoml.service(workers=1, traffic={"timeout": 60})
class Service:
    """One worker."""

    def __init__(self) -> None:
        self._model = peers.saved_model(os.environ[_VERSION])

    @bentoml.api(  # type: ignore[untyped-decorator]
        route=os.environ.get(_PATH, "/predict"),
        batchable=True,
        max_batch_size=_MAX_ROWS,
        max_latency_ms=_MAX_LATENCY_MS,
    )
    def predict(self, instances: list[Any]) -> list[Any]:
        """Answers the rows of several requests, without the word `predictions`."""
        return peers.rows(self._model(instances))


def serve(version: str, path: str, say_ready: Callable[[int], None]) -> None:
    """Serves until the process is ended.

    Args:
        version: The version's folder.
        path: Of requests.
        say_ready: Called with the port, once requests are answered.
    """
    port = peers.free_port()
    where = ["--host", peers.HOST, "--port", str(port)]
    child = subprocess.Popen(
        [sys.executable, "-m", "bentoml", "serve", f"{__name__}:Service", *where],
        env={**os.environ, _VERSION: version, _PATH: path, "BENTOML_DO_NOT_TRACK": "1"},
        stdout=subprocess.DEVNULL,
    )
    peers.wait_for(f"http://{peers.HOST}:{port}/readyz", port, say_ready)
    child.wait()
