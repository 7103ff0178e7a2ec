"""More calls than can be answered, and an end in the middle of calls."""

import concurrent.futures
import contextlib
import http.client
import json
import time

import grpc
import numpy as np
import pytest
from server_process import digits_request, publish, serving

from savedmodels.protos import prediction_service_pb2_grpc

DIGITS = "/v1/models/digits:predict"
ROWS = 40  # enough that calls in flight fill a queue of one batch
SMALL = json.dumps({"instances": np.zeros((1, 28, 28, 1), int).tolist()}).encode()
LARGE = json.dumps({"instances": np.zeros((ROWS, 28, 28, 1), int).tolist()}).encode()


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


def ask_rest(server, body):
    """The status of a request, or "refused" without one; and its seconds."""
    start = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=30)
    with contextlib.closing(connection):
        try:
            connection.request("POST", DIGITS, body)
            answer = connection.getresponse()
            answer.read()
            status = answer.status
        except (ConnectionRefusedError, ConnectionResetError):
            status = "refused"
    return status, time.monotonic() - start


def crowd(ask, server, request, callers=16, each=2):
    with concurrent.futures.ThreadPoolExecutor(callers) as threads:
        return list(threads.map(lambda _: ask(server, request), range(callers * each)))


def test_a_full_queue_refuses_at_once_and_the_server_recovers(digits_store):
    limits = ["--max_batch_size=1", "--max_enqueued_batches=1", "--num_batch_threads=1"]
    with serving(f"--store={digits_store}", *limits) as server:
        for ask, request, small, full in [
            (ask_grpc, digits_request(ROWS), digits_request(), "UNAVAILABLE"),
            (ask_rest, LARGE, SMALL, 503),
        ]:
            answers = crowd(ask, server, request)
            statuses = {status for status, _ in answers}
            assert statuses <= {"OK", 200, full}
            assert full in statuses
            assert statuses & {"OK", 200}
            took = [seconds for _, seconds in answers]
            assert max(took) < 20
            assert ask(server, small)[0] in ("OK", 200)
        assert server.end() == 0
    assert "Traceback" not in server.stderr


@pytest.mark.parametrize(
    ("ask", "request_", "right", "wrong"),
    [
        (ask_grpc, digits_request(ROWS), "OK", {"UNAVAILABLE"}),
        # 503 on a connection that is open, refused on a new one.
        (ask_rest, LARGE, 200, {503, "refused"}),
    ],
)
def test_calls_in_flight_are_answered_within_the_drain(
    digits_store, ask, request_, right, wrong
):
    with (
        serving(f"--store={digits_store}", "--max_batch_size=1") as server,
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
