"""Servers as people write them by hand, which `make bench` compares with.

Each is a process of its own that says `ready host:port` once it answers.
"""

import asyncio
import http.server
import json
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from serving.servable import DEFAULT_SIGNATURE

HOST = "127.0.0.1"

# Takes the rows of a request, returns the outputs of all rows by alias.
Model = Callable[[list[Any]], dict[str, np.ndarray]]


def main(kind: str, *arguments: str) -> None:
    """Runs one of them until the process is ended.

    Args:
        kind: `empty`, `uvicorn` or `keras`.
        arguments: For `empty` the sizes of its answers, else the version's folder.
    """
    if kind == "empty":
        asyncio.run(_serve_empty([int(size) for size in arguments]))
    elif kind == "uvicorn":
        asyncio.run(_serve_uvicorn(_saved_model(*arguments)))
    else:
        _serve_http(_keras_model(*arguments))


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
    _say_ready(server.add_insecure_port(f"{HOST}:0"))
    await server.start()
    await server.wait_for_termination()


def _saved_model(path: str) -> Model:
    """One call of the SavedModel for each request."""
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


def _answer(model: Model, body: bytes) -> bytes:
    """From a request of TF Serving's REST API to its answer, by `json`."""
    outputs = model(json.loads(body)["instances"])
    columns = {alias: array.tolist() for alias, array in outputs.items()}
    if len(columns) == 1:
        return json.dumps({"predictions": next(iter(columns.values()))}).encode()
    rows = zip(*columns.values(), strict=True)
    predictions = [dict(zip(columns, row, strict=True)) for row in rows]
    return json.dumps({"predictions": predictions}).encode()


async def _serve_uvicorn(model: Model) -> None:
    """A request at a time, on the event loop."""
    import uvicorn

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        answer = _answer(model, body)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(answer)).encode()),
        ]
        start = {"type": "http.response.start", "status": 200, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": answer})

    config = uvicorn.Config(
        app, host=HOST, port=0, lifespan="off", access_log=False, log_level="warning"
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    _say_ready(server.servers[0].sockets[0].getsockname()[1])
    await serving


def _serve_http(model: Model) -> None:
    """A thread for each connection."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # keeps connections
        wbufsize = -1  # one packet for head and body: two would wait for each other

        def do_POST(self) -> None:  # noqa: N802 -- the name that http.server calls
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = _answer(model, body)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing, which is faster."""

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 128  # 5 would let connections wait for a second
        daemon_threads = True

    server = Server((HOST, 0), Handler)
    _say_ready(server.server_address[1])
    server.serve_forever()


def _say_ready(port: int) -> None:
    print(f"ready {HOST}:{port}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
