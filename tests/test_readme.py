"""README's commands, typed as they stand there, print what stands below them."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import pytest

from tests.pipelines.conftest import smoke_settings

ROOT = pathlib.Path(__file__).parent.parent
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
# Only the data is another: commands and the labels of their output stay.
SETTINGS = smoke_settings()[1::2]


def _sessions() -> list[tuple[str, list[str]]]:
    """(command, lines shown below it) in the order of the file."""
    found = []
    for block in BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8")):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            typed, _, shown = part.replace("\\\n", " ").partition("\n")
            found.append((typed, shown.splitlines()))
    return found


def _shape(line: str) -> str:
    """A line without what differs from run to run: numbers, bars, spacing."""
    line = re.sub(r"\d(?:[\d.,:-]*\d)?(?:e[+-]?\d+)?", "#", line)
    return re.sub(r"\s+", " ", re.sub("█+", "", line)).strip()


def _is_printed(shown: str, printed: set[str]) -> bool:
    """Whether a line of README came out; `...` stands for any rest, or any lines."""
    start, cut, _ = shown.partition("...")
    if cut:
        return any(line.startswith(_shape(start)) for line in printed)
    return _shape(shown) in printed


def _replaced(line: str, substitutions: dict[str, str]) -> str:
    for old, new in substitutions.items():
        line = line.replace(old, new)
    return line


@pytest.fixture(scope="module")
def desk(tmp_path_factory, datasets_dir):
    """Environment and text substitutions of somebody with folders of their own."""
    folder = tmp_path_factory.mktemp("readme")
    ports = [str(_free_port()), str(_free_port())]
    environment = os.environ | {
        "STORE": str(folder / "models"),
        "RUNS": str(folder / "runs"),
        "EXAMPLES": str(folder / "examples"),
        "DATASETS": str(datasets_dir),
        "PORT": ports[0],
        "REST_PORT": ports[1],
        "SET": " ".join(SETTINGS),
    }
    return environment, {
        "artifacts/": f"{folder}/",
        ":8500": f":{ports[0]}",
        ":8501": f":{ports[1]}",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_commands_work_and_print_what_readme_shows(desk, tmp_path):
    environment, substitutions = desk
    log = tmp_path / "serve.log"
    server = None
    try:
        for typed, shown in _sessions():
            typed, *shown = (_replaced(line, substitutions) for line in (typed, *shown))
            if typed.startswith("make serve"):
                server = _start(typed, environment, log)
                output = log.read_text()
            else:
                output = _finish(typed, environment)
            printed = {_shape(line) for line in output.splitlines()} | {""}
            missing = [line for line in shown if not _is_printed(line, printed)]
            assert missing == [], f"{typed}\nprinted\n{output}"
    finally:
        if server:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=60)


def _start(
    typed: str, environment: dict[str, str], log: pathlib.Path
) -> subprocess.Popen:
    server = subprocess.Popen(
        typed,
        shell=True,
        cwd=ROOT,
        env=environment,
        stdout=log.open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    end = time.monotonic() + 90
    while "REST http" not in log.read_text() and time.monotonic() < end:
        assert server.poll() is None, log.read_text()
        time.sleep(0.2)
    return server


def _finish(typed: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        typed,
        shell=True,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{typed}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def test_readme_shows_the_two_commands_of_the_whole_way():
    typed = [command for command, _ in _sessions()]
    assert "make train MODEL=mnist_classifier" in typed
    assert "make serve" in typed
