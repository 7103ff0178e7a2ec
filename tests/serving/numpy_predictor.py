"""A `Predictor` of a few models in numpy, and both protocols' servers over it."""

import asyncio
import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator

import numpy as np
import uvicorn

from savedmodels.protos import example_pb2
from serving import grpc_engine, rest_server
from serving.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    ServableNotFoundError,
    UnavailableError,
)
from serving.grpc_options import GrpcOptions
from serving.grpc_server import GrpcServer
from serving.model_service import ModelService
from serving.prediction_service import PredictionService
from serving.predictor import Classification, Prediction, Regression, VersionStatus
from serving.servable import SignatureInfo, TensorInfo
from serving.signatures import check_output_filter, select

FLOAT = (np.float32, "DT_FLOAT")
INT = (np.int32, "DT_INT32")
TEXT = (np.object_, "DT_STRING")


def info(alias, dtype, shape=(None,)):
    return TensorInfo(f"{alias}:0", np.dtype(dtype[0]), shape, dtype[1])


def signature(inputs, outputs):
    return SignatureInfo(
        {alias: info(alias, dtype) for alias, dtype in inputs.items()},
        {alias: info(alias, dtype) for alias, dtype in outputs.items()},
        "tensorflow/serving/predict",
    )


MODELS = {
    "half_plus_two": (
        signature({"x": FLOAT}, {"y": FLOAT}),
        lambda x: {"y": (x / 2 + 2).astype(np.float32)},
    ),
    "multi_io": (
        signature({"a": FLOAT, "b": INT}, {"total": FLOAT, "scaled": FLOAT}),
        lambda a, b: {
            "total": a.sum(axis=1),
            "scaled": a * b[:, np.newaxis].astype(np.float32),
        },
    ),
    "echo": (
        signature({"text": TEXT}, {"text": TEXT, "text_bytes": TEXT}),
        lambda text: {"text": text, "text_bytes": text},
    ),
    "whole_batch": (
        signature({"x": FLOAT}, {"y": FLOAT}),
        lambda x: {"y": x.sum(dtype=np.float32)},
    ),
}


class NumpyPredictor:
    """Versions 1 and 2 of every model above; label `stable` is version 1.

    Attributes:
        delay_s: Seconds each answer takes.
        full: Whether predict refuses as a full queue does.
        broken: Whether predict has a bug.
        calls: How often predict was called.
        version: The version that predict was last asked for.
    """

    def __init__(self):
        self.calls = 0
        self.version = None
        self.delay_s = 0.0
        self.full = False
        self.broken = False

    def _version(self, spec):
        if spec.name not in MODELS or spec.version not in (None, 1, 2):
            wanted = (
                f"Latest({spec.name})"
                if spec.version is None
                else f"Specific({spec.name}, {spec.version})"
            )
            raise ServableNotFoundError(f"Servable not found for request: {wanted}")
        if spec.label not in (None, "stable"):
            raise InvalidRequestError(
                f"Unrecognized servable version label: {spec.label}"
            )
        return 1 if spec.label else spec.version or 2

    async def predict(self, spec, inputs, *, output_filter=(), timeout_s=None):
        version = self._version(spec)
        self.calls += 1
        self.version = version
        await asyncio.sleep(self.delay_s)
        if self.broken:
            raise RuntimeError("secret of the server")
        if self.full:
            raise UnavailableError("The batch scheduling queue is full")
        if self.delay_s and timeout_s is not None and timeout_s < self.delay_s:
            raise DeadlineExceededError("too late")
        try:
            outputs = MODELS[spec.name][1](**inputs)
        except (ValueError, IndexError) as error:  # as an op refuses a shape
            raise InvalidRequestError(str(error)) from error
        check_output_filter(MODELS[spec.name][0], output_filter)
        return Prediction(
            select(outputs, output_filter),
            version,
            spec.signature_name or "serving_default",
        )

    def _x(self, examples):
        parsed = [example_pb2.Example.FromString(example) for example in examples]
        values = [e.features.feature["x"].float_list.value for e in parsed]
        if not all(values):
            raise InvalidRequestError("Name: x, Key: x, the feature is missing")
        return [value[0] for value in values]

    async def classify(self, spec, examples, *, timeout_s=None):
        results = [[("low", 1 - x), ("high", x)] for x in self._x(examples)]
        return Classification(results, self._version(spec), spec.signature_name)

    async def regress(self, spec, examples, *, timeout_s=None):
        values = [x / 2 + 2 for x in self._x(examples)]
        return Regression(values, self._version(spec), spec.signature_name)

    async def signatures(self, spec):
        version = self._version(spec)
        return version, {"serving_default": MODELS[spec.name][0]}

    async def status(self, name, version=None):
        if name not in MODELS:
            raise ServableNotFoundError(f"Could not find any versions of model {name}")
        if version not in (None, 1, 2):
            raise ServableNotFoundError(
                f"Could not find version {version} of model {name}"
            )
        versions = [2, 1] if version is None else [version]
        return [VersionStatus(number, "AVAILABLE") for number in versions]

    def models(self):
        return dict.fromkeys(MODELS, True)


@contextlib.contextmanager
def running(predictor, port=0, **options) -> Iterator[int]:
    """Runs the REST application on a port, a free one for 0, which it gives."""
    options.setdefault("ready", lambda: True)
    app = rest_server.make_app(predictor, **options)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listener]))
        )
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@contextlib.contextmanager
def running_grpc(predictor, port=0, engine="native") -> Iterator[int]:
    """Runs the gRPC server on a port, a free one for 0, which it gives."""
    options = GrpcOptions(engine=engine)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def wait_for(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    async def start():
        server = GrpcServer(PredictionService(predictor), ModelService(predictor))
        server = grpc_engine.choose(server, options)
        return server, await server.start("127.0.0.1", port, options)

    server, bound = wait_for(start())
    try:
        yield bound
    finally:
        wait_for(server.stop(0.1))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def free_port():
    """A port on which nothing listens, as far as one can know."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def ask(port, method, path, body=None, headers=None):
    """Sends one request and returns (status, headers, body), the body as it came."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    answer = response.status, response.headers, response.read()
    connection.close()
    return answer
