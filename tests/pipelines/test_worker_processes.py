"""A local cluster ends as one: with what the first end of a worker was."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from pipelines import _worker_processes
from pipelines._worker_processes import WorkerError, Workers

SLEEPS = "import time; print('ready', flush=True); time.sleep(100)"
IGNORES = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPS}"
RESUMES = f"""
import os, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(75))
{SLEEPS}
"""
FAILS = "import sys; print('so far'); sys.exit('the reason')"
# Starts two that sleep, says who they are, and is killed.
LAUNCHES = """
import json, os, pathlib, sys, time
from pipelines._worker_processes import Workers
with Workers(pathlib.Path(sys.argv[1])) as workers:
    for _ in range(2):
        workers.start([sys.executable, "-c", sys.argv[2]], os.environ)
    print(json.dumps([child.pid for child in workers._started]), flush=True)
    workers.wait()
"""


@pytest.fixture
def workers(tmp_path):
    with Workers(tmp_path) as cluster:
        yield cluster


def start(workers, *scripts):
    for script in scripts:
        workers.start([sys.executable, "-c", script], os.environ)
    for place, script in enumerate(scripts):
        while SLEEPS in script and b"ready" not in workers.log(place).read_bytes():
            time.sleep(0.01)


def codes(workers):
    return [process.returncode for process in workers._started]


def test_all_that_do_their_work_are_a_success(workers):
    start(workers, "print('one')", "print('two')")
    workers.wait()
    assert codes(workers) == [0, 0]
    assert workers.log(1).read_text() == "two\n"


def test_what_the_first_worker_says_is_shown_and_kept(workers, capsys):
    start(workers, "import sys; print('here'); print('there', file=sys.stderr)", "")
    workers.wait()
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("here\n", "there\n")
    assert sorted(workers.log(0).read_text().split()) == ["here", "there"]


def test_lines_of_the_two_streams_are_whole_in_the_log(workers):
    script = (
        "import os, time; os.write(1, b'he'); time.sleep(0.2); "
        "os.write(2, b'there\\n'); time.sleep(0.2); os.write(1, b're'); "
        "time.sleep(0.2); os.write(2, b'at the end')"
    )
    start(workers, script, "")
    workers.wait()
    log = workers.log(0).read_text()
    assert log.startswith("there\n")
    assert log[6:] in ("hereat the end", "at the endhere")


def test_one_that_fails_ends_all_and_its_error_is_shown(workers, tmp_path):
    start(workers, SLEEPS, SLEEPS, FAILS)
    with pytest.raises(
        WorkerError, match="worker 2 of 3 ended with exit code 1"
    ) as end:
        workers.wait()
    assert str(tmp_path / "worker-2.log") in str(end.value)
    assert "    so far\n    the reason" in str(end.value)
    assert end.value.exit_code == 1
    assert codes(workers) == [-signal.SIGTERM, -signal.SIGTERM, 1]


def test_one_that_is_killed_ends_all_with_the_code_of_the_signal(workers):
    start(workers, SLEEPS, SLEEPS)
    workers._started[1].kill()
    with pytest.raises(WorkerError, match="worker 1 of 2 was killed by SIGKILL") as end:
        workers.wait()
    assert end.value.exit_code == 137


def test_one_that_wants_to_be_resumed_has_the_whole_be_resumed(workers):
    start(workers, SLEEPS, RESUMES)
    workers._started[1].terminate()
    with pytest.raises(WorkerError) as end:
        workers.wait()
    assert end.value.exit_code == 75


def test_one_that_does_not_end_when_told_is_killed(workers):
    start(workers, IGNORES, RESUMES)
    assert workers.end(signal.SIGTERM, limit_s=0.5) == [-signal.SIGKILL, 75]


def test_no_worker_outlives_a_launcher_that_is_killed(tmp_path):
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHES, tmp_path, SLEEPS],
        stdout=subprocess.PIPE,
        cwd=pathlib.Path(__file__).parents[2],
    )
    with launcher:
        # What the first worker says comes on the same stdout.
        pids = json.loads(next(s for s in launcher.stdout if s.startswith(b"[")))
        launcher.kill()
    limit = time.monotonic() + 10
    while any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < limit, "a worker is still there"
        time.sleep(0.01)


def test_a_port_is_held_until_a_worker_listens_there():
    with _worker_processes.addresses(2) as found:
        assert len(set(found)) == 2
        host, port = found[0].split(":")
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind((host, int(port)))
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            server.bind(("", int(port)))
            server.listen()
            # Calls reach the one that listens, not the one that holds the port.
            for _ in range(8):
                with socket.create_connection((host, int(port)), timeout=5):
                    server.accept()[0].close()
