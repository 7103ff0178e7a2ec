"""What the gRPC server adds to its services: deadlines, statuses, health, an end."""

import asyncio
import threading
import time

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from grpc_running import refusal, running

from savedmodels.protos import predict_pb2, prediction_service_pb2_grpc
from serving.errors import InvalidRequestError
from serving.grpc_server import GrpcServer
from serving.model_service import ModelService
from serving.prediction_service import PredictionService
from serving.predictor import Prediction

X = np.float32([1])
LOCAL = ("grpc.use_local_subchannel_pool", 1)  # a connection of its own


class Scripted:
    """A predictor whose `predict` does what a test says."""

    def __init__(self, predict):
        self._predict = predict

    async def predict(self, spec, inputs, *, output_filter=(), timeout_s=None):
        del spec, inputs, output_filter
        outputs = await self._predict(timeout_s)
        return Prediction(outputs, 1, "serving_default")


@pytest.fixture(scope="module")
def server(grpc_engine):
    async def answer(timeout_s):
        return {"y": X}

    with running(Scripted(answer), engine=grpc_engine) as server:
        yield server


def test_a_clients_deadline_reaches_the_predictor_and_ends_the_call(
    request_for, grpc_engine
):
    seen, ended = [], threading.Event()

    async def never(timeout_s):
        seen.append(timeout_s)
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    with running(Scripted(never), engine=grpc_engine) as server:
        code, _ = refusal(server.prediction.Predict, request_for("m"), timeout=0.3)
        assert code == "DEADLINE_EXCEEDED"
        assert ended.wait(5)
        # gRPC sends whole milliseconds, rounded up: at most one more than asked for.
        assert 0 < seen[0] <= 0.301


def test_a_cancelled_call_is_cancelled_in_the_server(request_for, grpc_engine):
    began, ended = threading.Event(), threading.Event()

    async def never(timeout_s):
        assert timeout_s is None
        began.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    with running(Scripted(never), engine=grpc_engine) as server:
        call = server.prediction.Predict.future(request_for("m"))
        assert began.wait(5)
        call.cancel()
        assert ended.wait(5)


def test_long_texts_are_cut_as_tf_serving_cuts_them(request_for, grpc_engine):
    async def refuse(timeout_s):
        raise InvalidRequestError("\u00e9" * 1025)

    with running(Scripted(refuse), engine=grpc_engine) as server:
        code, text = refusal(server.prediction.Predict, request_for("m"))
    assert code == "INVALID_ARGUMENT"
    assert text == "\u00e9" * 1024 + "...TRUNCATED"


def test_a_bug_is_internal_and_shows_nothing_of_itself(request_for, grpc_engine):
    async def fail(timeout_s):
        raise KeyError("secret")

    with running(Scripted(fail), engine=grpc_engine) as server:
        assert refusal(server.prediction.Predict, request_for("m")) == (
            "INTERNAL",
            "Internal error, logged by the server.",
        )


def test_bytes_that_are_no_message_do_not_hurt(server, request_for):
    call = server.channel.unary_unary(
        "/tensorflow.serving.PredictionService/Predict",
        response_deserializer=predict_pb2.PredictResponse.FromString,
    )
    assert refusal(call, b"\xff\xff\xff")[0] in ("INTERNAL", "UNKNOWN")
    server.prediction.Predict(request_for("half_plus_two", x=X))


def test_a_port_that_is_taken_is_refused(server):
    async def start_another():
        other = GrpcServer(PredictionService(None), ModelService(None))
        try:
            await other.start("127.0.0.1", server.port)
        finally:
            await other.stop(0)

    with pytest.raises(OSError, match=f"127.0.0.1:{server.port}"):
        server.run(start_another())


def test_health_is_what_it_was_told(grpc_engine):
    check = health_pb2.HealthCheckRequest
    status = health_pb2.HealthCheckResponse
    with running(Scripted(None), engine=grpc_engine) as server:
        server.run(server.server.set_health({"": True, "digits": True, "echo": False}))
        assert server.health.Check(check()).status == status.SERVING
        assert server.health.Check(check(service="digits")).status == status.SERVING
        assert server.health.Check(check(service="echo")).status == status.NOT_SERVING
        assert refusal(server.health.Check, check(service="nosuch"))[0] == "NOT_FOUND"


