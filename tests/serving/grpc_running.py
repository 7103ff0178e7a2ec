"""The gRPC server on an event loop of its own thread, for tests that ask it."""

import asyncio
import contextlib
import threading

import grpc
import pytest
from grpc_health.v1 import health_pb2_grpc

from savedmodels.protos import model_service_pb2_grpc, prediction_service_pb2_grpc
from serving import grpc_engine
from serving.direct_predict import DirectPredict
from serving.embedded import EmbeddedPredictor
from serving.grpc_observed import ObservedPredictionService
from serving.grpc_options import GrpcOptions
from serving.grpc_server import GrpcServer
from serving.model_service import ModelService
from serving.request_log import RequestLog
from serving.server_metrics import ServerMetrics
from serving.v2_service import InferenceService

ENGINES = ["native", "grpcio"]


class Running:
    """A gRPC server on an event loop of its own thread."""

    def __init__(self, predictor, **options):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.metrics = ServerMetrics()
        self.port = self.run(self._start(predictor, options))
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{self.port}",
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
            ],
        )
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(
            self.channel
        )
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

    async def _start(self, predictor, options):
        reloader = options.pop("reloader", None)
        grpc_options = GrpcOptions(
            engine=options.pop("engine"),
            channel_arguments=options.pop("channel_arguments", ()),
        )
        nothing = RequestLog(lambda name: None, self.metrics)
        log = options.pop("log", nothing)
        observed = (predictor, self.metrics, log)
        server = GrpcServer(
            ObservedPredictionService(*observed, **options),
            ModelService(predictor, reloader),
            InferenceService(predictor, lambda: True, self.metrics),
        )
        direct = None
        if isinstance(predictor, EmbeddedPredictor):
            direct = DirectPredict(*observed, **options)
        self.server = grpc_engine.choose(server, grpc_options, direct)
        return await self.server.start("127.0.0.1", 0, grpc_options)

    def submit(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def run(self, coroutine):
        return self.submit(coroutine).result(30)

    def close(self):
        self.channel.close()
        self.run(self.server.stop(0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextlib.contextmanager
def running(predictor, engine="native", **options):
    server = Running(predictor, engine=engine, **options)
    try:
        yield server
    finally:
        server.close()


def refusal(call, request, **kwargs):
    with pytest.raises(grpc.RpcError) as caught:
        call(request, **kwargs)
    return caught.value.code().name, caught.value.details()
