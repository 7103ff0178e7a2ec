"""Checkpoints are written beside the training, and no failure of that is hidden."""

import threading

import numpy as np
import pytest

from trainers import _checkpoints
from trainers._errors import TrainingError
from trainers._keeper import Keeper
from trainers._progress import Progress


class Writing:
    """In the place of `_checkpoints.save`: waits until it is let go."""

    def __init__(self):
        self.begun, self.free = threading.Event(), threading.Event()
        self.steps = []

    def __call__(self, folder, arrays, progress, best):
        self.begun.set()
        assert self.free.wait(30)
        self.steps.append(progress["step"])


@pytest.fixture
def writing(monkeypatch):
    slow = Writing()
    monkeypatch.setattr(_checkpoints, "save", slow)
    yield slow
    slow.free.set()


def writers():
    return [t for t in threading.enumerate() if t.name.startswith("checkpoints")]


def test_steps_go_on_while_one_is_written_and_the_next_is_left_out(writing, tmp_path):
    with Keeper(tmp_path) as keeper:
        progress = Progress(step=1)
        keeper.save([], progress)
        assert writing.begun.wait(30)
        progress.step = 2
        keeper.save([], progress)
        progress.step = 3
        assert keeper.kept == "step 1 of epoch 1"
        writing.free.set()
        keeper.save([], progress, must=True)
        progress.step = 4  # what is written is of the moment at which it was asked for
        keeper.wait()
    assert writing.steps == [1, 3]
    assert not writers()


def test_a_failure_to_write_is_told_at_the_next_step_and_at_the_end(tmp_path):
    (tmp_path / "file").touch()
    keeper = Keeper(tmp_path / "file")
    keeper.save([np.zeros(3)], Progress(epochs=1, step=7))
    with pytest.raises(TrainingError, match="after step 7 of epoch 2 cannot be"):
        keeper.wait()
    with pytest.raises(TrainingError):
        keeper.check()
    with pytest.raises(TrainingError):
        keeper.save([], Progress(step=8))
    with pytest.raises(TrainingError):
        keeper.__exit__(None, None, None)
    keeper.__exit__(KeyError, KeyError(), None)  # which came first, and is not hidden
    assert not writers()


def test_a_process_that_does_not_write_leaves_no_file(tmp_path):
    with Keeper(tmp_path, writes=False) as keeper:
        keeper.save([np.zeros(3)], Progress(step=1), must=True)
        keeper.wait()
    assert not list(tmp_path.iterdir())
