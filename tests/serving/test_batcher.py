"""What shares a run, who is refused, and that nobody fails for another."""

import asyncio
import contextlib
import threading
import time

import numpy as np
import pytest

from serving.batch_run import Task, run_tasks
from serving.batcher import Batcher
from serving.batching_options import BatchingOptions
from serving.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    UnavailableError,
)
from serving.run_threads import RunThreads


class Doubler:
    """Doubles `x`, counts rows per run, and can be held up."""

    def __init__(self):
        self.runs = []
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Event()

    def __call__(self, inputs):
        x = inputs["x"]
        self.runs.append(x.shape)
        self.began.set()
        self.gate.wait(10)
        if (x < 0).any():
            raise InvalidRequestError("x is negative")
        return {"y": 2 * x}


@contextlib.contextmanager
def threads(count):
    """The threads of queues, which are ended afterwards."""
    made = RunThreads(count)
    try:
        yield made
    finally:
        made.shutdown()


def run(scenario, *, may_batch=True, **options):
    """Runs `scenario(batcher, doubler)` on an event loop with one running batch."""
    doubler = Doubler()
    options = {"num_batch_threads": 1, **options}
    with threads(1) as one:
        batcher = Batcher(doubler, one, BatchingOptions(**options), may_batch=may_batch)
        try:
            asyncio.run(scenario(batcher, doubler))
        finally:
            doubler.gate.set()
    return doubler.runs


def x(*values):
    return {"x": np.array(values, np.float32)}


async def hold(batcher, doubler):
    """Starts a run that lasts until the gate opens, so that others queue up."""
    doubler.gate.clear()
    first = asyncio.create_task(batcher.submit(x(0)))
    await asyncio.to_thread(doubler.began.wait)
    return first


async def queued(batcher, *inputs, timeout_s=None):
    tasks = [asyncio.create_task(batcher.submit(i, timeout_s)) for i in inputs]
    await asyncio.sleep(0)
    return tasks


def test_an_idle_queue_starts_at_once():
    async def scenario(batcher, doubler):
        answer = await batcher.submit(x(1, 2))
        np.testing.assert_array_equal(answer["y"], [2, 4])

    assert run(scenario) == [(2,)]


def test_what_waits_while_a_batch_runs_is_the_next_batch():
    async def scenario(batcher, doubler):
        first = await hold(batcher, doubler)
        tasks = await queued(batcher, x(1), x(2, 3), x(), x(4))
        doubler.gate.set()
        answers = [(await task)["y"].tolist() for task in [first, *tasks]]
        assert answers == [[0], [2], [4, 6], [], [8]]

    assert run(scenario) == [(1,), (4,)]


def test_a_batch_has_at_most_the_rows_allowed():
    async def scenario(batcher, doubler):
        first = await hold(batcher, doubler)
        tasks = await queued(batcher, x(1), x(2), x(3, 4), x(5, 6, 7, 8), x(9))
        doubler.gate.set()
        answers = [(await task)["y"].tolist() for task in [first, *tasks]]
        assert answers == [[0], [2], [4], [6, 8], [10, 12, 14, 16], [18]]

    # 1 + 1 rows leave no room for 2 more; 4 rows are more than a batch: in pieces, of
    # which the second may come in time to share the last run.
    runs = run(scenario, max_batch_size=3)
    assert runs[:4] == [(1,), (2,), (2,), (3,)]
    assert runs[4:] in ([(1,), (1,)], [(2,)])


def test_other_inner_shapes_run_apart_and_keep_their_turn():
    async def scenario(batcher, doubler):
        first = await hold(batcher, doubler)
        wide = {"x": np.ones((1, 2), np.float32)}
        tasks = await queued(batcher, x(1), wide, x(2), wide)
        doubler.gate.set()
        await asyncio.gather(first, *tasks)

    assert run(scenario) == [(1,), (2,), (2, 2)]


@pytest.mark.parametrize("may_batch", [True, False])
def test_scalars_and_graphs_without_a_free_axis_run_alone(may_batch):
    async def scenario(batcher, doubler):
        first = await hold(batcher, doubler)
        value = {"x": np.float32(1)} if may_batch else x(1)
        tasks = await queued(batcher, value, value)
        doubler.gate.set()
        for task in tasks:
            assert (await task)["y"] == 2
        await first

    assert len(run(scenario, may_batch=may_batch)) == 3


