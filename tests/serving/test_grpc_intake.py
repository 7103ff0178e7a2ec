"""What waits to be read: what is given up falls out, and there is not room for all."""

import contextlib

import grpc
import pytest
from pygrpc_native import NativeGrpcFront
from server_process import soon

from serving.grpc_intake import Intake

PATH = "/a.Service/Method"


class Front:
    """A front that listens, a client of it, and what the intake told."""

    def __init__(self):
        self.front = NativeGrpcFront(
            "127.0.0.1:0", [(PATH, False)], call_details=True, metrics=True
        )
        self.front.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.front.bound_port}")
        self.calls = []  # one that nobody holds is given up
        self.cancelled = []
        self.refused = []

    def intake(self, **limits):
        return Intake(self.front, self.cancelled.append, self._refuse, **limits)

    def _refuse(self, call_id, error):
        self.refused.append(str(error))
        self.front.fail(call_id, error.grpc_code.value[0], str(error))

    def call(self, data):
        """Returns a call, which the front has received."""
        before = self._count("started")
        call = self.channel.unary_unary(PATH).future(data, timeout=60)
        self.calls.append(call)
        soon(lambda: self._count("started") == before + 1)
        return call

    def give_up(self, call):
        before = self._count("ended")
        call.cancel()
        soon(lambda: self._count("ended") == before + 1)

    def _count(self, what):
        method = self.front.metrics()["methods"][PATH]
        ended = sum(status["count"] for status in method["status"].values())
        return {"started": method["started"], "ended": ended}[what]

    def close(self):
        self.channel.close()
        self.front.close()


@pytest.fixture
def front():
    with contextlib.closing(Front()) as front:
        yield front


def receive(intake, count, **kwargs):
    """Receives until so many calls wait."""
    soon(lambda: intake.receive(**kwargs) and len(intake) == count)


def taken(intake):
    return [event[3] for event in iter(intake.take, None)]


def test_calls_are_taken_in_their_order(front):
    intake = front.intake()
    for number in range(100):  # more than are received at a time
        front.call(b"%d" % number)
    receive(intake, 100)
    assert taken(intake) == [b"%d" % number for number in range(100)]
    assert intake.take() is None


def test_a_call_that_is_given_up_while_it_waits_is_never_taken(front):
    intake = front.intake()
    first = front.call(b"first")
    second = front.call(b"second")
    front.give_up(first)
    receive(intake, 1)
    third = front.call(b"third")
    front.give_up(third)
    fourth = front.call(b"fourth")
    receive(intake, 2)
    assert taken(intake) == [b"second", b"fourth"]
    assert not front.cancelled
    assert not second.done()
    assert not fourth.done()


def test_a_call_that_is_given_up_after_it_was_taken_is_told(front):
    intake = front.intake()
    call = front.call(b"first")
    receive(intake, 1)
    event = intake.take()
    front.give_up(call)
    front.call(b"second")
    receive(intake, 1)
    assert front.cancelled == [event[1]]
    assert taken(intake) == [b"second"]


def test_calls_that_there_is_no_room_for_are_refused(front):
    intake = front.intake(max_bytes=100)
    front.call(b"a" * 60)
    refused = front.call(b"b" * 60)
    front.call(b"c" * 40)
    receive(intake, 2)
    assert refused.code() == grpc.StatusCode.UNAVAILABLE
    text = "The server is behind: 60 bytes of requests wait to be read, and at most 100"
    assert refused.details() == f"{text} may."
    assert [len(data) for data in taken(intake)] == [60, 40]


def test_there_is_room_again_for_what_was_taken_or_given_up(front):
    intake = front.intake(max_bytes=100)
    first, second = front.call(b"a" * 60), front.call(b"b" * 40)
    receive(intake, 2)
    intake.take()
    front.call(b"c" * 60)
    receive(intake, 2)
    front.give_up(second)
    front.call(b"d" * 40)
    receive(intake, 2)
    assert not front.refused
    assert not first.done()
    assert [len(data) for data in taken(intake)] == [60, 40]


def test_what_waits_elsewhere_takes_room_too(front):
    intake = front.intake(max_bytes=100)
    refused = front.call(b"a" * 60)
    front.call(b"b" * 30)
    receive(intake, 1, elsewhere=70)
    assert refused.code() == grpc.StatusCode.UNAVAILABLE
    assert [len(data) for data in taken(intake)] == [30]


def test_a_single_call_may_be_larger_than_the_room(front):
    intake = front.intake(max_bytes=100)
    front.call(b"a" * 200)
    receive(intake, 1)
    assert len(taken(intake)) == 1
    assert not front.refused


def test_nothing_comes_once_the_front_is_closed(front):
    intake = front.intake()
    front.front.close()
    assert not intake.receive()
    assert not intake.receive()  # which would wait for ever
