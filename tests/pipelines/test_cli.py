"""How every command ends: by itself, by a signal, by a mistake, by a full disk."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from pipelines import train
from trainers import _catalog

ROOT = pathlib.Path(__file__).parent.parent.parent
SLEEPER = """
import time
from pipelines import _cli

@_cli.command
def main(argv):
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)
    return 0

raise SystemExit(main([]))
"""


def _run(verb, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", f"pipelines.{verb}", *map(str, arguments)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        **options,
    )


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGINT, 130, "interrupted"),
    ],
)
def test_a_signal_cleans_up_and_says_one_word(number, code, word):
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (code, "cleaned up\n", f"{word}\n")


@pytest.mark.parametrize(
    ("arguments", "expected", "received"),
    [
        (["evaluate", "m", "--version", "abc"], "a whole number", "abc"),
        (["serve", "--port=abc"], "0 to 65535", "abc"),
        (["serve", "--rest_api_port=99999"], "0 to 65535", "99999"),
        (["show"], "model", "--help"),
        (["models", "--stoer=x"], "--stoer=x", "--help"),
    ],
)
def test_a_wrong_flag_is_one_line(arguments, expected, received):
    done = _run(*arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert expected in line
    assert received in line


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_a_full_disk_for_the_output_is_one_line():
    with open("/dev/full", "w") as full:
        done = _run("models", stdout=full)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: The output cannot be written")


def test_a_reader_that_went_away_is_no_error():
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as gone:
        done = _run("models", stdout=gone)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_store_that_is_a_file_is_refused(tmp_path):
    store = tmp_path / "store"
    store.write_text("")
    done = _run("models", "--store", store)
    assert done.returncode == 2
    assert str(store) in done.stderr


def test_sigterm_before_a_training_says_to_resume_too(monkeypatch, capsys):
    def load(name):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(_catalog, "load_model", load)
    assert train.main(["mnist_classifier"]) == 75
    told = capsys.readouterr().err
    assert told == "Stopped by SIGTERM: resume with the same command\n"
