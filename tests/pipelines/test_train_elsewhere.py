"""A training whose store and runs lie where only `tf.io.gfile` reaches."""

import json

import numpy as np
import tensorflow as tf

from pipelines import evaluate, models, show, train
from savedmodels import paths, provenance, store

STORE, RUNS = "ram://elsewhere/models", "ram://elsewhere/runs"


def test_a_training_keeps_everything_where_it_was_told(
    datasets_dir, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)  # where a path that was taken for a local one shows
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")  # or the command would leave it
    settings = ("network=dense", "epochs=2", "global_batch_size=16")
    code = train.main(
        [
            "mnist_classifier",
            f"--store={STORE}",
            f"--runs={RUNS}",
            f"--datasets={datasets_dir}",
            "--examples=examples",
            *(f"--set={setting}" for setting in settings),
        ]
    )
    assert code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["examples"]

    (run,) = (paths.of(RUNS) / "mnist_classifier").iterdir()
    metrics = json.loads((run / "metrics.json").read_text())
    assert len(metrics["history"]["loss"]) == 2
    assert (run / "report.png").read_bytes().startswith(b"\x89PNG")
    assert list((run / "checkpoints").iterdir())
    for part in ("train", "validation", "pictures", "steps"):
        (events,) = (run / "logs" / part).iterdir()
        assert list(tf.data.TFRecordDataset(str(events)))

    ended = json.loads((run / "ended.json").read_text())
    version = store.version_path(paths.of(STORE) / "mnist_classifier")
    assert ended == {"exported": str(version)}
    assert str(version) == f"{STORE}/mnist_classifier/1"
    assert provenance.read(version)["metrics"] == metrics["test"]
    answer = tf.saved_model.load(str(version)).signatures["serving_default"]
    scores = answer(image=tf.zeros([3, 28, 28, 1], tf.uint8))["scores"]
    np.testing.assert_allclose(tf.reduce_sum(scores, axis=-1), 1.0, rtol=1e-5)

    # And the other commands find it there.
    capsys.readouterr()
    for command in (show, evaluate):
        more = [f"--datasets={datasets_dir}"] if command is evaluate else []
        assert command.main(["mnist_classifier", f"--store={STORE}", *more]) == 0
        assert "mnist_classifier version 1" in capsys.readouterr().out
    assert models.main([f"--store={STORE}", f"--datasets={datasets_dir}"]) == 0
    told = capsys.readouterr().out
    assert f"Versions in {STORE}" in told
    assert "mnist_classifier" in told.partition("Versions in")[2]
