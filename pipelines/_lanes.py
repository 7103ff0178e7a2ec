"""Shards on all cores of this machine: one after the other, in threads or processes.

LiteRT and the reading of rows keep one core busy each shard, and the interpreter's lock
would let only one of them read: processes. TensorFlow uses all cores for one batch, and
takes seconds and much memory to load: threads. A process ends at once when its parent
does, however that ended.
"""

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from multiprocessing import connection
from typing import Any

from pipelines import _shard
from pipelines._plan import Shard
from pipelines._scorer import Listener, Runs
from pipelines._shard import Job
from pipelines._sources import Refusal
from savedmodels.errors import MaaskitError
from serving.errors import ServingError

Numbered = tuple[int, Shard]
Done = Callable[[dict[str, Any]], None]

_TOLD_EVERY_S = 0.1
_IN_TURN = 0  # no threads for a shard that has a core for itself: see `answers`


def one_by_one(
    job: Job,
    runs: Runs,
    todo: Iterable[Numbered],
    listener: Listener,
    done: Done,
    threads: int | None = None,
) -> None:
    """Scores shards in this thread, each with several batches at once."""
    for number, spans in todo:
        done(_shard.score(job, number, spans, runs, listener, threads))


def in_threads(
    job: Job,
    runs: Runs,
    todo: Sequence[Numbered],
    listener: Listener,
    done: Done,
    lanes: int,
) -> None:
    """Scores as many shards at once as there are lanes, in threads.

    Raises:
        MaaskitError: A shard could not be written; the others are given up.
    """
    waiting: queue.SimpleQueue[Numbered] = queue.SimpleQueue()
    for item in todo:
        waiting.put(item)
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    stopped = threading.Event()

    def lane() -> None:
        teller = _Teller(told.put, stopped)
        try:
            while not stopped.is_set():
                number, spans = waiting.get_nowait()
                manifest = _shard.score(job, number, spans, runs, teller, threads=1)
                teller.flush()
                told.put(("done", manifest))
        except queue.Empty:
            told.put(("ended", None))
        except BaseException as error:
            told.put(("ended", error))

    threads = [
        threading.Thread(target=lane, name=f"lane-{index}") for index in range(lanes)
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in threads:
            while (error := _hear(told.get(), listener, done)) is _GOES_ON:
                continue
            if error is not None:
                raise error
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def in_processes(
    job: Job, todo: Sequence[Numbered], listener: Listener, done: Done, lanes: int
) -> None:
    """Scores as many shards at once as there are lanes, each in a process of its own.

    Raises:
        MaaskitError: A shard could not be written, or a process died; the others are
            ended.
    """
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    waiting = list(reversed(todo))
    try:
        for index in range(lanes):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_work, args=(theirs, job), name=f"lane-{index}", daemon=True
            )
            process.start()
            theirs.close()
            pipes.append(ours)
            processes.append(process)
        busy = set(pipes)
        while busy:
            for pipe in connection.wait(list(busy)):
                if not _serve(pipe, waiting, listener, done):  # type: ignore[arg-type]
                    busy.discard(pipe)
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.join()


_GOES_ON = object()


def _hear(message: tuple[str, Any], listener: Listener, done: Done) -> Any:
    """Passes on what a lane says; returns how it ended, or that it did not."""
    kind, content = message
    if kind == "ended":
        return content
    if kind == "done":
        done(content)
    elif kind == "scored":
        listener.scored(content)
    elif kind == "refused":
        listener.refused(content)
    else:
        listener.note(*content)
    return _GOES_ON


def _serve(
    pipe: connection.Connection,
    waiting: list[Numbered],
    listener: Listener,
    done: Done,
) -> bool:
    """Hears one message of a process; whether it goes on."""
    try:
        kind, content = pipe.recv()
    except (EOFError, ConnectionError):
        raise MaaskitError(
            "A process that scored a shard died: the system may be out of memory. "
            "Type the same again to go on, with fewer --workers if it happens again."
        ) from None
    if kind == "failed":
        raise MaaskitError(content)
    if kind == "next":
        if not waiting:
            pipe.send(None)
            return False
        pipe.send(waiting.pop())
        return True
    _hear((kind, content), listener, done)
    return True


class _Teller(Listener):
    """Tells what it hears to whoever listens on the other side."""

    def __init__(
        self, tell: Callable[[Any], None], stopped: threading.Event | None = None
    ) -> None:
        self._tell = tell
        self._stopped = stopped
        self._noted: set[str] = set()
        self._rows = 0  # that nobody was told of yet
        self._told = time.monotonic()

    def scored(self, rows: int) -> None:
        if self._stopped is not None and self._stopped.is_set():
            raise MaaskitError("Another shard failed.")
        self._rows += rows
        # Whoever listens would take the core that scores, if woken for each batch.
        if time.monotonic() - self._told >= _TOLD_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Tells the rest."""
        self._told = time.monotonic()
        if self._rows:
            self._tell(("scored", self._rows))
        self._rows = 0

    def refused(self, refusal: Refusal) -> None:
        self._tell(("refused", refusal))

    def note(self, about: str, message: str) -> None:
        if about not in self._noted:
            self._noted.add(about)
            self._tell(("note", (about, message)))


def _work(pipe: connection.Connection, job: Job) -> None:
    """What a process does: asks for a shard, scores it, and so on."""
    # Ctrl-C reaches the parent too, which ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    given: queue.SimpleQueue[Numbered | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, given), daemon=True).start()
    teller = _Teller(pipe.send)
    try:
        runs = job.load()
        while True:
            pipe.send(("next", None))
            item = given.get()
            if item is None:
                return
            number, spans = item
            manifest = _shard.score(job, number, spans, runs, teller, _IN_TURN)
            teller.flush()
            pipe.send(("done", manifest))
    except ConnectionError:
        return  # the parent has gone
    except (MaaskitError, ServingError) as error:
        pipe.send(("failed", str(error)))


def _listen(
    pipe: connection.Connection, given: "queue.SimpleQueue[Numbered | None]"
) -> None:
    """Takes what the parent gives, and ends the process with the parent."""
    try:
        while True:
            given.put(pipe.recv())
    except (EOFError, OSError):
        os._exit(1)
