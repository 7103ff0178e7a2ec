"""The HTTP/2 client of the shim against a server that sends what a test wants."""

import random
import socket
import struct
import threading

import pytest
from server_process import soon

from serving import hpack
from serving import http2_frames as h2
from serving.http2_client import Answer, Connection, Lost

REQUEST = hpack.encode([(":method", "POST")])
HEAD = hpack.encode([(":status", "200")])
TAIL = hpack.encode([("grpc-status", "0")])
ANSWER = Answer(((":status", "200"),), b"body", (("grpc-status", "0"),))


class Server:
    """The other end of a connection, in the test's hands."""

    def __init__(self):
        mine, self.socket = socket.socketpair()
        self.socket.settimeout(20)
        self._rest = h2.Frames()
        self._frames = []
        self.client = Connection(mine)
        assert self._received(len(h2.PREFACE)) == h2.PREFACE
        assert [self.frame()[0] for _ in range(2)] == [h2.SETTINGS, h2.WINDOW]

    def _received(self, size):
        data = b""
        while len(data) < size:
            data += self.socket.recv(size - len(data))
        return data

    def frame(self):
        head = self._received(9)
        payload = self._received(int.from_bytes(head[:3]))
        return head[3], head[4], int.from_bytes(head[5:]), payload

    def send(self, *frames):
        self.socket.sendall(b"".join(h2.frame(*frame) for frame in frames))

    def settings(self, **values):
        names = {name: getattr(h2, name) for name in values}
        payload = b"".join(
            struct.pack(">HI", names[name], value) for name, value in values.items()
        )
        self.send((h2.SETTINGS, 0, 0, payload))
        while self.frame()[:2] != (h2.SETTINGS, h2.ACK):
            pass

    def answer(self, number):
        self.send(
            (h2.HEADERS, h2.END_HEADERS, number, HEAD),
            (h2.DATA, 0, number, b"body"),
            (h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, number, TAIL),
        )


class Ended:
    """What a call ended with."""

    def __init__(self):
        self._event = threading.Event()
        self.times = 0

    def __call__(self, outcome):
        self._outcome = outcome
        self.times += 1
        self._event.set()

    @property
    def outcome(self):
        assert self._event.wait(20)
        return self._outcome


@pytest.fixture
def server():
    server = Server()
    yield server
    server.client.close("The test is over.")
    server.client.join()
    server.socket.close()


def test_a_request_arrives_whole_and_its_answer_is_told(server):
    ended = Ended()
    body = bytes(range(256)) * 100  # more than a frame
    number = server.client.ask(REQUEST, body, ended)
    kind, flags, stream, block = server.frame()
    assert (kind, flags, stream, block) == (h2.HEADERS, h2.END_HEADERS, number, REQUEST)
    first, second = server.frame(), server.frame()
    assert [first[1], second[1]] == [0, h2.END_STREAM]
    assert first[3] + second[3] == body
    server.answer(number)
    assert ended.outcome == ANSWER


def test_an_answer_may_come_byte_by_byte_padded_and_in_pieces(server):
    ended = Ended()
    number = server.client.ask(REQUEST, b"a", ended)
    padded, priority = 8, 32
    data = b"".join(
        h2.frame(*frame)
        for frame in [
            (77, 0, 0, b"a kind that nobody knows"),
            (
                h2.HEADERS,
                padded | priority,
                number,
                b"\x02" + bytes(5) + HEAD + b"\0\0",
            ),
            (h2.CONTINUATION, h2.END_HEADERS, number, b""),
            (h2.DATA, padded, number, b"\x03bo\0\0\0"),
            (h2.DATA, 0, number, b"dy"),
            (h2.HEADERS, h2.END_STREAM, number, TAIL[:3]),
            (h2.CONTINUATION, 0, number, TAIL[3:5]),
            (h2.CONTINUATION, h2.END_HEADERS, number, TAIL[5:]),
        ]
    )
    for octet in data:
        server.socket.sendall(bytes([octet]))
    assert ended.outcome == ANSWER


def test_many_calls_are_answered_in_any_order(server):
    calls = {server.client.ask(REQUEST, b"a", ended): ended for ended in
             [Ended() for _ in range(50)]}  # fmt: skip
    for number in sorted(calls, reverse=True):
        server.answer(number)
    assert all(ended.outcome == ANSWER for ended in calls.values())


def test_what_the_servers_windows_do_not_let_through_is_not_taken(server):
    client = server.client
    assert client.ask(REQUEST, bytes(h2.DEFAULT_WINDOW + 1), Ended()) == 0
    assert client.ask(REQUEST, bytes(h2.DEFAULT_WINDOW), Ended())
    assert client.ask(REQUEST, b"a", Ended()) == 0
    server.send((h2.WINDOW, 0, 0, struct.pack(">I", 10)), (h2.PING, 0, 0, b"8 bytes."))
    while server.frame() != (h2.PING, h2.ACK, 0, b"8 bytes."):
        pass
    assert client.ask(REQUEST, bytes(11), Ended()) == 0
    assert client.ask(REQUEST, bytes(10), Ended())


