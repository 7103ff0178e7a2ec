"""Predict calls over REST without a task: answered as the application answers them."""

import asyncio
import contextlib
import http.client
import json
import socket
import threading

import numpy as np
import pytest
from server_process import soon
from test_direct_predict import Gate, no_collector, tasks

from savedmodels import tfrecord
from savedmodels.protos import prediction_log_pb2
from serving import rest_direct, rest_http, rest_listener, rest_server
from serving.batching_options import BatchingOptions
from serving.embedded import EmbeddedPredictor
from serving.loaded_version import EmbeddedOptions
from serving.observed_predictor import ObservedPredictor
from serving.request_log import RequestLog, RequestLogOptions
from serving.server_metrics import ServerMetrics
from serving.version_policy import Source

PATH = "/v1/models/digits:predict"
IMAGE = np.zeros((28, 28, 1), np.uint8).tolist()
ROWS = json.dumps({"instances": [IMAGE]}).encode()
COLUMNS = json.dumps({"inputs": [IMAGE], "signature_name": "serving_default"}).encode()


class Listening:
    """The REST server of one model on an event loop of its own thread."""

    def __init__(self, version, timeout_s=5.0, batching=None, options=None):
        self.predictor = EmbeddedPredictor(
            lambda: {"digits": Source(version.parent)},
            EmbeddedOptions(batching=batching or BatchingOptions(num_batch_threads=1)),
        )
        self.predictor.start()
        soon(self.predictor.versions.settled, 30)
        self.metrics = ServerMetrics()
        self.log = RequestLog(lambda name: options, self.metrics)
        self.direct = rest_direct.RestDirect(
            self.predictor, self.metrics, self.log, timeout_s=timeout_s
        )
        self.taken = 0
        app = rest_server.make_app(
            ObservedPredictor(self.predictor, self.metrics, self.log),
            ready=lambda: True,
            timeout_s=timeout_s,
            counters=self.metrics,
        )
        self.server = rest_listener.make_server(app, 1, direct=self)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(
            target=lambda: asyncio.run(self.server.serve(sockets=[self.socket]))
        )
        self.thread.start()

    headers = ((b"x-served-by", b"test"),)

    def take(self, *arguments):
        call = self.direct.take(*arguments)
        self.taken += call is not None
        return call

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def counted(self, status):
        found = (m for m in self.metrics.all() if m.name.endswith("request_count"))
        return next(found).read().get(("digits", status), 0)

    def in_use(self):
        (version,) = self.predictor.versions.models["digits"].versions.values()
        return version.calls

    def stop(self):
        self.server.should_exit = True
        self.thread.join()

    def close(self):
        self.stop()
        self.predictor.stop()
        self.log.close()


@contextlib.contextmanager
def listening(version, **options):
    server = Listening(version, **options)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def server(digits_litert):
    with listening(digits_litert) as server:
        yield server


def raw(body, path=PATH, head=""):
    """A request's bytes."""
    text = f"POST {path} HTTP/1.1\r\nHost: x\r\n{head}Content-Length: {len(body)}\r\n"
    return text.encode() + b"\r\n" + body


def answers(server, *parts):
    """The status, headers but the date, and body of the answer to what is sent."""
    with server.connect() as client:
        for part in parts:
            client.sendall(part)
            if part is not parts[-1]:
                soon(lambda: server.server.server_state.tasks)
        return answer(client)


def answer(client):
    """The same of the answer that comes next."""
    found = http.client.HTTPResponse(client)
    found.begin()
    headers = {k: v for k, v in found.getheaders() if k != "date"}
    return found.status, headers, found.read()


# http.client reads ahead, so that it cannot read two answers from one connection.
def lines(server, sent, count):
    """All that comes back until there were so many answers."""
    with server.connect() as client:
        client.sendall(sent)
        text = b""
        while text.count(b"HTTP/1.1 ") < count or not text.endswith(b"}"):
            text += client.recv(65536)
        return text


@pytest.mark.parametrize("body", [ROWS, COLUMNS], ids=["rows", "columns"])
@pytest.mark.parametrize(
    "path", [PATH, "/v1/models/digits/versions/1:predict", "/V1/models/digits:PREDICT"]
)
def test_the_answer_is_that_of_the_application(server, body, path):
    whole = raw(body, path)
    before = server.taken
    status, headers, text = answers(server, whole)
    assert status == 200
    assert headers.pop("x-served-by") == "test"
    assert server.taken == before + 1
    # In two pieces the body may take any time, which is for the application.
    assert answers(server, whole[:-5], whole[-5:]) == (200, headers, text)
    assert server.taken == before + 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [[1, 2]]}',  # refused by the graph, when it runs
        b'{"instances": [',
        b'{"instances": [], "signature_name": "nosuch"}',
        b'{"instances": [{"image": "text"}]}',
    ],
)
def test_what_is_wrong_is_told_as_the_application_tells_it(server, body):
    whole = raw(body)
    status, _, text = answers(server, whole)
    assert status == 400
    assert json.loads(text)["error"]
    assert answers(server, whole[:-5], whole[-5:])[::2] == (status, text)
    assert server.in_use() == 0


