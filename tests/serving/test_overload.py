"""More calls than can be answered, and an end in the middle of calls."""

import concurrent.futures
import contextlib
import http.client
import json
import time

import grpc
import numpy as np
import pytest
from grpc_running import ENGINES
from server_process import digits_request, publish, serving

from savedmodels.protos import predict_pb2, prediction_service_pb2_grpc
from serving import tensor_codec

ROWS = 40  # in so many batches, where a batch has one row
IMAGES = np.zeros((ROWS, 28, 28, 1), np.uint8)


@pytest.fixture
def digits_store(tmp_path, digits_litert):
    publish(digits_litert, tmp_path / "digits", 1)
    return tmp_path


def ask_grpc(server, request):
    """The name of a call's status, and what it took in seconds."""
    start = time.monotonic()
    with grpc.insecure_channel(
        f"127.0.0.1:{server.port}", [("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            stub.Predict(request, timeout=30)
            code = "OK"
        except grpc.RpcError as error:
            code = error.code().name
    return code, time.monotonic() - start


def rest_request(model, instances):
    body = json.dumps({"instances": instances.tolist()}).encode()
    return f"/v1/models/{model}:predict", body


def ask_rest(server, request):
    """The status of a request, or "refused" without one; and its seconds."""
    start = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=30)
    with contextlib.closing(connection):
        try:
            connection.request("POST", *request)
            answer = connection.getresponse()
            answer.read()
            status = answer.status
        except (ConnectionRefusedError, ConnectionResetError):
            status = "refused"
    return status, time.monotonic() - start


def crowd(ask, server, request, callers=16, each=2):
    with concurrent.futures.ThreadPoolExecutor(callers) as threads:
        return list(threads.map(lambda _: ask(server, request), range(callers * each)))


def heavy_request():
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "heavy"
    tensor_codec.encode_into(request.inputs["x"], np.float32([1]))
    return request


@pytest.mark.parametrize("engine", ENGINES)
def test_a_full_queue_refuses_at_once_and_the_server_recovers(
    tmp_path, heavy_litert, engine
):
    publish(heavy_litert, tmp_path / "heavy", 1)
    limits = ["--max_batch_size=1", "--max_enqueued_batches=1", "--num_batch_threads=1"]
    store = f"--store={tmp_path}"
    with serving(store, *limits, f"--grpc_engine={engine}") as server:
        for ask, request, full in [
            (ask_grpc, heavy_request(), "UNAVAILABLE"),
            (ask_rest, rest_request("heavy", np.float32([1])), 503),
        ]:
            answers = crowd(ask, server, request)
            statuses = {status for status, _ in answers}
            assert statuses <= {"OK", 200, full}
            assert full in statuses
            assert statuses & {"OK", 200}
            took = [seconds for _, seconds in answers]
            assert max(took) < 20
            assert ask(server, request)[0] in ("OK", 200)
        assert server.end() == 0
    assert "Traceback" not in server.stderr


@pytest.mark.parametrize(
    ("engine", "ask", "request_", "right", "wrong"),
    [
        *(
            (engine, ask_grpc, digits_request(ROWS), "OK", {"UNAVAILABLE"})
            for engine in ENGINES
        ),
        # 503 on a connection that is open, refused on a new one.
        ("auto", ask_rest, rest_request("digits", IMAGES), 200, {503, "refused"}),
    ],
    ids=[*ENGINES, "rest"],
)
def test_calls_in_flight_are_answered_within_the_drain(
    digits_store, engine, ask, request_, right, wrong
):
    flags = [f"--store={digits_store}", "--max_batch_size=1", f"--grpc_engine={engine}"]
    with (
        serving(*flags) as server,
        concurrent.futures.ThreadPoolExecutor(8) as threads,
    ):
        assert ask(server, request_)[0] == right
        calls = [threads.submit(ask, server, request_) for _ in range(16)]
        concurrent.futures.wait(calls, return_when=concurrent.futures.FIRST_COMPLETED)
        start = time.monotonic()
        assert server.end() == 0
        assert time.monotonic() - start < 20
        answers = [call.result()[0] for call in calls]
    assert set(answers) <= {right} | wrong
    assert right in answers
    assert "Traceback" not in server.stderr
