"""How many batches run at a time, in which threads, and in which order."""

import contextlib
import threading

import pytest
from server_process import soon

from serving.run_threads import RunThreads


@contextlib.contextmanager
def run_threads(count):
    threads = RunThreads(count)
    try:
        yield threads
    finally:
        threads.shutdown()


class Queue:
    """Runs until its gate opens, and notes it; in line again `more` times."""

    def __init__(self, threads, log, name="", more=0, error=None):
        self._threads = threads
        self._log = log
        self._name = name
        self._more = more
        self._error = error
        self.gate = threading.Event()
        self.began = threading.Event()

    def run_next(self):
        if self._more:
            self._more -= 1
            self._threads.offer(self)
        self.began.set()
        assert self.gate.wait(10)
        if self._error:
            raise self._error
        self._log.append((self._name, threading.current_thread().name))


def test_no_more_run_at_a_time_than_allowed_whoever_helps():
    log = []
    with run_threads(2) as threads:
        first, second, third = (Queue(threads, log, name) for name in "abc")
        threads.offer(first)
        threads.offer(second)
        assert first.began.wait(5)
        assert second.began.wait(5)
        threads.offer(third, wake=False)
        assert not threads.wants_help()
        threads.help()  # returns at once
        assert not third.began.is_set()
        third.gate.set()
        first.gate.set()
        soon(lambda: [name for name, _ in log] == ["a", "c"])
        second.gate.set()


def test_who_helps_runs_it_in_its_own_thread():
    log = []
    with run_threads(1) as threads:
        queue = Queue(threads, log, "a")
        queue.gate.set()
        threads.offer(queue, wake=False)
        assert threads.wants_help()
        threads.help()
    assert log == [("a", threading.current_thread().name)]


def test_a_helper_of_two_queues_wakes_a_thread_for_the_second():
    log = []
    with run_threads(2) as threads:
        queues = [Queue(threads, log, name) for name in "ab"]
        for queue in queues:
            threads.offer(queue, wake=False)
        helper = threading.Thread(target=threads.help)
        helper.start()
        for queue in queues:
            assert queue.began.wait(5)
        for queue in queues:
            queue.gate.set()
        helper.join()
    assert sorted(name for name, _ in log) == ["a", "b"]


def test_queues_take_turns():
    log = []
    with run_threads(1) as threads:
        busy = Queue(threads, log, "busy", more=3)
        threads.offer(busy)
        assert busy.began.wait(5)
        other = Queue(threads, log, "other")
        threads.offer(other)
        other.gate.set()
        busy.gate.set()
        soon(lambda: len(log) == 5)
    assert [name for name, _ in log] == ["busy", "busy", "other", "busy", "busy"]


@pytest.mark.parametrize("number", range(2))
def test_a_bug_in_one_queue_costs_no_thread(number, caplog):
    log = []
    with run_threads(1) as threads:
        for error in (ValueError("a bug"), None):
            queue = Queue(threads, log, error=error)
            queue.gate.set()
            threads.offer(queue, wake=number == 0)
            if number:
                threads.help()
        soon(lambda: len(log) == 1)
    assert "a bug" in caplog.text
