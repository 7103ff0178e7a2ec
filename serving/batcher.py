"""Requests of an event loop on their way into a `BatchQueue`; large ones in slices.

Everything here happens on the event loop; what runs batches is in `batch_queue`.
"""

import asyncio
import time
from collections.abc import Callable

from serving import batch_axis
from serving.batch_axis import Arrays, Shapes
from serving.batch_queue import BatchObserver, BatchQueue
from serving.batch_run import Task
from serving.batching_options import BatchingOptions
from serving.errors import DeadlineExceededError
from serving.run_threads import RunThreads
from serving.slices import Slices


class Batcher:
    """Asks one signature of one version. For one event loop."""

    def __init__(
        self,
        run: Callable[[Arrays], Arrays],
        threads: RunThreads,
        options: BatchingOptions,
        *,
        may_batch: bool,
        observer: BatchObserver | None = None,
    ) -> None:
        """Makes an empty queue.

        Args:
            run: Runs one batch and returns all outputs.
            threads: Which call it, shared with other queues.
            options: Limits.
            may_batch: Whether rows of several requests may share a run.
            observer: Is told of requests and batches.
        """
        self._options = options
        self._threads = threads
        self._may_batch = may_batch
        self.queue = BatchQueue(run, threads, options, observer)

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
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        shapes, rows = self.measure(inputs)
        self.queue.admit(rows)
        try:
            async with asyncio.timeout(timeout_s):
                if self._is_large(shapes, rows):
                    return await self._in_slices(inputs, rows, shapes, deadline)
                return await self._enqueue(inputs, rows, shapes, deadline)[1]
        except TimeoutError:
            raise DeadlineExceededError(_too_late(timeout_s or 0)) from None

    def measure(self, inputs: Arrays) -> tuple[Shapes | None, int]:
        """Returns what a task of these inputs has as `shapes` and as `rows`."""
        pads = self._options.pads_inputs
        shapes = batch_axis.inner_shapes(inputs, pads=pads) if self._may_batch else None
        return shapes, 1 if shapes is None else batch_axis.rows(inputs)

    def starts_at_once(self, shapes: Shapes | None, rows: int) -> bool:
        """Whether a request is one task, and may run as soon as a thread is free."""
        is_large = self._is_large(shapes, rows)
        return not is_large and not self._options.batch_timeout_s

    def _is_large(self, shapes: Shapes | None, rows: int) -> bool:
        return shapes is not None and rows > self._options.max_batch_size

    def _enqueue(
        self,
        inputs: Arrays,
        rows: int,
        shapes: Shapes | None,
        deadline: float | None,
        *,
        is_slice: bool = False,
    ) -> tuple[Task, asyncio.Future[Arrays]]:
        """Puts one run's worth into the queue."""
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        task = Task(inputs, rows, shapes, answer, deadline, time.monotonic())
        if not self.queue.put(task):
            return task, answer
        if is_slice:
            self._threads.wake()
        else:
            # What else comes in this turn of the event loop shares the batch. A thread
            # that is woken earlier takes the interpreter's lock for the first alone.
            loop.call_soon(self._threads.wake)
        return task, answer

    async def _in_slices(
        self, inputs: Arrays, rows: int, shapes: Shapes | None, deadline: float | None
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
            answers: list[asyncio.Future[Arrays]] = []
            while end < rows and len(tasks) < self._options.num_batch_threads:
                start, end = end, min(end + slices.rows, rows)
                piece = batch_axis.part(inputs, start, end)
                task, answer = self._enqueue(
                    piece, end - start, shapes, deadline, is_slice=True
                )
                tasks.append(task)
                answers.append(answer)
            found = await asyncio.gather(*answers)
            for task, part in zip(tasks, found, strict=True):
                if not batch_axis.fits(part, task.rows):
                    # Not an answer per row: only the whole can be asked.
                    return await self._enqueue(inputs, 1, None, deadline)[1]
            slowest = max(tasks, key=lambda task: task.run_s)
            slices.adapt(slowest.rows, slowest.run_s, slowest.inputs, found[0])
            parts += found
        return {
            alias: batch_axis.joined([part[alias] for part in parts])
            for alias in parts[0]
        }


def _too_late(timeout_s: float) -> str:
    return f"The answer was not there after {timeout_s:g} seconds."
