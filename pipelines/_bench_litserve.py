"""LitServe in front of a SavedModel, as its documentation shows batching.

Imported where LitServe is installed, by the processes that it starts too.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import litserve
import numpy as np

from pipelines import _bench_peers as peers

_MAX_REQUESTS = 64
_WAIT_S = 0.002


class _Api(litserve.LitAPI):  # type: ignore[misc]
    """Batches requests, each of any number of rows."""

    version = ""

    def setup(self, device: str) -> None:
        """Loads the SavedModel, in the worker."""
        self._model = peers.saved_model(self.version)

    def decode_request(self, request: dict[str, Any]) -> list[Any]:
        """Takes the rows of a request of TF Serving's REST API."""
        instances: list[Any] = request["instances"]
        return instances

    def batch(self, inputs: Sequence[list[Any]]) -> tuple[list[Any], list[int]]:
        """Joins requests."""
        return [row for rows in inputs for row in rows], [len(rows) for rows in inputs]

    def predict(self, batch: Any) -> tuple[list[Any], list[int]]:
        """Runs a batch."""
        rows, sizes = batch
        return peers.rows(self._model(rows)), sizes

    def unbatch(self, output: tuple[list[Any], list[int]]) -> list[list[Any]]:
        """Gives each request its rows."""
        rows, sizes = output
        ends = np.cumsum(sizes)
        return [rows[end - size : end] for end, size in zip(ends, sizes, strict=True)]

    def encode_response(self, output: list[Any]) -> dict[str, list[Any]]:
        """Answers as TF Serving does."""
        return {"predictions": output}


def serve(version: str, path: str, say_ready: Callable[[int], None]) -> None:
    """Serves until the process is ended.

    Args:
        version: The version's folder.
        path: Of requests.
        say_ready: Called with the port, once requests are answered.
    """
    api = _Api(max_batch_size=_MAX_REQUESTS, batch_timeout=_WAIT_S, api_path=path)
    api.version = version
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    port = peers.free_port()
    args = (f"http://{peers.HOST}:{port}/health", port, say_ready)
    threading.Thread(target=peers.wait_for, args=args, daemon=True).start()
    server.run(
        host=peers.HOST, port=port, log_level="error", generate_client_file=False
    )
