"""`make tensorboard`: what a training wrote is there to see."""

import json
import re
import subprocess
import sys
import time
import urllib.request

import pytest


@pytest.fixture
def board(workplace, trained, tmp_path):
    """The address of a TensorBoard over the runs of one training."""
    del trained  # only needed to have happened
    log = tmp_path / "log"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tensorboard.main", "--logdir", workplace.runs),
            *("--host", "127.0.0.1", "--port", "0"),
        ],
        stdout=log.open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        end = time.monotonic() + 60
        while not (found := re.search(r"at (http://\S+?)/? ", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield found[1]
    finally:
        process.terminate()
        process.wait(timeout=30)


def _get(url):
    with urllib.request.urlopen(url) as response:
        return json.load(response)


def _shown(board, path):
    """Every tag of every run that one plugin knows of."""
    runs = _get(f"{board}/data/plugin/{path}")
    return {tag for run in runs.values() for tag in run.get("tags", run)}


def test_curves_pictures_and_graph_of_a_run_are_shown(board):
    wanted = {
        "scalars/tags": {"epoch_loss", "epoch_accuracy", "examples_per_second"},
        "images/tags": {"confusion matrix", "first examples"},
        "graphs/info": {"keras"},
    }
    end = time.monotonic() + 60  # it reads the files one after the other
    missing = wanted
    while missing and time.monotonic() < end:
        time.sleep(0.2)
        missing = {
            path: left
            for path, tags in wanted.items()
            if (left := tags - _shown(board, path))
        }
    assert missing == {}
