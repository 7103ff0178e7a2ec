"""What the HTTP engine does with clients that are slow, silent, endless or gone."""

import asyncio
import contextlib
import http.client
import json
import socket
import threading
import time

import pytest
from numpy_predictor import NumpyPredictor, ask
from server_process import soon

from serving import rest_listener, rest_server

HALF = "/v1/models/half_plus_two"
HEAD = f"POST {HALF}:predict HTTP/1.1\r\nHost: x\r\n".encode()
BODY = b'{"instances": [1]}'
LIMITS = rest_listener.Limits(head_s=0.3, head_bytes=4096, stalled_s=0.2)


class Waiting(NumpyPredictor):
    """Has no answer until it is told, and counts who waits for it."""

    def __init__(self):
        super().__init__()
        self.waiting = 0
        self.answers = True

    async def predict(self, *arguments, **options):
        self.waiting += 1
        try:
            while not self.answers:
                await asyncio.sleep(0.01)
            return await super().predict(*arguments, **options)
        finally:
            self.waiting -= 1


class Listening:
    """The REST server on an event loop of its own thread."""

    def __init__(self, timeout_s):
        self.predictor = Waiting()
        app = rest_server.make_app(
            self.predictor, ready=lambda: True, timeout_s=timeout_s
        )
        self.server = rest_listener.make_server(app, 1, limits=LIMITS)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(
            target=lambda: asyncio.run(self.server.serve(sockets=[self.socket]))
        )
        self.thread.start()

    def connections(self):
        return len(self.server.server_state.connections)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def close(self):
        self.server.should_exit = True
        self.thread.join()


@pytest.fixture(scope="module")
def server():
    server = Listening(timeout_s=5.0)
    yield server
    server.close()


def received(client):
    """Status and error text of the answer, after which the server closes."""
    answer = http.client.HTTPResponse(client)
    answer.begin()
    text = json.loads(answer.read())["error"]
    assert client.recv(1) == b""
    return answer.status, text


@pytest.mark.parametrize("sent", [b"P", HEAD, HEAD + b"X-Half: "])
def test_a_head_that_does_not_end_is_a_408_and_a_closed_connection(server, sent):
    with server.connect() as client:
        client.sendall(sent)
        status, text = received(client)
    assert status == 408
    assert "did not arrive within 0.3 s" in text


def test_a_head_that_trickles_has_no_more_time(server):
    with server.connect() as client:
        client.settimeout(0.02)
        start, sent = time.monotonic(), False
        while time.monotonic() - start < 3:
            client.sendall(b"GET / HTTP/1.1\r\n" if not sent else b"x")
            sent = True
            with contextlib.suppress(TimeoutError):
                assert b"HTTP/1.1 4" in client.recv(1000)
                return
        pytest.fail("It could go on for seconds.")


@pytest.mark.parametrize("sent", [b"", b"\r\n"])
def test_a_connection_that_says_nothing_is_closed(server, sent):
    with server.connect() as client:
        client.sendall(sent)
        assert client.recv(1000) == b"" or sent
    soon(lambda: not server.connections())


def test_empty_lines_do_not_keep_an_idle_connection(server):
    with server.connect() as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert answer.status == 200
        answer.read()
        client.sendall(b"\r\n")
        start = time.monotonic()
        while client.recv(1000):
            pass
        assert time.monotonic() - start < 3


def test_a_body_nobody_reads_does_not_keep_a_connection(server):
    with server.connect() as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nContent-Length: 9\r\n\r\n")
        assert b"200 OK" in client.recv(1000)
        start = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while client.recv(1000):
                pass
        assert time.monotonic() - start < 3


def test_a_head_without_end_is_a_431(server):
    with server.connect() as client:
        client.sendall(HEAD + b"X: " + b"x" * 8192)
        status, text = received(client)
    assert status == 431
    assert "at most 4096 bytes" in text


def test_a_slow_body_has_more_time_than_a_head(server):
    with server.connect() as client:
        client.sendall(HEAD + b"Content-Length: 18\r\n\r\n")
        time.sleep(2 * LIMITS.head_s)
        client.sendall(BODY)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert (answer.status, json.loads(answer.read())) == (
            200,
            {"predictions": [2.5]},
        )


def test_requests_one_after_the_other_on_one_connection_are_answered(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for _ in range(3):
        connection.request("POST", f"{HALF}:predict", BODY)
        assert connection.getresponse().read()
        time.sleep(0.2)
    pipelined = HEAD + b"Content-Length: 18\r\n\r\n" + BODY
    with server.connect() as client:
        client.sendall(3 * pipelined + pipelined[:20])
        time.sleep(0.1)
        client.sendall(pipelined[20:])
        data = b""
        while data.count(b"200 OK") < 4:
            data += client.recv(10_000)
    connection.close()


def test_an_answer_that_nobody_reads_ends_with_its_connection(server):
    text = json.dumps({"instances": [1.5] * 700_000}).encode()
    with server.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(text) + text)
        assert client.recv(12) == b"HTTP/1.1 200"
        soon(lambda: not server.connections(), seconds=10)


def test_a_crowd_of_silent_clients_does_not_stay(server):
    with contextlib.ExitStack() as clients:
        for number in range(100):
            client = clients.enter_context(server.connect())
            client.sendall([b"", b"POST", HEAD][number % 3])
        assert ask(server.port, "GET", "/healthz")[0] == 200
        soon(lambda: not server.connections(), seconds=10)


def test_a_request_whose_client_has_gone_is_given_up(server):
    predictor = server.predictor
    calls = predictor.calls
    predictor.answers = False
    try:
        with server.connect() as client:
            client.sendall(HEAD + b"Content-Length: 18\r\n\r\n" + BODY)
            soon(lambda: predictor.waiting == 1)
        asked = time.monotonic()
        soon(lambda: not predictor.waiting)
        assert time.monotonic() - asked < 4, "It waited for its time to be over."
        assert predictor.calls == calls
    finally:
        predictor.answers = True
