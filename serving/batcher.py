"""Puts requests that wait at the same time through the graph as one batch.

A batch is whatever queued up while the batches before it ran: there is no timer, so a
request that finds the server idle starts at once. Everything here but the run itself
happens on the event loop, so there are no locks.
"""

import asyncio
import collections
import concurrent.futures
import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from serving import batch_axis
from serving.batch_axis import Arrays, Shapes
from serving.errors import DeadlineExceededError, ServingError, UnavailableError

logger = logging.getLogger(__name__)

_Result: TypeAlias = Arrays | Exception


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BatchingOptions:
    """How batches are formed, in the words of TF Serving's BatchingParameters.

    Attributes:
        max_batch_size: Rows of a batch at most; a larger request runs alone. On a CPU
            LiteRT ran 16 to 64 rows at the same rate, so more would only wait longer.
        max_enqueued_batches: Batches that may wait per signature before requests are
            refused.
        num_batch_threads: Batches that run at the same time, over all models. As many
            as there are cores, and two at least: a slow model must not stop the others.
    """

    max_batch_size: int = 32
    max_enqueued_batches: int = 100
    num_batch_threads: int = max(2, os.cpu_count() or 1)


@dataclasses.dataclass(slots=True, eq=False)
class _Task:
    inputs: Arrays
    rows: int
    shapes: Shapes | None  # None: must run alone
    answer: asyncio.Future[Arrays]
    deadline: float | None


