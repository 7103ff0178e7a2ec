"""When SIGTERM ends a training, and what it waits for."""

import signal
import threading

import pytest

from trainers._errors import PreemptedError
from trainers._preemption import Preemption


def come():
    signal.raise_signal(signal.SIGTERM)


def test_what_is_held_is_finished_first():
    done = []
    with Preemption() as preemption:
        with preemption.held():
            come()
            done.append("the step")
        assert preemption.asked
        with pytest.raises(PreemptedError, match="after step 3 of epoch 1, which is"):
            preemption.obey("step 3 of epoch 1")
    assert done == ["the step"]


@pytest.mark.parametrize("holds", [None, False])
def test_elsewhere_it_ends_the_training_at_once(holds):
    with Preemption() as preemption:
        if holds is None:
            with pytest.raises(PreemptedError):
                come()
        else:
            with preemption.held(holds), pytest.raises(PreemptedError):
                come()
        assert not preemption.asked


def test_the_second_time_it_waits_for_nothing():
    with Preemption() as preemption, preemption.held():
        come()
        with pytest.raises(PreemptedError):
            come()


def test_whoever_had_the_signal_has_it_again():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append("before"))
    try:
        with Preemption():
            pass
        come()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == ["before"]


def test_another_thread_trains_without_it():
    found = []

    def train():
        with Preemption() as preemption, preemption.held():
            found.append(preemption.asked)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert found == [False]
    assert signal.getsignal(signal.SIGTERM) is before
