"""What checkpoints hold, and what a run does with those that it cannot go on from."""

import dataclasses

import numpy as np
import pytest

from savedmodels import paths
from trainers import _checkpoints, mnist_classifier
from trainers._checkpoints import UnusableCheckpointError
from trainers._errors import TrainingError
from trainers._progress import Progress


def save(folder, progress, value=0.0, best=None):
    arrays = [np.full([3], value, np.float32)]
    _checkpoints.save(folder, arrays, dataclasses.asdict(progress), best)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture
def two(tmp_path):
    """After step 5 of epoch 2, and after epoch 2, which was the better one."""
    save(tmp_path, Progress(epochs=1, best_epoch=1), 0.5, best=[np.zeros(1)])
    save(tmp_path, Progress(epochs=1, step=5, best_epoch=1), 1.0)
    save(tmp_path, Progress(epochs=2, best_epoch=2), 2.0, best=[np.ones(1)])
    return tmp_path


def test_no_checkpoint_is_none(tmp_path):
    assert _checkpoints.newest(tmp_path / "none") is None


def test_the_newest_comes_back_with_all_that_was_noted(tmp_path):
    progress = Progress(
        epochs=12, step=3, logs={"loss": 0.1}, history={"loss": [0.3, 0.1]}, seconds=0.7
    )
    save(tmp_path, Progress(epochs=9, step=100_000))
    save(tmp_path, progress, 1.5)
    found, arrays = _checkpoints.newest(tmp_path)
    assert found == progress
    np.testing.assert_array_equal(arrays[0], np.full([3], 1.5, np.float32))


def test_the_two_newest_stay_and_the_weights_that_they_name(two):
    assert names(two) == [
        *("best-0001.ckpt", "best-0002.ckpt"),
        *("state-0001-000005.ckpt", "state-0002-000000.ckpt"),
    ]
    (two / ".state-0002-000007.ckpt.partial").write_bytes(b"of a killed process")
    save(two, Progress(epochs=2, step=7, best_epoch=2))
    assert names(two) == [
        *("best-0002.ckpt", "state-0002-000000.ckpt", "state-0002-000007.ckpt"),
    ]


@pytest.mark.parametrize("what", ["state-0002-000000.ckpt", "best-0002.ckpt"])
def test_one_that_is_damaged_is_passed_over_for_the_one_before(two, what, capsys):
    damage(two / what)
    progress, arrays = _checkpoints.newest(two)
    assert progress.position == (1, 5)
    assert arrays[0][0] == 1.0
    told = capsys.readouterr().out
    assert "state-0002-000000.ckpt" in told
    assert what in told
    assert "checkpoint before, after step 5 of epoch 2" in told
    # Or it would be the newest again, once others are cleared up.
    assert not (two / "state-0002-000000.ckpt").exists()


def test_a_process_that_does_not_write_removes_nothing(two):
    damage(two / "state-0002-000000.ckpt")
    assert _checkpoints.newest(two, tidy=False)[0].position == (1, 5)
    assert (two / "state-0002-000000.ckpt").exists()


@pytest.mark.parametrize("kept", [0, 1, 100])
def test_where_all_are_damaged_the_run_cannot_go_on(two, kept):
    for path in two.glob("state-*"):
        path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UnusableCheckpointError, match="has a damaged checkpoint"):
        _checkpoints.newest(two)


def test_those_under_suspicion_are_discarded_and_those_that_are_no_numbers(two):
    _checkpoints.discard_from(two, (2, 1))
    assert _checkpoints.newest(two)[0].position == (2, 0)
    _checkpoints.discard_from(two, (2, 0))
    assert _checkpoints.newest(two)[0].position == (1, 5)
    save(two, Progress(epochs=1, step=6, best_epoch=1), np.nan)
    _checkpoints.discard_from(two, (9, 0))
    assert _checkpoints.newest(two)[0].position == (1, 5)


def test_a_checkpoint_that_cannot_be_written_leaves_those_before(two, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    before = names(two)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(TrainingError, match="No space left on device"):
        save(two, Progress(epochs=2, step=9, best_epoch=2))
    assert names(two) == before
    assert _checkpoints.newest(two)[0].position == (2, 0)


def test_a_remote_folder_holds_checkpoints_too(tmp_path):
    folder = paths.of(f"ram://{tmp_path.name}/checkpoints")
    for step in (1, 2, 3):
        progress = dataclasses.asdict(Progress(step=step))
        _checkpoints.save(folder, [np.float32(step)], progress)
    progress, arrays = _checkpoints.newest(folder)
    assert (progress.step, arrays[0]) == (3, 3.0)
    _checkpoints.discard_from(folder, (0, 3))
    assert _checkpoints.newest(folder)[0].step == 2
    _checkpoints.discard_from(folder, (0, 2))
    assert _checkpoints.newest(folder) is None


def test_variables_come_back_bit_by_bit_or_not_at_all(quick):
    model, other = (mnist_classifier.make_model(quick) for _ in range(2))
    for number, weight in enumerate(model.weights):
        weight.assign(weight + 0.1 * number)
    _checkpoints.assign(other.weights, _checkpoints.values(model.weights))
    for found, wanted in zip(other.weights, model.weights, strict=True):
        np.testing.assert_array_equal(found.numpy(), wanted.numpy())
    with pytest.raises(UnusableCheckpointError, match="another network"):
        _checkpoints.assign(other.weights, _checkpoints.values(model.weights)[:-1])


def test_copies_are_of_one_moment(quick):
    weights = mnist_classifier.make_model(quick).weights
    copies = _checkpoints.values(weights)
    before = [copy.copy() for copy in copies]
    for weight in weights:
        weight.assign(weight + 1.0)
    for copy, wanted in zip(copies, before, strict=True):
        np.testing.assert_array_equal(copy, wanted)


def test_the_next_one_is_written_beside_one_without_a_header(two):
    (two / "state-0002-000000.ckpt").write_bytes(b"\xff")
    save(two, Progress(epochs=2, step=7, best_epoch=2), 7.0)
    assert _checkpoints.newest(two)[1][0][0] == 7.0
    _checkpoints.discard_from(two, (9, 0))
    assert _checkpoints.newest(two)[1][0][0] == 7.0