def test_a_bad_request_fails_alone():
    async def scenario(batcher, doubler):
        first = await hold(batcher, doubler)
        good, bad, other = await queued(batcher, x(1), x(-1), x(3))
        doubler.gate.set()
        assert (await good)["y"].tolist() == [2]
        assert (await other)["y"].tolist() == [6]
        with pytest.raises(InvalidRequestError, match="x is negative"):
            await bad
        await first

    assert run(scenario) == [(1,), (3,), (1,), (1,), (1,)]


def test_outputs_without_a_row_per_row_are_asked_for_one_by_one():
    def total(inputs):
        return {"total": inputs["x"].sum(keepdims=True)}

    async def scenario():
        with threads(1) as one:
            options = BatchingOptions(num_batch_threads=1)
            batcher = Batcher(total, one, options, may_batch=True)
            tasks = await queued(batcher, x(0), x(1, 2), x(3, 4))
            return [(await task)["total"].tolist() for task in tasks]

    assert asyncio.run(scenario()) == [[0], [3], [7]]


def test_a_full_queue_refuses_in_tf_servings_words():
    async def scenario(batcher, doubler):
        first = await hold(batcher, doubler)
        tasks = await queued(batcher, x(1, 2), x(3, 4))
        with pytest.raises(UnavailableError) as caught:
            await batcher.submit(x(5))
        assert str(caught.value) == (
            "The batch scheduling queue to which this task was submitted is full; "
            "currently 2 batches enqueued and max_enqueued_batches is 2"
        )
        doubler.gate.set()
        await asyncio.gather(first, *tasks)
        await batcher.submit(x(6))  # and takes calls again once there is room

    run(scenario, max_batch_size=2, max_enqueued_batches=2)


def test_a_huge_request_runs_in_pieces_and_others_have_their_turn():
    async def scenario(batcher, doubler):
        first = await hold(batcher, doubler)
        huge, small = await queued(batcher, x(*range(7)), x(9))
        ended = []
        huge.add_done_callback(lambda _: ended.append("huge"))
        small.add_done_callback(lambda _: ended.append("small"))
        doubler.gate.set()
        np.testing.assert_array_equal((await huge)["y"], 2 * np.arange(7))
        np.testing.assert_array_equal((await small)["y"], [18])
        assert ended == ["small", "huge"]
        await first

    options = {"max_batch_size": 2, "max_request_rows": 7}
    runs = run(scenario, max_enqueued_batches=2, **options)
    assert runs == [(1,), (2,), (1,), (2,), (2,), (1,)]


def test_a_huge_request_of_quick_rows_takes_few_runs():
    async def scenario(batcher, doubler):
        values = np.arange(100_000, dtype=np.float32)
        answer = await batcher.submit({"x": values})
        np.testing.assert_array_equal(answer["y"], 2 * values)

    runs = run(scenario, max_batch_size=32)
    assert runs[0] == (32,)
    assert len(runs) < 200
    assert max(runs) <= (64 * 32,)


@pytest.mark.parametrize(
    "named", [{"max_request_rows": 1000}, {"allowed_batch_sizes": (4,)}]
)
def test_slices_keep_to_the_sizes_that_a_file_names(named):
    async def scenario(batcher, doubler):
        await batcher.submit(x(*range(100)))

    assert set(run(scenario, max_batch_size=4, **named)) == {(4,)}


def test_slices_keep_small_where_rows_are_large():
    async def scenario(batcher, doubler):
        await batcher.submit({"x": np.zeros((100, 300_000), np.float32)})

    assert max(run(scenario, max_batch_size=2)) == (2, 300_000)


