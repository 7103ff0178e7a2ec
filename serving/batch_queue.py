"""Requests that wait at the same time go through the graph as one batch.

A batch is whatever queued up while the batches before it ran: unless a timeout is set,
there is no timer, and a request that finds the server idle starts at once. One that
finds a short run going waits for its end; where runs are long, or many wait, they run
at the same time.
"""

import asyncio
import collections
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from serving import batch_answers
from serving.batch_axis import Arrays
from serving.batch_run import Task, run_tasks
from serving.batching_options import BatchingOptions
from serving.errors import InvalidRequestError, UnavailableError
from serving.run_threads import RunThreads
from serving.short_runs import ShortRuns

# Under overload each request that is refused would look at all that wait.
_DROP_EVERY_S = 0.01


class BatchObserver(Protocol):
    """Is told what passes through a queue, by any thread."""

    def submitted(self, rows: int) -> None:
        """Takes note of a request."""
        ...

    def started(self, tasks: Sequence[Task], now: float) -> None:
        """Takes note of a batch that begins to run.

        Args:
            tasks: The requests in it.
            now: Time of the monotonic clock.
        """
        ...


class BatchQueue:
    """The queue of one signature of one version. Thread-safe.

    Where a timeout is set, requests come from an event loop, which keeps the time.
    """

    def __init__(
        self,
        run: Callable[[Arrays], Arrays],
        threads: RunThreads,
        options: BatchingOptions,
        observer: BatchObserver | None = None,
    ) -> None:
        """Makes an empty queue.

        Args:
            run: Runs one batch and returns all outputs.
            threads: Which call it, shared with other queues.
            options: Limits.
            observer: Is told of requests and batches.
        """
        self._run = run
        self._threads = threads
        self._options = options
        self._observer = observer
        self._lock = threading.Lock()
        self._waiting: collections.deque[Task] = collections.deque()
        self._waiting_rows = 0
        self._in_line = False  # for a thread
        self._runs = ShortRuns()
        self._timer: asyncio.TimerHandle | None = None
        self._next_drop = 0.0

    @property
    def waiting(self) -> int:
        """Requests, or pieces of large ones, that are not running yet."""
        return len(self._waiting)

    def admit(self, rows: int) -> None:
        """Lets a request in, whose tasks may then be put.

        Args:
            rows: Rows of the request.

        Raises:
            InvalidRequestError: It has more rows than are allowed.
            UnavailableError: Too much is waiting already.
        """
        self._refuse_if_too_large(rows)
        self._refuse_if_full()
        if self._observer is not None:
            self._observer.submitted(rows)

    def put(self, task: Task) -> bool:
        """Adds a task, which is answered once its batch has run.

        Args:
            task: A request that was admitted, or a piece of one.

        Returns:
            Whether the queue got in line, so that the caller must help or wake others.
        """
        with self._lock:
            self._waiting.append(task)
            self._waiting_rows += self._counted_rows(task)
            if self._in_line:  # as it mostly is: without the lock a second time
                return False
        return self._start(wake=False)

    def run_next(self) -> None:
        """Runs one batch, and answers those that are in it."""
        now = time.monotonic()
        with self._lock:
            tasks = self._take(now)
            self._in_line = False
            if tasks:
                self._runs.began()
        self._start_rest()
        if not tasks:
            return
        try:
            if self._observer is not None:
                self._observer.started(tasks, now)
            results = run_tasks(self._run, tasks, self._options.allowed_batch_sizes)
        finally:
            with self._lock:
                self._runs.ended(tasks[0].run_s)
            self._start_rest()
        batch_answers.hand_over(tasks, results)

    def _start(self, *, wake: bool = True) -> bool:
        """Gets in line if something is to run; else the timer looks again."""
        with self._lock:
            if not self._waiting or self._in_line or self._waits_for_run():
                return False
            wait_s = self._wait_s(time.monotonic())
            self._in_line = wait_s <= 0
        if wait_s <= 0:
            self._threads.offer(self, wake=wake)
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(wait_s, self._on_timer)
        return wait_s <= 0

    def _start_rest(self) -> None:
        """Gets in line for what still waits; in any thread."""
        if not self._options.batch_timeout_s:
            self._start()
            return
        with self._lock:
            first = self._waiting[0] if self._waiting else None
        if first is not None:
            batch_answers.call_on(first.answer.get_loop(), self._start)

    def _waits_for_run(self) -> bool:
        """Whether the next batch does; one that shares no run has nothing to gain."""
        if self._options.batch_timeout_s or self._waiting[0].shapes is None:
            return False
        return self._runs.are_worth_waiting_for(self._waiting_rows)

    def _on_timer(self) -> None:
        self._timer = None
        self._start()

    def _wait_s(self, now: float) -> float:
        """Seconds that the next batch may still wait for more; 0 to run it now."""
        timeout_s, first = self._options.batch_timeout_s, self._waiting[0]
        is_full = self._waiting_rows >= self._options.max_batch_size
        if not timeout_s or is_full or first.shapes is None:
            return 0.0
        return first.since + timeout_s - now

    def _take(self, now: float) -> list[Task]:
        """Takes the next batch out of the queue; those that nobody awaits fall out."""
        tasks: list[Task] = []
        skipped: list[Task] = []
        rows = 0
        while self._waiting:
            task = self._waiting.popleft()
            if _is_gone(task, now):
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

    def _refuse_if_too_large(self, rows: int) -> None:
        limit = self._options.max_request_rows
        if limit is not None and rows > limit:
            raise InvalidRequestError(
                f"Task size {rows} is larger than maximum input batch size {limit}"
            )

    def _refuse_if_full(self) -> None:
        if not self._is_full():
            return
        with self._lock:
            self._drop_those_gone(time.monotonic())
        if self._is_full():
            batches = self._waiting_batches()
            limit = self._options.max_enqueued_batches
            raise UnavailableError(
                "The batch scheduling queue to which this task was submitted is full; "
                f"currently {batches} batches enqueued and max_enqueued_batches "
                f"is {limit}"
            )

    def _is_full(self) -> bool:
        return self._waiting_batches() >= self._options.max_enqueued_batches

    def _waiting_batches(self) -> int:
        return -(-self._waiting_rows // self._options.max_batch_size)

    def _drop_those_gone(self, now: float) -> None:
        """Frees the room of requests that nobody awaits, once in a while."""
        if now < self._next_drop:
            return
        self._next_drop = now + _DROP_EVERY_S
        for _ in range(len(self._waiting)):
            task = self._waiting.popleft()
            if _is_gone(task, now):
                self._waiting_rows -= self._counted_rows(task)
            else:
                self._waiting.append(task)

    def _counted_rows(self, task: Task) -> int:
        """Rows as they fill the queue: a slice is one batch, however large."""
        return min(task.rows, self._options.max_batch_size)


def _is_gone(task: Task, now: float) -> bool:
    return task.answer.done() or (task.deadline or now) < now