def test_a_watcher_is_told_when_health_changes(grpc_engine):
    status = health_pb2.HealthCheckResponse
    with running(Scripted(None), engine=grpc_engine) as server:
        server.run(server.server.set_health({"": True}))
        watch = server.health.Watch(health_pb2.HealthCheckRequest(), timeout=20)
        assert next(watch).status == status.SERVING
        server.run(server.server.set_health({"": False}))
        assert next(watch).status == status.NOT_SERVING
        watch.cancel()


def test_a_method_that_there_is_not_is_unimplemented(server):
    for path in ("/tensorflow.serving.PredictionService/Nope", "/no.Service/Predict"):
        call = server.channel.unary_unary(path)
        assert refusal(call, b"") == ("UNIMPLEMENTED", "Method not found!")


def test_a_message_beyond_the_limit_of_an_option_is_refused(grpc_engine, request_for):
    async def answer(timeout_s):
        return {"y": X}

    limit = {"channel_arguments": (("grpc.max_receive_message_length", 1000),)}
    with running(Scripted(answer), engine=grpc_engine, **limit) as server:
        server.prediction.Predict(request_for("m", x=X))
        large = request_for("m", x=np.zeros(1000, np.float32))
        code, text = refusal(server.prediction.Predict, large)
        assert code == "RESOURCE_EXHAUSTED"
        assert f"eceived message larger than max ({large.ByteSize()} vs. 1000)" in text


def test_a_client_that_goes_away_cancels_its_calls(grpc_engine, request_for):
    began, ended = threading.Event(), threading.Event()

    async def never(timeout_s):
        began.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    with running(Scripted(never), engine=grpc_engine) as server:
        address = f"127.0.0.1:{server.port}"
        with grpc.insecure_channel(address, [LOCAL]) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            call = stub.Predict.future(request_for("m"))
            assert began.wait(5)
        assert ended.wait(5)
        assert call.code() == grpc.StatusCode.CANCELLED


def test_a_stop_sends_large_answers_to_their_end(tf, request_for, grpc_engine):
    large = np.arange(4_000_000, dtype=np.float32)
    began = threading.Semaphore(0)

    async def answer(timeout_s):
        began.release()
        await asyncio.sleep(0.1)
        return {"y": large}

    with running(Scripted(answer), engine=grpc_engine, as_content=True) as server:
        calls = [server.prediction.Predict.future(request_for("m")) for _ in range(4)]
        for _ in calls:
            assert began.acquire(timeout=5)
        server.run(server.server.stop(20))
        for call in calls:
            outputs = call.result(5).outputs
            np.testing.assert_array_equal(tf.make_ndarray(outputs["y"]), large)


def test_a_stop_answers_calls_in_flight_and_refuses_new_ones(
    tf, request_for, grpc_engine
):
    gate, began = threading.Event(), threading.Event()

    async def wait(timeout_s):
        began.set()
        await asyncio.to_thread(gate.wait, 10)
        return {"y": np.float32([1])}

    with running(Scripted(wait), engine=grpc_engine) as server:
        call = server.prediction.Predict.future(request_for("m"))
        assert began.wait(5)
        stopped = server.submit(server.server.stop(10))
        time.sleep(0.2)
        assert refusal(server.prediction.Predict, request_for("m"))[0] == "UNAVAILABLE"
        assert not stopped.done()
        gate.set()
        assert tf.make_ndarray(call.result(5).outputs["y"]).tolist() == [1]
        stopped.result(5)


def test_a_stop_does_not_wait_longer_than_said(request_for, grpc_engine):
    began = threading.Event()

    async def never(timeout_s):
        began.set()
        await asyncio.sleep(30)

    with running(Scripted(never), engine=grpc_engine) as server:
        call = server.prediction.Predict.future(request_for("m"))
        assert began.wait(5)
        before = time.monotonic()
        server.run(server.server.stop(0.2))
        assert time.monotonic() - before < 5
        with pytest.raises(grpc.RpcError):
            call.result(5)
