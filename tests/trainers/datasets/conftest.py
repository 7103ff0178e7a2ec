"""pip that looks nowhere but into a folder, and processes that stop where told."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def pip_finds_only(monkeypatch) -> Callable[[Path], None]:
    """Points pip at one folder of files instead of any index."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")

    def point(folder: Path) -> None:
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    return point


@pytest.fixture
def start_process() -> Callable[..., subprocess.Popen]:
    """Starts Python on a piece of code; the process ends with the test."""
    started = []

    def start(code: str, *arguments: object) -> subprocess.Popen:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()
