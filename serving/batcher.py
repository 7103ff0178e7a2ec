"""Puts requests that wait at the same time through the graph as one batch.

A batch is whatever queued up while the batches before it ran: unless a timeout is set,
there is no timer, and a request that finds the server idle starts at once. Everything
here but the run itself happens on the event loop, so there are no locks.
"""

import asyncio
import collections
import concurrent.futures
import functools
from collections.abc import Callable, Sequence
from typing import Protocol

from serving import batch_axis
from serving.batch_axis import Arrays, Shapes
from serving.batch_run import Result, Task, run_tasks
from serving.batching_options import BatchingOptions
from serving.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    UnavailableError,
)
from serving.slices import Slices


class BatchObserver(Protocol):
    """Is told what passes through a queue, on the event loop."""

    def submitted(self, rows: int) -> None:
        """Takes note of a request."""
        ...

    def started(self, tasks: Sequence[Task], now: float) -> None:
        """Takes note of a batch that begins to run.

        Args:
            tasks: The requests in it.
            now: Time of the event loop.
        """
        ...


class Batcher:
    """The queue of one signature of one version. For one event loop."""

    def __init__(
        self,
        run: Callable[[Arrays], Arrays],
        executor: concurrent.futures.Executor,
        options: BatchingOptions,
        *,
        may_batch: bool,
        observer: BatchObserver | None = None,
    ) -> None:
        """Makes an empty queue.

        Args:
            run: Runs one batch and returns all outputs; called in the executor.
            executor: Threads, shared with other queues.
            options: Limits.
            may_batch: Whether rows of several requests may share a run.
            observer: Is told of requests and batches.
        """
        self._run = run
        self._executor = executor
        self._options = options
        self._may_batch = may_batch
        self._observer = observer
        self._waiting: collections.deque[Task] = collections.deque()
        self._waiting_rows = 0
        self._running = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Requests, or pieces of large ones, that are not running yet."""
        return len(self._waiting)

    async def submit(self, inputs: Arrays, timeout_s: float | None = None) -> Arrays:
        """Returns all outputs for one request, in whichever batch they came.

        Args:
            inputs: Alias to array, checked, in the same order for every request.
            timeout_s: Seconds after which the request is not run any more.

        Raises:
            InvalidRequestError: It has more rows than are allowed.
            UnavailableError: Too much is waiting already.
            DeadlineExceededError: `timeout_s` passed.
            ServingError: The graph refused this request.
        """
        loop = asyncio.get_running_loop()
        deadline = None if timeout_s is None else loop.time() + timeout_s
        pads = self._options.pads_inputs
        shapes = batch_axis.inner_shapes(inputs, pads=pads) if self._may_batch else None
        rows = 1 if shapes is None else batch_axis.rows(inputs)
        self._refuse_if_too_large(rows)
        self._refuse_if_full()
        if self._observer is not None:
            self._observer.submitted(rows)
        try:
            async with asyncio.timeout_at(deadline):
                if shapes is not None and rows > self._options.max_batch_size:
                    return await self._in_slices(inputs, rows, shapes, deadline)
                return await self._enqueue(inputs, rows, shapes, deadline).answer
        except TimeoutError:
            raise DeadlineExceededError(_too_late(timeout_s or 0)) from None

    def _enqueue(
        self, inputs: Arrays, rows: int, shapes: Shapes | None, deadline: float | None
    ) -> Task:
        """Puts one run's worth into the queue."""
        loop = asyncio.get_running_loop()
        task = Task(inputs, rows, shapes, loop.create_future(), deadline, loop.time())
        self._waiting.append(task)
        self._waiting_rows += self._counted_rows(task)
        self._start(loop)
        return task

    async def _in_slices(
        self, inputs: Arrays, rows: int, shapes: Shapes, deadline: float | None
    ) -> Arrays:
        """Runs a large request piece by piece, so that others have their turn.

        In one piece it would take memory by its size, keep it, and stop the process
        for as long as it runs.
        """
        slices = Slices(self._options)
        parts: list[Arrays] = []
        end = 0
        while end < rows:
            tasks: list[Task] = []
            while end < rows and len(tasks) < self._options.num_batch_threads:
                start, end = end, min(end + slices.rows, rows)
                piece = batch_axis.part(inputs, start, end)
                tasks.append(self._enqueue(piece, end - start, shapes, deadline))
            found = await asyncio.gather(*(task.answer for task in tasks))
            for task, part in zip(tasks, found, strict=True):
                if not batch_axis.fits(part, task.rows):
                    # Not an answer per row: only the whole can be asked.
                    return await self._enqueue(inputs, 1, None, deadline).answer
            slowest = max(tasks, key=lambda task: task.run_s)
            slices.adapt(slowest.rows, slowest.run_s, slowest.inputs, found[0])
            parts += found
        return {
            alias: batch_axis.joined([part[alias] for part in parts])
            for alias in parts[0]
        }

    def _refuse_if_too_large(self, rows: int) -> None:
        limit = self._options.max_request_rows
        if limit is not None and rows > limit:
            raise InvalidRequestError(
                f"Task size {rows} is larger than maximum input batch size {limit}"
            )

    def _counted_rows(self, task: Task) -> int:
        """Rows as they fill the queue: a slice is one batch, however large."""
        return min(task.rows, self._options.max_batch_size)

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
            wait_s = self._wait_s(loop.time())
            if wait_s > 0:
                if self._timer is None:
                    self._timer = loop.call_later(wait_s, self._on_timer, loop)
                return
            tasks = self._take(loop.time())
            if not tasks:
                continue
            if self._observer is not None:
                self._observer.started(tasks, loop.time())
            self._running += 1
            sizes = self._options.allowed_batch_sizes
            work = self._executor.submit(run_tasks, self._run, tasks, sizes)
            work.add_done_callback(
                functools.partial(_on_loop, loop, self._finish, tasks)
            )

    def _wait_s(self, now: float) -> float:
        """Seconds that the next batch may still wait for more; 0 to run it now."""
        timeout_s, first = self._options.batch_timeout_s, self._waiting[0]
        is_full = self._waiting_rows >= self._options.max_batch_size
        if not timeout_s or is_full or first.shapes is None:
            return 0.0
        return first.since + timeout_s - now

    def _on_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        self._start(loop)

    def _take(self, now: float) -> list[Task]:
        """Takes the next batch out of the queue; those that nobody awaits fall out."""
        tasks: list[Task] = []
        skipped: list[Task] = []
        rows = 0
        while self._waiting:
            task = self._waiting.popleft()
            if task.answer.done() or (task.deadline or now) < now:
                self._waiting_rows -= self._counted_rows(task)
                continue
            if tasks and task.shapes != tasks[0].shapes:
                skipped.append(task)
                continue
            if tasks and rows + task.rows > self._options.max_batch_size:
                self._waiting.appendleft(task)
                break
            tasks.append(task)
            rows += task.rows
            self._waiting_rows -= self._counted_rows(task)
            if task.shapes is None:
                break
        self._waiting.extendleft(reversed(skipped))
        return tasks

    def _finish(
        self,
        tasks: Sequence[Task],
        done: concurrent.futures.Future[list[Result]],
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


def _too_late(timeout_s: float) -> str:
    return f"The answer was not there after {timeout_s:g} seconds."
