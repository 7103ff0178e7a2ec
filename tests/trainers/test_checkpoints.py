"""What a run does with a checkpoint that it cannot go on from."""

import dataclasses
import json

import numpy as np
import pytest

from trainers import _checkpoints, _fit, mnist_classifier
from trainers._checkpoints import Progress, UnusableCheckpointError


@pytest.mark.parametrize("kept", [0, 1, 1000])
def test_a_cut_checkpoint_is_called_damaged(tmp_path, kept):
    path = tmp_path / "last.npz"
    np.savez(path, **{"0": np.zeros(1000)})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UnusableCheckpointError, match="damaged checkpoint, last.npz"):
        _checkpoints.restore_last(tmp_path, model=None)


def test_no_checkpoint_is_no_progress(tmp_path):
    assert _checkpoints.restore_last(tmp_path, model=None) == Progress()


def test_a_damaged_checkpoint_is_told_and_the_training_begins_anew(
    datasets_dir, tmp_path, capsys
):
    config = dataclasses.replace(
        mnist_classifier.SMOKE,
        datasets_dir=str(datasets_dir),
        epochs=1,
        network="dense",
    )
    first = _fit.fit(mnist_classifier, config, runs=tmp_path).run
    first.close()
    (first.checkpoints / "best-0001.npz").write_bytes(b"not a checkpoint")

    second = _fit.fit(mnist_classifier, config, runs=tmp_path).run
    second.close()

    assert second.path != first.path
    told = capsys.readouterr().out
    assert f"{first.path} has a damaged checkpoint, best-0001.npz: starting" in told
    assert "failed" in json.loads((first.path / "ended.json").read_text())
    metrics = json.loads((second.path / "metrics.json").read_text())
    assert len(metrics["history"]["loss"]) == 1
