"""The threads that run batches, over the queues of all models, in turn.

A thread that has just put requests into queues can run them itself, which saves the
wait for another thread to wake up.
"""

import collections
import concurrent.futures
import logging
import threading
from typing import Protocol

logger = logging.getLogger(__name__)


class Runnable(Protocol):
    """A queue with a batch to run."""

    def run_next(self) -> None:
        """Runs one batch."""
        ...


class RunThreads:
    """At most so many runs at a time, whichever threads they are in. Thread-safe."""

    def __init__(self, count: int) -> None:
        """Begins without anything to run.

        Args:
            count: Runs at the same time.
        """
        self.count = count
        self._threads = concurrent.futures.ThreadPoolExecutor(
            count, thread_name_prefix="run"
        )
        self._lock = threading.Lock()
        self._ready: collections.deque[Runnable] = collections.deque()
        self._running = 0

    def offer(self, queue: Runnable, *, wake: bool = True) -> None:
        """Puts a queue at the end of the line; its next batch is run in its turn.

        Args:
            queue: A queue that is not in the line.
            wake: Whether a thread is to be woken for it: False where the caller is
                about to `help`, or to `wake` one itself.
        """
        with self._lock:
            self._ready.append(queue)
            wake = wake and self._running < self.count
        if wake:
            self._threads.submit(self.help)

    def wake(self) -> None:
        """Wakes a thread for what was offered without one, if it still waits."""
        if self.wants_help():
            self._threads.submit(self.help)

    def wants_help(self) -> bool:
        """Whether there is something to run, and one more may run."""
        with self._lock:
            return bool(self._ready) and self._running < self.count

    def help(self) -> None:
        """Runs what is ready, until nothing is, or enough others do."""
        while True:
            with self._lock:
                if not self._ready or self._running >= self.count:
                    return
                queue = self._ready.popleft()
                self._running += 1
                more = bool(self._ready) and self._running < self.count
            if more:
                self._threads.submit(self.help)
            try:
                queue.run_next()
            except Exception:  # a bug here must not cost a thread
                logger.exception("Unexpected error while running a batch")
            finally:
                with self._lock:
                    self._running -= 1

    def shutdown(self) -> None:
        """Waits for what runs in threads of its own, and ends them."""
        self._threads.shutdown()