def test_no_more_calls_are_under_way_than_the_server_wants(server):
    server.settings(MAX_STREAMS=1)
    ended = Ended()
    number = server.client.ask(REQUEST, b"a", ended)
    assert server.client.ask(REQUEST, b"a", Ended()) == 0
    server.answer(number)
    assert ended.outcome == ANSWER
    assert server.client.ask(REQUEST, b"a", Ended())


def test_a_server_that_does_not_read_holds_nobody_up(server):
    server.settings(INITIAL_WINDOW=h2.LARGEST, MAX_FRAME=2**24 - 1)
    server.send((h2.WINDOW, 0, 0, struct.pack(">I", 2**30)), (h2.PING, 0, 0, bytes(8)))
    assert server.frame()[0] == h2.PING
    ended, body = Ended(), bytes(8_000_000)  # more than a socket holds
    number = server.client.ask(REQUEST, body, ended)
    assert number
    assert server.client.ask(REQUEST, b"a", Ended()) == 0
    assert server.frame()[0] == h2.HEADERS
    kind, flags, _, payload = server.frame()
    assert (kind, flags, len(payload)) == (h2.DATA, h2.END_STREAM, len(body))
    soon(lambda: server.client.ask(REQUEST, b"a", Ended()))
    server.answer(number)
    assert ended.outcome == ANSWER


def test_a_call_that_is_cancelled_is_reset_and_not_told_of(server):
    cancelled, other = Ended(), Ended()
    number = server.client.ask(REQUEST, b"a", cancelled)
    server.client.cancel(number)
    kinds = [server.frame() for _ in range(3)]
    assert kinds[2] == (h2.RESET, 0, number, struct.pack(">I", h2.CANCEL))
    following = server.client.ask(REQUEST, b"a", other)
    server.answer(number)
    server.answer(following)
    assert other.outcome == ANSWER
    assert cancelled.times == 0


def test_a_reset_has_the_servers_code(server):
    ended = Ended()
    number = server.client.ask(REQUEST, b"a", ended)
    server.send((h2.RESET, 0, number, struct.pack(">I", 11)))
    assert ended.outcome == Lost("The server has reset the call: 11", 11)


def test_a_server_that_leaves_ends_what_it_took_and_loses_the_rest(server):
    taken, beyond = Ended(), Ended()
    first = server.client.ask(REQUEST, b"a", taken)
    server.client.ask(REQUEST, b"a", beyond)
    server.send((h2.GO_AWAY, 0, 0, struct.pack(">II", first, 0)))
    assert beyond.outcome == Lost("The server is leaving", h2.REFUSED)
    assert not server.client.is_open
    assert server.client.ask(REQUEST, b"a", Ended()) == 0
    server.answer(first)
    assert taken.outcome == ANSWER
    server.client.join()  # Nothing is left to do.


@pytest.mark.parametrize(
    "broken",
    [
        h2.frame(h2.DATA, 0, 1, bytes(h2.DEFAULT_FRAME + 1)),
        h2.frame(h2.HEADERS, h2.END_HEADERS, 1, b"\xbe"),
        h2.frame(h2.HEADERS, 0, 1, HEAD) + h2.frame(h2.DATA, 0, 1, b"a"),
        h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, HEAD),
        h2.frame(h2.DATA, 8, 1, b"\x05abc"),
        h2.frame(h2.SETTINGS, 0, 0, b"12345"),
        h2.frame(h2.RESET, 0, 1, b"1"),
        h2.frame(h2.PUSH, h2.END_HEADERS, 1, HEAD),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
def test_a_server_that_breaks_the_protocol_loses_its_calls_at_once(server, broken):
    ended = Ended()
    server.client.ask(REQUEST, b"a", ended)
    server.socket.sendall(broken)
    assert isinstance(ended.outcome, Lost)
    server.client.join()
    assert server.client.ask(REQUEST, b"a", Ended()) == 0


def test_a_connection_that_ends_loses_each_call_once():
    server = Server()
    calls = [Ended() for _ in range(5)]
    for ended in calls:
        server.client.ask(REQUEST, b"a", ended)
    server.socket.close()
    server.client.join()
    assert {ended.outcome for ended in calls} == {Lost("Connection reset by peer")}
    assert [ended.times for ended in calls] == [1] * 5


def test_whatever_bytes_come_every_call_ends():
    source = random.Random(2)
    for _ in range(60):
        server, ended = Server(), Ended()
        server.client.ask(REQUEST, b"a", ended)
        frames = [
            h2.frame(
                source.randrange(10), source.randrange(256), source.randrange(3),
                source.randbytes(source.randrange(12)),
            )
            for _ in range(20)
        ]  # fmt: skip
        try:
            server.socket.sendall(b"".join(frames))
        except OSError:
            pass  # It had enough.
        server.socket.close()
        server.client.join()
        assert isinstance(ended.outcome, Answer | Lost)
        assert ended.times == 1
