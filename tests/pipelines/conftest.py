"""A store trained once by the real command, and one server over it."""

import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import pytest

from trainers import mnist_classifier

ROOT = pathlib.Path(__file__).parent.parent.parent
MODEL = "mnist_classifier"
READY_LINE = re.compile(r"gRPC (?P<grpc>\S+:\d+), REST (?P<rest>http://\S+:\d+)")


def command(
    verb: str, *arguments: object, **options: object
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m pipelines.<verb>` to its end and returns what it printed."""
    return subprocess.run(
        [sys.executable, "-m", f"pipelines.{verb}", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )


def smoke_settings() -> list[str]:
    """`SMOKE` as `--set` flags: what differs from the default Config."""
    default, smoke = mnist_classifier.Config(), mnist_classifier.SMOKE
    changed = {
        field.name: getattr(smoke, field.name)
        for field in dataclasses.fields(smoke)
        if getattr(smoke, field.name) != getattr(default, field.name)
    }
    return [
        text
        for name, value in changed.items()
        for text in ("--set", f"{name}={_as_typed(value)}")
    ]


def _as_typed(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


@dataclasses.dataclass(frozen=True)
class Workplace:
    """Folders of one user, and the commands typed there."""

    store: pathlib.Path
    runs: pathlib.Path
    datasets: pathlib.Path
    examples: pathlib.Path

    def train(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Trains the SMOKE model; `arguments` come after its settings."""
        return command(
            "train",
            MODEL,
            *smoke_settings(),
            *("--store", self.store),
            *("--runs", self.runs),
            *("--datasets", self.datasets),
            *("--examples", self.examples),
            *arguments,
        )


class Server:
    """A serving process on free ports, up until `stop`."""

    def __init__(self, arguments: Sequence[object], log: pathlib.Path) -> None:
        self._log = log
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.serve", *map(str, arguments)]
            + ["--port=0", "--rest_api_port=0"],
            cwd=ROOT,
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        ready = self._wait_until_ready()
        self.grpc_address, self.rest_url = ready["grpc"], ready["rest"]

    def _wait_until_ready(self, seconds: float = 90) -> re.Match[str]:
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            if ready := READY_LINE.search(self.output()):
                return ready
            time.sleep(0.1)
        self.process.kill()
        raise RuntimeError(f"The server did not become ready:\n{self.output()}")

    def output(self) -> str:
        """All that the process printed so far."""
        return self._log.read_text()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Sends the signal and returns the exit code."""
        self.process.send_signal(how)
        return self.process.wait(timeout=60)


@pytest.fixture(scope="session")
def workplace(tmp_path_factory, datasets_dir) -> Workplace:
    folder = tmp_path_factory.mktemp("workplace")
    return Workplace(
        folder / "models",
        folder / "runs",
        pathlib.Path(datasets_dir),
        folder / "examples",
    )


@pytest.fixture(scope="session")
def trained(workplace) -> subprocess.CompletedProcess[str]:
    """The first training's output; after it the store holds version 1."""
    done = workplace.train()
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="session")
def server(workplace, trained, tmp_path_factory) -> Iterator[Server]:
    """One server over the trained store, for every test that only asks."""
    del trained  # only needed to have happened
    log = tmp_path_factory.mktemp("server") / "log"
    running = Server([f"--store={workplace.store}"], log)
    yield running
    if running.process.poll() is None:
        running.stop()
