"""Servers as people write them, which `make bench` compares with.

Each is a process of its own that says `ready host:port` once it answers.
"""

import asyncio
import contextlib
import os
import pathlib
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pipelines import _bench_cells as cells
from serving.servable import DEFAULT_SIGNATURE

HOST = "127.0.0.1"
_LOOK_S = 0.05

# Takes the rows of a request, returns the outputs of all rows by alias.
Model = Callable[[list[Any]], dict[str, np.ndarray]]


def main(name: str, *arguments: str) -> None:
    """Runs one of them until the process is ended.

    Args:
        name: A contender of `_bench_cells`.
        arguments: For the empty server the sizes of its answers, else the version's
            folder and the path of requests.
    """
    signal.signal(signal.SIGTERM, _end_all)
    if name == cells.EMPTY:
        asyncio.run(_serve_empty([int(size) for size in arguments]))
        return
    from pipelines import _bench_web

    version, path = arguments
    if name == cells.BY_HAND:
        asyncio.run(_bench_web.serve_uvicorn(saved_model(version)))
    elif name == cells.KERAS:
        _bench_web.serve_http(_keras_model(version))
    elif name == cells.FASTAPI:
        asyncio.run(_bench_web.serve_fastapi(saved_model(version), path))
    elif name == cells.FLASK:
        _bench_web.serve_flask(_keras_model(version), path)
    elif name == cells.LITSERVE:
        from pipelines import _bench_litserve

        _bench_litserve.serve(version, path, say_ready)
    else:
        from pipelines import _bench_bentoml

        _bench_bentoml.serve(version, path, say_ready)


def _end_all(*_: object) -> None:
    """Ends the processes that a server started, and theirs, and this one."""
    found = [os.getpid()]
    for pid in found:  # which grows meanwhile
        for file in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, file.read_text().split())
    for pid in reversed(found):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def _serve_empty(sizes: list[int]) -> None:
    """Answers gRPC without any work: `/empty.Empty/<size>` gives so many bytes."""
    import grpc
    import grpc.aio

    def method(size: int) -> grpc.RpcMethodHandler:
        answer = bytes(size)

        async def handler(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            return answer

        return grpc.unary_unary_rpc_method_handler(handler)

    server = grpc.aio.server()
    methods = {str(size): method(size) for size in sizes}
    handlers = grpc.method_handlers_generic_handler("empty.Empty", methods)
    server.add_generic_rpc_handlers((handlers,))
    say_ready(server.add_insecure_port(f"{HOST}:0"))
    await server.start()
    await server.wait_for_termination()


def saved_model(path: str) -> Model:
    """Returns what makes one call of the SavedModel, in TensorFlow, for each request.

    Args:
        path: The version's folder.
    """
    import tensorflow as tf

    model = tf.saved_model.load(path, tags=["serve"])
    _, keywords = model.signatures[DEFAULT_SIGNATURE].structured_input_signature
    ((alias, spec),) = keywords.items()

    def run(instances: list[Any]) -> dict[str, np.ndarray]:
        array = np.array(instances, spec.dtype.as_numpy_dtype)
        outputs = model.signatures[DEFAULT_SIGNATURE](**{alias: tf.constant(array)})
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    return run


def _keras_model(path: str) -> Model:
    """`model.predict` for each request, of a Keras model around the SavedModel."""
    import keras

    layer = keras.layers.TFSMLayer(path, call_endpoint=DEFAULT_SIGNATURE)
    function = layer.call_endpoint_fn
    _, keywords = function.structured_input_signature
    ((_, spec),) = keywords.items()
    inputs = keras.Input(spec.shape[1:], dtype=spec.dtype.name)
    model = keras.Model(inputs, layer(inputs))
    one_at_a_time = threading.Lock()  # `predict` is not meant for threads

    def run(instances: list[Any]) -> dict[str, np.ndarray]:
        with one_at_a_time:
            outputs: dict[str, np.ndarray] = model.predict(
                np.array(instances, spec.dtype.as_numpy_dtype), verbose=0
            )
        return outputs

    return run


def rows(outputs: Mapping[str, np.ndarray]) -> list[Any]:
    """Returns what stands under `predictions` in an answer of TF Serving's REST API."""
    columns = {alias: array.tolist() for alias, array in outputs.items()}
    if len(columns) == 1:
        return list(next(iter(columns.values())))
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(*columns.values(), strict=True)
    ]


def free_port() -> int:
    """Returns a port that was free a moment ago."""
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for(url: str, port: int, say_ready: Callable[[int], None]) -> None:
    """Tells that a server is ready once `url` answers."""
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                break
        except (urllib.error.URLError, OSError):
            time.sleep(_LOOK_S)
    say_ready(port)


def say_ready(port: int) -> None:
    """Tells the benchmark where the server answers."""
    print(f"ready {HOST}:{port}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