class Batcher:
    """The queue of one signature of one version. For one event loop."""

    def __init__(
        self,
        run: Callable[[Arrays], Arrays],
        executor: concurrent.futures.Executor,
        options: BatchingOptions,
        *,
        may_batch: bool,
    ) -> None:
        """Makes an empty queue.

        Args:
            run: Runs one batch and returns all outputs; called in the executor.
            executor: Threads, shared with other queues.
            options: Limits.
            may_batch: Whether rows of several requests may share a run.
        """
        self._run = run
        self._executor = executor
        self._options = options
        self._may_batch = may_batch
        self._waiting: collections.deque[_Task] = collections.deque()
        self._waiting_rows = 0
        self._running = 0

    async def submit(self, inputs: Arrays, timeout_s: float | None = None) -> Arrays:
        """Returns all outputs for one request, in whichever batch they came.

        Args:
            inputs: Alias to array, checked, in the same order for every request.
            timeout_s: Seconds after which the request is not run any more.

        Raises:
            UnavailableError: Too much is waiting already.
            DeadlineExceededError: `timeout_s` passed.
            ServingError: The graph refused this request.
        """
        self._refuse_if_full()
        loop = asyncio.get_running_loop()
        deadline = None if timeout_s is None else loop.time() + timeout_s
        shapes = batch_axis.inner_shapes(inputs) if self._may_batch else None
        try:
            async with asyncio.timeout_at(deadline):
                if shapes is None:
                    return await self._enqueue(inputs, 1, None, deadline)
                rows = batch_axis.rows(inputs)
                if rows > self._options.max_batch_size:
                    return await self._in_slices(inputs, rows, shapes, deadline)
                return await self._enqueue(inputs, rows, shapes, deadline)
        except TimeoutError:
            raise DeadlineExceededError(_too_late(timeout_s or 0)) from None

    def _enqueue(
        self, inputs: Arrays, rows: int, shapes: Shapes | None, deadline: float | None
    ) -> asyncio.Future[Arrays]:
        """Puts one run's worth into the queue."""
        loop = asyncio.get_running_loop()
        task = _Task(inputs, rows, shapes, loop.create_future(), deadline)
        self._waiting.append(task)
        self._waiting_rows += rows
        self._start(loop)
        return task.answer

    async def _in_slices(
        self, inputs: Arrays, rows: int, shapes: Shapes, deadline: float | None
    ) -> Arrays:
        """Runs a large request piece by piece, so that others have their turn.

        In one piece it would take memory by its size, keep it, and stop the process
        for as long as it runs.
        """
        size = self._options.max_batch_size
        at_once = size * self._options.num_batch_threads
        parts: list[Arrays] = []
        for first in range(0, rows, at_once):
            starts = range(first, min(first + at_once, rows), size)
            ends = [min(start + size, rows) for start in starts]
            answers = [
                self._enqueue(
                    batch_axis.part(inputs, start, end), end - start, shapes, deadline
                )
                for start, end in zip(starts, ends, strict=True)
            ]
            found = await asyncio.gather(*answers)
            for start, end, part in zip(starts, ends, found, strict=True):
                if not batch_axis.fits(part, end - start):
                    # Not an answer per row: only the whole can be asked.
                    return await self._enqueue(inputs, 1, None, deadline)
            parts += found
        return {
            alias: np.concatenate([part[alias] for part in parts]) for alias in parts[0]
        }

    def _refuse_if_full(self) -> None:
        size = self._options.max_batch_size
        limit = self._options.max_enqueued_batches
        batches = -(-self._waiting_rows // size)
        if batches >= limit:
            raise UnavailableError(
                "The batch scheduling queue to which this task was submitted is full; "
                f"currently {batches} batches enqueued and max_enqueued_batches "
                f"is {limit}"
            )

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts as many batches as may run at once."""
        while self._waiting and self._running < self._options.num_batch_threads:
            tasks = self._take(loop.time())
            if not tasks:
                continue
            self._running += 1
            work = self._executor.submit(_run_tasks, self._run, tasks)
            work.add_done_callback(
                functools.partial(_on_loop, loop, self._finish, tasks)
            )

    def _take(self, now: float) -> list[_Task]:
        """Takes the next batch out of the queue; those that nobody awaits fall out."""
        tasks: list[_Task] = []
        skipped: list[_Task] = []
        rows = 0
        while self._waiting:
            task = self._waiting.popleft()
            if task.answer.done() or (task.deadline or now) < now:
                self._waiting_rows -= task.rows
                continue
            if tasks and task.shapes != tasks[0].shapes:
                skipped.append(task)
                continue
            if tasks and rows + task.rows > self._options.max_batch_size:
                self._waiting.appendleft(task)
                break
            tasks.append(task)
            rows += task.rows
            self._waiting_rows -= task.rows
            if task.shapes is None:
                break
        self._waiting.extendleft(reversed(skipped))
        return tasks

    def _finish(
        self,
        tasks: Sequence[_Task],
        done: concurrent.futures.Future[list[_Result]],
    ) -> None:
        self._running -= 1
        for task, result in zip(tasks, done.result(), strict=True):
            if task.answer.done():
                continue
            if isinstance(result, Exception):
                task.answer.set_exception(result)
            else:
                task.answer.set_result(result)
        self._start(task.answer.get_loop())


def _on_loop(
    loop: asyncio.AbstractEventLoop, finish: Callable[..., None], *args: object
) -> None:
    """Hands a batch's results to the event loop, unless the server has ended it."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(finish, *args)


def _run_tasks(
    run: Callable[[Arrays], Arrays], tasks: Sequence[_Task]
) -> list[_Result]:
    """Runs a batch; where it fails, each request alone, so none fails for another."""
    if len(tasks) > 1:
        try:
            return _split(run(_joined(tasks)), tasks)
        except Exception:
            # Whose fault it was shows below: that request fails again, alone.
            logger.debug("A batch of %d failed", len(tasks), exc_info=True)
    return [_run_alone(run, task) for task in tasks]


def _run_alone(run: Callable[[Arrays], Arrays], task: _Task) -> _Result:
    try:
        return run(task.inputs)
    except Exception as error:
        return error


def _joined(tasks: Sequence[_Task]) -> dict[str, np.ndarray]:
    return {
        alias: np.concatenate([task.inputs[alias] for task in tasks])
        for alias in tasks[0].inputs
    }


def _split(outputs: Arrays, tasks: Sequence[_Task]) -> list[_Result]:
    """Each request's rows of the outputs."""
    rows = sum(task.rows for task in tasks)
    if not batch_axis.fits(outputs, rows):
        raise ServingError("The outputs do not have one row per input row.")
    results: list[_Result] = []
    end = 0
    for task in tasks:
        start, end = end, end + task.rows
        results.append(batch_axis.part(outputs, start, end))
    return results


def _too_late(timeout_s: float) -> str:
    return f"The answer was not there after {timeout_s:g} seconds."
