"""Predict calls that wait: let go of when their time is up, and held up by nobody."""

import contextlib
import gc
import threading

import numpy as np
import pytest
from grpc_running import ENGINES, refusal, running
from server_process import soon

from serving import direct_predict
from serving.batch_run import Task
from serving.batching_options import BatchingOptions
from serving.embedded import EmbeddedPredictor
from serving.loaded_version import EmbeddedOptions
from serving.version_policy import Source


class Gate:
    """A batch of another model, which runs until it is let go."""

    def __init__(self):
        self._open = threading.Event()
        self._began = threading.Event()

    def run_next(self):
        self._began.set()
        self._open.wait(60)

    @contextlib.contextmanager
    def running(self, threads):
        threads.offer(self)
        assert self._began.wait(20)
        try:
            yield
        finally:
            self._open.set()


@pytest.fixture
def threads():
    """How many batches run at a time."""
    return 1


@pytest.fixture(params=ENGINES)
def server(digits_litert, request_for, threads, request):
    """A server of one model."""
    predictor = EmbeddedPredictor(
        lambda: {"digits": Source(digits_litert.parent)},
        EmbeddedOptions(batching=BatchingOptions(num_batch_threads=threads)),
    )
    predictor.start()
    soon(predictor.versions.settled, 30)
    with running(predictor, engine=request.param) as server:
        server.predictor = predictor
        server.digits = request_for("digits", image=np.zeros((1, 28, 28, 1), np.uint8))
        yield server
    predictor.stop()


def counted(server, status):
    """Requests of `digits` that ended with a status."""
    requests = next(m for m in server.metrics.all() if m.name.endswith("request_count"))
    return requests.read().get(("digits", status), 0)


def in_use(server):
    """Calls that hold a version of `digits`."""
    (version,) = server.predictor.versions.models["digits"].versions.values()
    return version.calls


def test_a_call_whose_time_is_up_while_it_waits_is_counted_and_let_go(server):
    with Gate().running(server.predictor.threads):
        code, _ = refusal(server.prediction.Predict, server.digits, timeout=0.2)
        assert code == "DEADLINE_EXCEEDED"
        soon(lambda: in_use(server) == 0)
        # grpcio may cancel it before the server sees that its time is up.
        late = ("DEADLINE_EXCEEDED", "CANCELLED")
        soon(lambda: sum(counted(server, status) for status in late) == 1)
    server.prediction.Predict(server.digits)
    assert counted(server, "OK") == 1


def test_a_call_that_is_cancelled_while_it_waits_is_counted_and_let_go(server):
    with Gate().running(server.predictor.threads):
        call = server.prediction.Predict.future(server.digits)
        soon(lambda: in_use(server) == 1)
        call.cancel()
        soon(lambda: in_use(server) == 0)
        soon(lambda: counted(server, "CANCELLED") == 1)
    server.prediction.Predict(server.digits)
    assert counted(server, "OK") == 1


def test_calls_that_wait_are_answered_once_they_can_run(server):
    with Gate().running(server.predictor.threads):
        calls = [server.prediction.Predict.future(server.digits) for _ in range(100)]
        soon(lambda: in_use(server) == 100)
        assert not any(call.done() for call in calls)
    for call in calls:
        np.testing.assert_allclose(call.result(20).outputs["scores"].float_val, 0.1)
    assert counted(server, "OK") == 100
    soon(lambda: in_use(server) == 0)


@pytest.mark.parametrize("threads", [2])
def test_a_slow_batch_does_not_hold_up_other_calls(server, threads):
    with Gate().running(server.predictor.threads):
        for _ in range(5):
            server.prediction.Predict(server.digits, timeout=20)


@contextlib.contextmanager
def no_collector():
    """Objects go with their last reference, or stay."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def tasks():
    """Requests that are somewhere in memory, with their inputs."""
    return sum(type(thing) is Task for thing in gc.get_objects())


@pytest.mark.parametrize("server", ["native"], indirect=True)
def test_what_a_call_brought_goes_with_the_call(server):
    """A full collection is seldom, and does not see the size of what it would free."""
    with no_collector():
        before = tasks()
        for _ in range(10):
            server.prediction.Predict(server.digits)
        with Gate().running(server.predictor.threads):
            calls = [server.prediction.Predict.future(server.digits) for _ in range(10)]
            soon(lambda: in_use(server) == 10)
            for call in calls:
                call.cancel()
            soon(lambda: in_use(server) == 0)
        server.prediction.Predict(server.digits)
        # The last one may be held by a thread until its next.
        soon(lambda: tasks() <= before + 1)


@contextlib.contextmanager
def busy(server):
    """Its event loop does not come to anything else."""
    until = threading.Event()

    async def compute():
        until.wait(60)

    future = server.submit(compute())
    try:
        yield
    finally:
        until.set()
        future.result(20)


@pytest.mark.parametrize("server", ["native"], indirect=True)
def test_a_call_that_is_cancelled_before_it_begins_is_forgotten(server, request_for):
    """Of the event loop, which may be behind."""
    native = server.server
    large = request_for("digits", image=np.zeros((200, 28, 28, 1), np.uint8))
    with busy(server):
        calls = [server.prediction.Predict.future(large) for _ in range(20)]
        soon(lambda: len(native._for_loop) == 20)
        for call in calls:
            call.cancel()
        soon(lambda: not native._for_loop)
    soon(lambda: not native._tasks)
    for _ in range(20):
        server.prediction.Predict.future(large).cancel()
    assert server.prediction.Predict(large).outputs
    soon(lambda: not native._tasks and not native._for_loop)


@pytest.mark.parametrize("server", ["native"], indirect=True)
def test_calls_that_are_given_up_are_not_read(server, monkeypatch):
    """Else a server that is behind falls further behind."""
    begin, direct = threading.Event(), server.server._direct
    take, read = direct.take, []

    def slow(call_id, *args):
        read.append(call_id)
        begin.wait(60)
        return take(call_id, *args)

    monkeypatch.setattr(direct, "take", slow)
    first = server.prediction.Predict.future(server.digits)
    soon(lambda: read)
    calls = [server.prediction.Predict.future(server.digits) for _ in range(20)]

    def count():
        return server.server._front.metrics()["methods"][direct_predict.PATH]

    # One that is given up sooner may never leave its client.
    soon(lambda: count()["started"] == 21)
    for call in calls:
        call.cancel()
    last = server.prediction.Predict.future(server.digits)
    soon(lambda: count()["started"] == 22)
    soon(lambda: count()["status"][1]["count"] == 20)
    begin.set()
    assert first.result(20).outputs
    assert last.result(20).outputs
    assert len(read) == 2
