"""Upstream servers whose answers a test scripts, and a shim in front of them."""

import concurrent.futures
import contextlib
import threading

import grpc
from grpc_running import Running

from savedmodels.protos import predict_pb2
from serving.grpc_options import GrpcOptions
from serving.upstream import Upstream
from serving.upstream_health import HealthOptions

STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
QUICK = {
    "probe_interval_s": 0.05,
    "probe_timeout_s": 0.3,
    "ejection_s": 0.2,
    "max_ejection_s": 1.0,
    "lacks_model_s": 0.5,
}


class Backend(grpc.GenericRpcHandler):
    """Answers any method with what `answers` holds for it: a function of two.

    Like TF Serving by default it has no health service; probes ask for the status of no
    model. `calls` are the methods that were called otherwise.
    """

    def __init__(self):
        self.answers = {}
        self.calls = []
        self._server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(16),
            handlers=[self],
            options=[("grpc.max_receive_message_length", -1)],
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self.address = f"127.0.0.1:{self.port}"
        self._server.start()

    def service(self, handler_call_details):
        path = handler_call_details.method
        if path not in {STATUS, *self.answers}:
            return None

        def answer(data, context):
            if path == STATUS and not data:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
            self.calls.append(path)
            return self.answers[path](data, context)

        return grpc.unary_unary_rpc_method_handler(answer)

    def stop(self):
        self._server.stop(0).wait(5)


class Shim(Running):
    """A shim on an event loop of its own thread."""

    grpc_engine = "native"

    async def _start(self, addresses, options):
        self.upstream = Upstream(
            addresses,
            timeout_s=5,
            on_change=lambda: None,
            options=HealthOptions(**{**QUICK, **options}),
            grpc_options=GrpcOptions(engine=self.grpc_engine),
        )
        self.server = self.upstream.grpc_server()
        self.upstream.start()
        return await self.server.start("127.0.0.1", 0)

    def lines(self):
        """How many connections beside grpcio's are open, by server."""
        return [
            sum(line.is_open for line in backend.lines._open.values())
            for backend in self.upstream._pool._backends
        ]

    def counters(self):
        return self.upstream.readiness()["upstream"]

    def ready(self):
        return [numbers["ready"] for numbers in self.counters().values()]

    def raw(self, path, data=b"", timeout=10, **kwargs):
        return self.channel.unary_unary(path).with_call(data, timeout=timeout, **kwargs)

    def close(self):
        self.channel.close()
        self.run(self.server.stop(0))
        self.run(self.upstream.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextlib.contextmanager
def scripted(count, **options):
    """Some backends, and a shim in front that has found all of them."""
    with contextlib.ExitStack() as stack:
        backends = [Backend() for _ in range(count)]
        for backend in backends:
            stack.callback(backend.stop)
        shim = Shim([backend.address for backend in backends], **options)
        stack.callback(shim.close)
        while not all(shim.ready()) or not all(shim.lines()):
            threading.Event().wait(0.01)
        yield shim, backends


def refusing(code, text, trailing=()):
    """An answer that is an error."""

    def refuse(data, context):
        context.set_trailing_metadata(trailing)
        context.abort(grpc.StatusCode[code], text)

    return refuse


def predict(model, **fields):
    """The bytes of a Predict request."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    for name, value in fields.items():
        setattr(request.model_spec, name, value)
    request.inputs["x"].float_val.append(1)
    return request.SerializeToString()
