"""Requests that wait for a short run, and run beside a long one."""

import asyncio
import contextlib
import threading

import numpy as np
import pytest

from serving import short_runs
from serving.batcher import Batcher
from serving.batching_options import BatchingOptions
from serving.run_threads import RunThreads

MANY = short_runs._MANY_ROWS
LOOK_S = 0.1  # in which what may run would have begun


class Gate:
    """A model whose runs wait for it to open."""

    def __init__(self):
        self.runs = []
        self.open = threading.Event()
        self.open.set()

    def __call__(self, inputs):
        self.runs.append(len(inputs["x"]))
        self.open.wait(20)
        return {"y": inputs["x"]}


@pytest.fixture(autouse=True)
def any_run_is_short(monkeypatch):
    """Of the tests' machine nobody knows how long a run takes."""
    monkeypatch.setattr(short_runs, "_SHORT_S", 60.0)


def run(scenario, *, observer=None, may_batch=True, **options):
    """Runs `scenario(batcher, gate)` on an event loop; returns the rows of the runs."""
    gate, threads = Gate(), RunThreads(2)
    options = BatchingOptions(num_batch_threads=2, **options)
    batcher = Batcher(gate, threads, options, may_batch=may_batch, observer=observer)

    async def whole():
        with contextlib.ExitStack() as last:
            last.callback(gate.open.set)
            await asyncio.wait_for(scenario(batcher, gate), 20)

    try:
        asyncio.run(whole())
    finally:
        threads.shutdown()
    return gate.runs


def ask(batcher, rows=1):
    return asyncio.create_task(batcher.submit({"x": np.zeros(rows, np.float32)}))


async def count(gate, wanted):
    while len(gate.runs) < wanted:
        await asyncio.sleep(0.005)


async def held(batcher, gate):
    """A run that goes on until the gate opens, after one that is over."""
    await ask(batcher)
    gate.open.clear()
    task = ask(batcher)
    await count(gate, 2)
    return task


def test_few_requests_wait_for_a_short_run_and_share_the_next():
    async def scenario(batcher, gate):
        tasks = [await held(batcher, gate), ask(batcher), ask(batcher, 2)]
        await asyncio.sleep(LOOK_S)
        assert len(gate.runs) == 2
        gate.open.set()
        await asyncio.gather(*tasks)

    assert run(scenario) == [1, 1, 3]


def test_many_rows_run_beside_it():
    async def scenario(batcher, gate):
        tasks = [await held(batcher, gate)]
        tasks += [ask(batcher) for _ in range(MANY - 1)]
        await asyncio.sleep(LOOK_S)
        assert len(gate.runs) == 2
        tasks.append(ask(batcher))
        await count(gate, 3)
        gate.open.set()
        await asyncio.gather(*tasks)

    assert run(scenario) == [1, 1, MANY]


@pytest.mark.parametrize(
    "options", [{"may_batch": False}, {"batch_timeout_s": 0.001}], ids=str
)
def test_nobody_waits_where_no_run_is_shared_or_another_wait_is_asked_for(options):
    async def scenario(batcher, gate):
        tasks = [await held(batcher, gate), ask(batcher)]
        await count(gate, 3)
        gate.open.set()
        await asyncio.gather(*tasks)

    assert run(scenario, **options) == [1, 1, 1]


def test_nobody_waits_for_a_long_run(monkeypatch):
    async def scenario(batcher, gate):
        monkeypatch.setattr(short_runs, "_SHORT_S", 0.0)
        tasks = [await held(batcher, gate), ask(batcher)]
        await count(gate, 3)
        gate.open.set()
        await asyncio.gather(*tasks)

    assert run(scenario) == [1, 1, 1]


def test_nobody_waits_for_the_first_run_which_may_be_long():
    async def scenario(batcher, gate):
        gate.open.clear()
        tasks = [ask(batcher)]
        await count(gate, 1)
        tasks.append(ask(batcher))
        await count(gate, 2)
        gate.open.set()
        await asyncio.gather(*tasks)

    assert run(scenario) == [1, 1]


def test_a_run_that_a_bug_ends_is_not_waited_for():
    class Observer:
        """Fails once."""

        runs = 0

        def submitted(self, rows):
            pass

        def started(self, tasks, now):
            self.runs += 1
            if self.runs == 2:
                raise RuntimeError("a bug")

    async def scenario(batcher, gate):
        await ask(batcher)
        lost = ask(batcher)
        while observer.runs < 2:
            await asyncio.sleep(0.005)
        await ask(batcher)
        lost.cancel()

    observer = Observer()
    assert run(scenario, observer=observer) == [1, 1]


def test_a_long_run_is_remembered_for_a_while():
    runs = short_runs.ShortRuns()
    runs.began()
    runs.ended(90.0)
    runs.began()
    assert not runs.are_worth_waiting_for(1)
    runs.ended(0.001)
    for _ in range(100):
        runs.began()
        runs.ended(0.001)
    assert not runs.are_worth_waiting_for(1)  # none is going
    runs.began()
    assert runs.are_worth_waiting_for(1)
