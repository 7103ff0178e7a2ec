"""Predict calls without an event loop: in turn, in time, counted, and let go of."""

import numpy as np
import pytest
from grpc_running import ENGINES, refusal, running
from server_process import soon

from serving.batching_options import BatchingOptions
from serving.embedded import EmbeddedPredictor
from serving.loaded_version import EmbeddedOptions
from serving.version_policy import Source

ROWS = 8  # of the heavy model: a few tenths of a second
HEAVY = np.ones(ROWS, np.float32)
IMAGE = np.zeros((1, 28, 28, 1), np.uint8)


@pytest.fixture(scope="module")
def predictor_of(heavy_litert, digits_litert):
    """Makes a predictor of a model that takes its time and one that does not."""
    made = []

    def make(num_batch_threads):
        sources = {
            "heavy": Source(heavy_litert.parent),
            "digits": Source(digits_litert.parent),
        }
        batching = BatchingOptions(
            max_batch_size=ROWS, num_batch_threads=num_batch_threads
        )
        options = EmbeddedOptions(batching=batching)
        predictor = EmbeddedPredictor(lambda: sources, options)
        predictor.start()
        made.append(predictor)
        soon(predictor.versions.settled, 30)
        return predictor

    yield make
    for predictor in made:
        predictor.stop()


@pytest.fixture(scope="module")
def one_thread(predictor_of):
    return predictor_of(1)


@pytest.fixture(params=ENGINES)
def server(one_thread, request_for, request):
    """A server that runs a batch at a time."""
    with running(one_thread, engine=request.param) as server:
        server.predictor = one_thread
        server.heavy = request_for("heavy", x=HEAVY)
        server.digits = request_for("digits", image=IMAGE)
        yield server


def counted(server, status):
    """Requests of `digits` that ended with a status."""
    requests = next(m for m in server.metrics.all() if m.name.endswith("request_count"))
    return requests.read().get(("digits", status), 0)


def in_use(server):
    """Calls that hold a version of `digits`."""
    (version,) = server.predictor.versions.models["digits"].versions.values()
    return version.calls


def started(server):
    """Starts a heavy run, and returns its call once it runs."""
    call = server.prediction.Predict.future(server.heavy)
    threads = server.predictor.threads
    soon(lambda: threads._running == 1)
    return call


def test_a_call_whose_time_is_up_while_it_waits_is_counted_and_let_go(server):
    heavy = started(server)
    code, _ = refusal(server.prediction.Predict, server.digits, timeout=0.05)
    assert code == "DEADLINE_EXCEEDED"
    assert not heavy.done()
    soon(lambda: in_use(server) == 0)
    soon(lambda: counted(server, "DEADLINE_EXCEEDED") + counted(server, "CANCELLED"))
    heavy.result(30)
    assert counted(server, "OK") == 0


def test_a_call_that_is_cancelled_while_it_waits_is_counted_and_let_go(server):
    heavy = started(server)
    call = server.prediction.Predict.future(server.digits)
    soon(lambda: in_use(server) == 1)
    call.cancel()
    soon(lambda: in_use(server) == 0)
    soon(lambda: counted(server, "CANCELLED") == 1)
    assert not heavy.done()
    heavy.result(30)
    server.prediction.Predict(server.digits)
    assert counted(server, "OK") == 1


def test_a_slow_model_does_not_hold_up_another(predictor_of, request_for):
    digits = request_for("digits", image=IMAGE)
    with running(predictor_of(2)) as server:
        server.prediction.Predict(digits)
        heavy = server.prediction.Predict.future(request_for("heavy", x=HEAVY))
        for _ in range(5):
            server.prediction.Predict(digits)
        assert not heavy.done()
        assert list(heavy.result(30).outputs["y"].float_val) == [1] * ROWS
