"""The processes of a local cluster: started, watched, and all ended with the first.

Each worker writes to a log file of its own. What the chief, the first one, writes is
shown besides. A worker that waits for a lost one hears of it from TensorFlow after
some seconds, or never; so it is ended from here.
"""

import contextlib
import os
import pathlib
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

from pipelines import _children
from savedmodels.errors import MaaskitError

# Told to end, a worker may write a checkpoint first.
_TOLD_S = 60
# One whose neighbour is gone has nothing to write, and may wait for it in vain.
_BEREFT_S = 10
_LAST_LINES = 20
_KILLED = 128  # what shells add to the number of the signal


class WorkerError(MaaskitError):
    """A worker ended before its work was done."""

    def __init__(self, message: str, exit_code: int) -> None:
        """Takes what to say and the code to end with."""
        super().__init__(message)
        self.exit_code = exit_code


class Workers:
    """A local cluster. A context manager that leaves no process behind."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Starts nothing yet.

        Args:
            folder: Takes a log per worker; made if missing.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        self._watching: list[threading.Thread] = []
        self._ended: queue.SimpleQueue[int] = queue.SimpleQueue()

    def __enter__(self) -> "Workers":
        """Nothing to do before the first worker."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends what still runs."""
        self.end(signal.SIGTERM, _BEREFT_S)

    def log(self, place: int) -> pathlib.Path:
        """Returns the log file of a worker."""
        return self._folder / f"worker-{place}.log"

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Starts the next worker.

        Args:
            command: Program and arguments.
            environment: All variables.
        """
        place = len(self._started)
        shown = place == 0
        log = self.log(place).open("wb", buffering=0)
        with log, _children.uninterrupted():
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if shown else log,
                stderr=subprocess.PIPE if shown else log,
                start_new_session=True,  # Ctrl-C comes here, and is passed on
                preexec_fn=_children.end_with_parent,
            )
            self._started.append(process)
        self._watch(self._wait, place)
        if process.stdout is not None and process.stderr is not None:
            self._watch(_show, process.stdout, sys.stdout, self.log(place))
            self._watch(_show, process.stderr, sys.stderr, self.log(place))

    def wait(self) -> None:
        """Waits until every worker has done its work.

        Raises:
            WorkerError: One has not; the others are ended then.
        """
        for _ in self._started:
            place = self._ended.get()
            if code := self._started[place].returncode:
                self.end(signal.SIGTERM, _BEREFT_S)
                raise self._failure(place, code)
        self._join()

    def end(self, number: signal.Signals, limit_s: float = _TOLD_S) -> list[int]:
        """Sends a signal to those that still run, and kills them if it does not help.

        Args:
            number: The signal.
            limit_s: How long they may take over it, all together.

        Returns:
            What each worker ended with, negative for a signal.
        """
        for process in self._started:
            if process.poll() is None:
                process.send_signal(number)
        limit = time.monotonic() + limit_s
        for process in self._started:
            try:
                process.wait(max(0, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._join()
        return [process.returncode for process in self._started]

    def _wait(self, place: int) -> None:
        self._started[place].wait()
        self._ended.put(place)

    def _watch(self, what: object, *arguments: object) -> None:
        thread = threading.Thread(target=what, args=arguments, daemon=True)  # type: ignore[arg-type]
        thread.start()
        self._watching.append(thread)

    def _join(self) -> None:
        """Waits for the last words of the workers, which have ended."""
        for thread in self._watching:
            thread.join()
        self._watching.clear()

    def _failure(self, place: int, code: int) -> WorkerError:
        if code < 0:
            how, code = f"was killed by {signal.Signals(-code).name}", _KILLED - code
        else:
            how = f"ended with exit code {code}"
        what = f"worker {place} of {len(self._started)} {how}; the others were ended."
        if place == 0:
            return WorkerError(f"{what} Its messages above say why.", code)
        log = self.log(place)
        lines = log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        last = "\n".join(f"    {line}" for line in lines) or "    (nothing)"
        return WorkerError(f"{what} The end of {log}:\n{last}", code)


@contextlib.contextmanager
def addresses(count: int) -> Iterator[list[str]]:
    """Holds free ports of this machine, and gives their addresses.

    Only processes of the same user that ask for it can listen there beside this one:
    TensorFlow's servers with `environment`. So nobody takes a port before they do.
    """
    with contextlib.ExitStack() as held:
        found = []
        for _ in range(count):
            holder = held.enter_context(socket.socket())
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            holder.bind(("127.0.0.1", 0))
            found.append(f"127.0.0.1:{holder.getsockname()[1]}")
        yield found


def environment() -> dict[str, str]:
    """Returns this process's variables, and what a worker needs besides."""
    return os.environ | {"TF_GRPC_REUSE_PORT": "true", "PYTHONUNBUFFERED": "1"}


def _show(source: IO[bytes], console: IO[str], log: pathlib.Path) -> None:
    """Copies what a worker writes to the console and to its log, line by line.

    Its two streams meet there, and it writes a line and its end apart.
    """
    with source, log.open("ab", buffering=0) as copy:
        rest = b""
        while chunk := os.read(source.fileno(), 1 << 16):
            rest += chunk
            end = max(rest.rfind(b"\n"), rest.rfind(b"\r")) + 1
            _write(rest[:end], console, copy)
            rest = rest[end:]
        _write(rest, console, copy)


def _write(text: bytes, console: IO[str], log: IO[bytes]) -> None:
    log.write(text)
    # A console that is gone must not stop the training.
    with contextlib.suppress(OSError, ValueError):
        console.write(text.decode(errors="replace"))
        console.flush()