def test_a_small_request_waits_for_milliseconds_beside_a_huge_one():
    """Rows take 0.1 ms each, the huge request a second."""

    def slow(inputs):
        time.sleep(len(inputs["x"]) / 10_000)
        return {"y": inputs["x"]}

    async def scenario(batcher):
        huge = asyncio.create_task(batcher.submit({"x": np.zeros(10_000, np.float32)}))
        waits = []
        while not huge.done():
            start = time.monotonic()
            await batcher.submit(x(1))
            waits.append(time.monotonic() - start)
            await asyncio.sleep(0.01)
        assert len(waits) > 10
        assert sorted(waits)[len(waits) // 2] < 0.05

    with threads(1) as one:
        options = BatchingOptions(max_batch_size=8, num_batch_threads=1)
        asyncio.run(scenario(Batcher(slow, one, options, may_batch=True)))


def test_a_huge_request_that_waits_does_not_fill_the_queue():
    """Its slices have grown to many batches' rows, and count as one each."""

    async def scenario(batcher, doubler):
        huge = [
            asyncio.create_task(batcher.submit({"x": np.zeros(20_000, np.float32)}))
            for _ in range(4)
        ]
        while not all(task.done() for task in huge):
            await batcher.submit(x(1))
        await asyncio.gather(*huge)

    run(scenario, max_batch_size=8, max_enqueued_batches=8)


def test_a_huge_request_without_a_row_per_row_runs_whole():
    def total(inputs):
        return {"sum": inputs["x"].sum(keepdims=True)}

    async def scenario(batcher):
        np.testing.assert_array_equal(
            (await batcher.submit(x(1, 2, 3, 4)))["sum"], [10]
        )

    with threads(1) as one:
        options = BatchingOptions(max_batch_size=2, num_batch_threads=1)
        asyncio.run(scenario(Batcher(total, one, options, may_batch=True)))


def test_a_huge_request_whose_time_is_up_stops_between_its_pieces():
    async def scenario(batcher, doubler):
        first = await hold(batcher, doubler)
        (huge,) = await queued(batcher, x(*range(100)), timeout_s=0.05)
        with pytest.raises(DeadlineExceededError):
            await huge
        doubler.gate.set()
        await first
        await batcher.submit(x(1))

    assert run(scenario, max_batch_size=2) == [(1,), (1,)]


def test_one_bad_row_of_a_huge_request_refuses_it():
    async def scenario(batcher, doubler):
        with pytest.raises(InvalidRequestError, match="x is negative"):
            await batcher.submit(x(1, 2, 3, 4, -5))

    run(scenario, max_batch_size=2)


def test_cancelled_requests_are_not_run():
    async def scenario(batcher, doubler):
        first = await hold(batcher, doubler)
        gone, stays = await queued(batcher, x(1), x(2))
        gone.cancel()
        await asyncio.sleep(0)
        doubler.gate.set()
        assert (await stays)["y"].tolist() == [4]
        await first

    assert run(scenario) == [(1,), (1,)]


def test_requests_whose_time_is_up_are_refused_and_not_run():
    async def scenario(batcher, doubler):
        first = await hold(batcher, doubler)
        (late,) = await queued(batcher, x(1), timeout_s=0.01)
        with pytest.raises(DeadlineExceededError, match=r"0\.01 seconds"):
            await late
        doubler.gate.set()
        await first
        await batcher.submit(x(5))

    assert run(scenario) == [(1,), (1,)]


def test_the_limit_holds_again_after_requests_fell_out():
    async def scenario(batcher, doubler):
        first = await hold(batcher, doubler)
        tasks = await queued(batcher, x(1), x(2), timeout_s=0.01)
        await asyncio.gather(*tasks, return_exceptions=True)
        doubler.gate.set()
        await first
        assert (await batcher.submit(x(3)))["y"].tolist() == [6]

    run(scenario, max_batch_size=1, max_enqueued_batches=2)


def test_batches_are_padded_to_the_allowed_sizes_and_answers_are_not():
    async def scenario(batcher, doubler):
        first = await hold(batcher, doubler)
        tasks = await queued(batcher, x(1), x(2, 3))
        doubler.gate.set()
        await first
        for task, expected in zip(tasks, [[2], [4, 6]], strict=True):
            np.testing.assert_array_equal((await task)["y"], expected)
        answer = await batcher.submit(x(*range(9)))  # in slices of 8 and 1
        np.testing.assert_array_equal(answer["y"], 2 * np.arange(9))

    sizes = (2, 4, 8)
    runs = run(scenario, max_batch_size=8, allowed_batch_sizes=sizes)
    assert runs == [(2,), (4,), (8,), (2,)]


def test_padding_repeats_the_first_row_of_the_last_request():
    seen = []

    def double(inputs):
        seen.append(inputs["x"].tolist())
        return {"y": 2 * inputs["x"]}

    loop = asyncio.new_event_loop()
    tasks = [
        Task(x(*values), len(values), ((),), loop.create_future(), None, 0.0)
        for values in ([1], [2, 3], [])
    ]
    answers = run_tasks(double, tasks, (4, 6))
    loop.close()
    assert seen == [[1, 2, 3, 2]]
    assert [answer["y"].tolist() for answer in answers] == [[2], [4, 6], []]


def test_answers_without_a_row_per_row_are_not_padded():
    loop = asyncio.new_event_loop()
    task = Task(x(1, 2, 3), 3, ((),), loop.create_future(), None, 0.0)
    (answer,) = run_tasks(lambda inputs: {"y": inputs["x"].sum()}, [task], (4,))
    loop.close()
    assert answer["y"] == 6


def test_a_request_of_more_rows_than_allowed_is_refused():
    async def scenario(batcher, doubler):
        with pytest.raises(InvalidRequestError) as caught:
            await batcher.submit(x(1, 2, 3))
        assert str(caught.value) == (
            "Task size 3 is larger than maximum input batch size 2"
        )
        await batcher.submit(x(1, 2))

    assert run(scenario, max_batch_size=2, max_request_rows=2) == [(2,)]


def test_where_a_timeout_is_set_a_batch_waits_for_more_until_it_is_full():
    async def scenario(batcher, doubler):
        loop = asyncio.get_running_loop()
        began = loop.time()
        first, second = await queued(batcher, x(1), x(2))
        await asyncio.gather(first, second)
        assert loop.time() - began >= 0.2
        began = loop.time()
        await asyncio.gather(*(batcher.submit(x(n)) for n in range(4)))
        assert loop.time() - began < 0.2

    assert run(scenario, max_batch_size=4, batch_timeout_s=0.2) == [(2,), (4,)]


def test_requests_of_other_lengths_share_a_run_where_they_may_be_padded():
    async def scenario(batcher, doubler):
        first = await hold(batcher, doubler)
        short = {"x": np.float32([[1, 2]])}
        long = {"x": np.float32([[3, 4, 5], [6, 7, 8]])}
        square = {"x": np.ones((1, 2, 2), np.float32)}
        tasks = await queued(batcher, short, long, square)
        doubler.gate.set()
        await first
        found = [(await task)["y"].tolist() for task in tasks]
        # As TF Serving has it, an answer is as long as its batch.
        assert found[0] == [[2, 4, 0]]
        assert found[1] == [[6, 8, 10], [12, 14, 16]]
        assert found[2] == [[[2, 2], [2, 2]]]

    assert run(scenario, pads_inputs=True) == [(1,), (3, 3), (1, 2, 2)]
    with pytest.raises(AssertionError):
        run(scenario)


def test_shorter_rows_end_in_nothing_whatever_their_type():
    answers = {}

    def keep(inputs):
        answers.update(inputs)
        return inputs

    def task(numbers, texts):
        inputs = {
            "flags": np.array([numbers], bool),
            "texts": np.array([texts], np.object_),
        }
        return Task(inputs, 1, ((-1,), (-1,)), None, None, 0.0)

    tasks = [task([1, 1, 1], [b"a"]), task([1], [b"b", b"c"])]
    run_tasks(keep, tasks, allowed_sizes=(2, 4))
    assert answers["flags"].tolist() == [[True] * 3, [True, False, False]]
    assert answers["texts"].tolist() == [[b"a", b""], [b"b", b"c"]]
    run_tasks(keep, [*tasks, tasks[1]], allowed_sizes=(2, 4))
    # The row that fills the batch up is as long as the others.
    assert answers["texts"].tolist()[2:] == [[b"b", b"c"], [b"b", b"c"]]
    assert answers["flags"].tolist()[3] == [True, False, False]


def test_requests_of_one_turn_of_the_event_loop_share_a_run():
    async def scenario(batcher, doubler):
        async def ask(value):
            answer = batcher.submit(x(value))
            # As numpy does over many numbers: others may have the lock meanwhile.
            doubler.began.wait(0.02)
            return await answer

        await asyncio.gather(*(ask(value) for value in range(5)))
        assert doubler.runs == [(5,)]

    run(scenario)
