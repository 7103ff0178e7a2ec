"""The processes of `make bench`: started, asked, and ended whatever happens.

Each is in a session of its own, so that Ctrl-C reaches this process alone, which then
ends them by their ids.
"""

import json
import os
import pathlib
import re
import select
import subprocess
import sys
from typing import IO, Any, Self, cast

from pipelines import _children
from savedmodels import protos
from savedmodels.errors import MaaskitError

_START_LIMIT_S = 180
_STOP_LIMIT_S = 15
_SERVING = re.compile(r"serving: gRPC (\S+?),? REST http://(\S+?), .*")
_ROOT = pathlib.Path(__file__).parent.parent


class Process:
    """One process that tells lines on stdout; its stderr goes to a file."""

    def __init__(self, name: str, arguments: list[str], log: pathlib.Path) -> None:
        """Starts `python -m <arguments>`.

        Args:
            name: For messages.
            arguments: Module and its arguments.
            log: File for its stderr.
        """
        self._name = name
        self._log = log
        with log.open("wb") as stderr:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=_ROOT,
                env=protos.QUIET | os.environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
                preexec_fn=_children.end_with_parent,
            )
        self._stdin = cast(IO[bytes], self._popen.stdin)
        self._stdout = cast(IO[bytes], self._popen.stdout)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    def line(self, limit_s: float = _START_LIMIT_S) -> str:
        """Waits for the next line of its stdout, and returns it.

        Raises:
            MaaskitError: The process ended, or says nothing in time.
        """
        ready, _, _ = select.select([self._stdout], [], [], limit_s)
        line = self._stdout.readline().decode() if ready else ""
        if not line:
            what = "has ended" if ready else f"says nothing for {limit_s:g} s"
            tail = self._log.read_text(errors="replace")[-2000:].strip()
            raise MaaskitError(f"The process `{self._name}` {what}. {tail}".strip())
        return line

    def tell(self, line: str) -> None:
        """Writes a line to its stdin."""
        self._stdin.write(line.encode() + b"\n")
        self._stdin.flush()

    def job(self, job: dict[str, Any]) -> None:
        """Gives a worker a job; `answer` waits for its end."""
        self.tell(json.dumps(job))

    def answer(self, limit_s: float = _START_LIMIT_S) -> dict[str, Any]:
        """Returns what a worker says about its job.

        Raises:
            MaaskitError: The job failed.
        """
        answer: dict[str, Any] = json.loads(self.line(limit_s))
        if "error" in answer:
            raise MaaskitError(f"`{self._name}` failed: {answer['error']}")
        return answer

    def resident_mb(self) -> float:
        """Returns its resident memory, in 10^6 bytes."""
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
        return int(found[1]) * 1024 / 1e6 if found else float("nan")

    def terminate(self) -> None:
        """Asks it to end, and waits for nothing."""
        if self._popen.poll() is None:
            self._popen.terminate()

    def wait(self) -> None:
        """Waits for its end, and makes one where it does not come."""
        try:
            self._popen.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._stdin.close()
        self._stdout.close()


class Processes:
    """All processes of one benchmark. A context manager that ends them."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Starts nothing yet.

        Args:
            folder: Takes their logs.
        """
        self.folder = folder
        self._started: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            process.terminate()
        for process in self._started:
            process.wait()

    def start(self, name: str, *arguments: object) -> Process:
        """Starts `python -m <arguments>`, and does not wait for it."""
        log = self.folder / f"{len(self._started)}.log"
        with _children.uninterrupted():
            process = Process(name, [str(argument) for argument in arguments], log)
            self._started.append(process)
        return process

    def serve(self, name: str, *flags: object) -> tuple[Process, str, str]:
        """Starts `python -m serving`, and waits until its models are loaded.

        Returns:
            The process, its gRPC and its REST address, each `host:port`.

        Raises:
            MaaskitError: It did not start.
        """
        ports = ("--port=0", "--rest_api_port=0")
        process = self.start(name, "serving", *flags, *ports)
        line = process.line()
        found = _SERVING.fullmatch(line.strip())
        if not found:
            raise MaaskitError(f"The process `{name}` did not start: {line.strip()}")
        return process, found[1], found[2]

    def stop(self, process: Process) -> None:
        """Ends one of them early."""
        process.terminate()
        process.wait()
        self._started.remove(process)
