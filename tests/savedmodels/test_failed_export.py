"""An export that is refused, fails or is killed leaves the store as it was."""

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from savedmodels import staging, store
from savedmodels.errors import ExportError, SignatureError
from savedmodels.export import export
from tests.savedmodels.classifier import (
    EXAMPLES,
    IMAGES,
    WEIGHTS,
    Classifier,
    names,
    run_export,
)


def test_a_version_that_answers_otherwise_is_not_published(tmp_path, monkeypatch):
    save = tf.saved_model.save
    model = Classifier()

    def save_other_weights(*args, **kwargs):
        model.weights.assign(1.01 * WEIGHTS)
        save(*args, **kwargs)

    monkeypatch.setattr(tf.saved_model, "save", save_other_weights)
    with pytest.raises(ExportError, match=r"`serving_default` answers otherwise"):
        run_export(tmp_path / "classifier", model)
    assert names(tmp_path / "classifier") == []


def test_a_graph_that_needs_this_process_is_not_published(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def predict(x):
        y = tf.py_function(lambda value: value + 1, [x], tf.float32)
        return {"y": tf.ensure_shape(y, [None])}

    with pytest.raises(ExportError, match="does not run.*fresh process"):
        export(
            tf.Module(),
            {"serving_default": predict},
            tmp_path,
            examples={"serving_default": {"x": np.zeros(3, np.float32)}},
            provenance={},
        )
    assert names(tmp_path) == []


def test_a_table_outside_the_model_is_refused(tmp_path):
    model = Classifier()
    with pytest.raises(ExportError, match="attribute of the model"):
        run_export(tmp_path, tf.Module(), signatures=model.signatures())
    assert names(tmp_path) == []


REFUSED = {
    "no examples": ({"serving_default": EXAMPLES["serving_default"]}, "`classify`"),
    "another alias": (
        EXAMPLES | {"serving_default": {"pixels": IMAGES}},
        r"\['image'\].*\['pixels'\]",
    ),
    "another dtype": (
        EXAMPLES | {"serving_default": {"image": IMAGES / 255}},
        "Expected uint8. Received: float64",
    ),
    "another shape": (
        EXAMPLES | {"serving_default": {"image": IMAGES[..., 0]}},
        r"Expected \(None, 4, 4, 1\). Received: \(8, 4, 4\)",
    ),
    "one row": (EXAMPLES | {"serving_default": {"image": IMAGES[:1]}}, "2 rows"),
    "no signature": (EXAMPLES | {"clasify": {}}, "`clasify`, which is no signature"),
    "no image": (
        EXAMPLES | {"classify": {"inputs": np.array([b"", b""], object)}},
        "`classify` does not run on its examples",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_examples_that_do_not_fit_are_refused(tmp_path, case):
    examples, message = REFUSED[case]
    with pytest.raises(ExportError, match=message):
        run_export(tmp_path / "classifier", examples=examples)
    assert store.list_versions(tmp_path / "classifier") == []


def test_a_model_that_answers_nan_is_refused(tmp_path):
    model = Classifier()
    model.weights.assign(WEIGHTS * np.nan)
    with pytest.raises(ExportError, match="answers NaN in `scores`"):
        run_export(tmp_path, model)
    assert names(tmp_path) == []


def test_signatures_that_break_the_contract_are_refused(tmp_path):
    model = Classifier()
    with pytest.raises(SignatureError, match="`serving_default` is missing"):
        run_export(tmp_path, model, signatures={"classify": model.classify})


def test_a_store_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "store").write_text("a file")
    with pytest.raises(ExportError, match="No version can be written"):
        run_export(tmp_path / "store" / "classifier")


@pytest.mark.parametrize("full_at", ["save", "rename"])
def test_a_disk_that_fills_up_leaves_nothing(tmp_path, monkeypatch, full_at):
    def full(*args, **kwargs):
        if full_at == "save":
            raise tf.errors.ResourceExhaustedError(
                None, None, "No space left on device"
            )
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if full_at == "save":
        monkeypatch.setattr(tf.saved_model, "save", full)
    else:
        monkeypatch.setattr(staging.os, "rename", full)
        monkeypatch.setattr("savedmodels.fresh_process.check", lambda *paths: {})
    with pytest.raises(ExportError, match="No space left on device"):
        run_export(tmp_path)
    assert names(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("This user may not mount a file system.")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize("foreseen", [True, False])
def test_a_disk_that_is_too_small_gets_nothing(small_disk, monkeypatch, foreseen):
    if not foreseen:
        monkeypatch.setattr(staging, "check_writable", lambda *arguments: None)
        (small_disk / "ballast").write_bytes(bytes(1000 * 1024))
    with pytest.raises(ExportError, match="too full|No space left on device"):
        run_export(small_disk)
    assert set(names(small_disk)) <= {"ballast"}


KILLED = """
import pathlib, sys, time
import numpy as np
import tensorflow as tf
from savedmodels.export import export

@tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
def predict(x):
    return {"y": x}

save = tf.saved_model.save
def save_and_hang(*args, **kwargs):
    save(*args, **kwargs)
    print("saved", flush=True)
    time.sleep(600)

tf.saved_model.save = save_and_hang
examples = {"serving_default": {"x": np.ones(2, np.float32)}}
export(tf.Module(), {"serving_default": predict}, pathlib.Path(sys.argv[1]),
       examples=examples, provenance={})
"""


def test_a_killed_export_is_never_visible_and_the_next_one_cleans_up(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "saved\n"
        process.send_signal(signal.SIGKILL)
    (left,) = tmp_path.iterdir()
    assert (left / "version" / "saved_model.pb").exists()
    assert store.list_versions(tmp_path) == []
    started = time.monotonic()
    assert run_export(tmp_path).version == 1
    assert time.monotonic() - started < 60
    assert names(tmp_path) == ["1"]