@pytest.mark.parametrize(
    "head",
    ["Expect: 100-continue\r\n", "Content-Encoding: identity\r\n"],
)
def test_what_needs_more_than_an_answer_is_for_the_application(server, head):
    before = server.taken
    text = lines(server, raw(ROWS, head=head), 1)
    assert b"200 OK" in text or b"100 Continue" in text
    assert server.taken == before


def test_calls_in_one_packet_are_answered_in_their_order(server):
    several = [raw(ROWS), raw(COLUMNS), raw(b'{"instances": [1]}'), raw(ROWS)]
    text = lines(server, b"".join(several), len(several))
    kinds = [b"predictions", b"outputs", b"error", b"predictions"]
    places = [text.find(kinds[0])]
    for kind in kinds[1:]:
        places.append(text.find(b'"' + kind, places[-1] + 1))
    assert -1 not in places
    assert places == sorted(places)


def test_a_client_that_wants_to_close_is_closed(server):
    with server.connect() as client:
        client.sendall(raw(ROWS, head="Connection: close\r\n"))
        text = b""
        while more := client.recv(65536):
            text += more
    assert text.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in text


def test_a_large_answer_is_compressed_for_who_takes_it(server):
    body = json.dumps({"instances": [IMAGE] * 32}).encode()
    before = server.taken
    plain, packed = (
        answers(server, raw(body, head=head))
        for head in ("", "Accept-Encoding: gzip\r\n")
    )
    assert server.taken == before + 2
    assert packed[1]["content-encoding"] == "gzip"
    assert plain[1]["vary"] == packed[1]["vary"] == "Accept-Encoding"
    assert rest_http.inflate(packed[2]) == plain[2]


def test_a_call_whose_time_is_up_is_a_504_and_let_go(digits_litert):
    with listening(digits_litert, timeout_s=0.2) as server:
        with Gate().running(server.predictor.threads):
            status, headers, text = answers(server, raw(ROWS))
            assert server.in_use() == 0
        assert (status, headers["connection"]) == (504, "close")
        assert "no answer within 0.2 s" in json.loads(text)["error"]
        assert server.counted("DEADLINE_EXCEEDED") == 1
        assert answers(server, raw(ROWS))[0] == 200
        assert server.counted("OK") == 1


def test_a_call_whose_client_has_gone_is_let_go(digits_litert):
    with listening(digits_litert) as server:
        with Gate().running(server.predictor.threads):
            with server.connect() as client:
                client.sendall(raw(ROWS))
                soon(lambda: server.in_use() == 1)
            soon(lambda: server.in_use() == 0)
        assert server.counted("CANCELLED") == 1
        assert answers(server, raw(ROWS))[0] == 200


def test_a_full_queue_is_a_503(digits_litert):
    batching = BatchingOptions(
        num_batch_threads=1, max_batch_size=1, max_enqueued_batches=1
    )
    with listening(digits_litert, batching=batching) as server:
        with Gate().running(server.predictor.threads), server.connect() as first:
            first.sendall(raw(ROWS))
            soon(lambda: server.in_use() == 1)
            status, _, text = answers(server, raw(ROWS))
            assert status == 503
            assert "queue to which this task was submitted is full" in text.decode()
        assert server.counted("UNAVAILABLE") == 1


@pytest.mark.parametrize("ends", [True, False], ids=["in time", "too late"])
def test_the_drain_waits_for_a_call_and_then_refuses_it(digits_litert, ends):
    with listening(digits_litert) as server, server.connect() as client:
        with contextlib.ExitStack() as stack:
            stack.enter_context(Gate().running(server.predictor.threads))
            client.sendall(raw(ROWS))
            soon(lambda: server.in_use() == 1)
            server.server.should_exit = True
            if ends:
                stack.close()
            status, _, text = answer(client)
            assert status == (200 if ends else 503)
            assert (b"shutting down" in text) is not ends


def test_calls_are_counted_and_logged(digits_litert, tmp_path):
    options = RequestLogOptions(tmp_path / "log", 1.0)
    with listening(digits_litert, options=options) as server:
        for _ in range(3):
            assert answers(server, raw(ROWS))[0] == 200
        assert server.taken == server.counted("OK") == 3
        exposed = {metric.name: metric for metric in server.metrics.all()}
        latency = exposed[":tensorflow:serving:request_latency"].counts()
        assert latency == {("digits", "predict", "REST"): 3}
        runtime = exposed[":tensorflow:serving:runtime_latency"].counts()
        assert sum(runtime.values()) == 3
    (file,) = tmp_path.iterdir()
    with file.open("rb") as opened:
        records = [record for record in tfrecord.read(opened) if record]
    logs = [prediction_log_pb2.PredictionLog.FromString(record) for record in records]
    assert len(logs) == 3
    assert {log.predict_log.request.model_spec.name for log in logs} == {"digits"}


def test_what_a_call_brought_goes_with_the_call(digits_litert):
    with listening(digits_litert) as server, no_collector():
        before = tasks()
        with server.connect() as client:
            for _ in range(10):
                client.sendall(raw(ROWS))
                assert answer(client)[0] == 200
        with Gate().running(server.predictor.threads):
            for _ in range(10):
                with server.connect() as client:
                    client.sendall(raw(ROWS))
                    soon(lambda: server.in_use() == 1)
                soon(lambda: server.in_use() == 0)
        assert answers(server, raw(ROWS))[0] == 200
        soon(lambda: tasks() <= before + 1)
