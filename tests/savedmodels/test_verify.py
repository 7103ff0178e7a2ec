"""The check refuses every version that does not answer as its model did.

It runs in this process here; `test_export.py` has the real one.
"""

import hashlib
import json

import numpy as np
import pytest
import tensorflow as tf

from savedmodels import fresh_process, prediction_log, verify
from savedmodels.errors import ExportError

X = np.array([[1.0, 2.0], [3.0, 5.0], [-1.0, 0.5]], np.float32)
FREE = tf.TensorSpec([None, 2], tf.float32, name="x")


def write(folder, body, spec=FREE, **state):
    """Writes a version whose `serving_default` is `body`."""
    module = tf.Module()
    module.state = state
    fn = tf.function(body, input_signature=[spec])
    path = folder / "version"
    tf.saved_model.save(module, str(path), signatures={"serving_default": fn})
    return path


def check(path, outputs, inputs=None, name="serving_default"):
    """Checks a version against `outputs`, and returns the report."""
    answers = path.parent / fresh_process.ANSWERS
    log = prediction_log.predict("model", name, inputs or {"x": X}, outputs)
    prediction_log.write(answers, [log])
    return verify.verify(path, answers)


def test_a_version_that_answers_alike_passes_and_is_converted(tmp_path):
    scale = tf.Variable(2.0)
    path = write(tmp_path, lambda x: {"y": scale * x}, scale=scale)
    report = check(path, {"y": 2 * X})
    assert report["rows"] == {"serving_default": 3}
    assert report["max_difference"] == {"serving_default": 0.0}
    model = (path / "model.tflite").read_bytes()
    assert report["litert"] == {
        "sha256": hashlib.sha256(model).hexdigest(),
        "max_difference": {"serving_default": 0.0},
        "left_out": {},
    }
    assert report["ops_not_in_stock_server"] == []


@pytest.mark.parametrize(("off", "passes"), [(5e-5, True), (5e-3, False)])
def test_other_answers_are_refused_beyond_the_tolerance(tmp_path, off, passes):
    path = write(tmp_path, lambda x: {"y": 2.0 * x})
    answers = {"y": 2 * X * np.float32(1 + off)}
    if passes:
        report = check(path, answers)
        # 2 * 5 is the largest answer.
        np.testing.assert_allclose(
            report["max_difference"]["serving_default"], 10 * off, rtol=1e-2
        )
        # LiteRT is held to 1e-5, so that nobody can tell who answered.
        assert "answers otherwise" in report["litert"]["left_out"]["serving_default"]
        assert not (path / "model.tflite").exists()
    else:
        with pytest.raises(ExportError, match=r"otherwise.*3 rows, `y` differs by"):
            check(path, answers)


def test_half_precision_has_the_room_that_its_digits_leave(tmp_path):
    path = write(
        tmp_path, lambda x: {"y": tf.cast(tf.cast(x, tf.float16) * 2, tf.float32)}
    )
    report = check(path, {"y": 2 * X * np.float32(1 + 5e-3)})
    assert report["tolerance"]["relative"] == 1e-2


def test_an_answer_that_depends_on_the_other_rows_is_refused(tmp_path):
    path = write(tmp_path, lambda x: {"y": x - tf.reduce_mean(x, axis=0)})
    with pytest.raises(ExportError, match="for 1 rows, `y` differs"):
        check(path, {"y": X - X.mean(axis=0)})


def test_an_answer_that_is_drawn_by_lot_is_refused(tmp_path):
    path = write(tmp_path, lambda x: {"y": x + tf.random.uniform(tf.shape(x))})
    with pytest.raises(ExportError, match="answers otherwise"):
        check(path, {"y": X + 0.5})


def test_another_class_id_is_refused_however_close(tmp_path):
    path = write(tmp_path, lambda x: {"class_id": tf.argmax(x, axis=1)})
    check(path, {"class_id": np.array([1, 1, 1], np.int64)})
    with pytest.raises(ExportError, match="`class_id` differs in 1 of 3 values"):
        check(path, {"class_id": np.array([1, 0, 1], np.int64)})


def test_a_signature_that_is_not_in_the_version_is_refused(tmp_path):
    path = write(tmp_path, lambda x: {"y": x})
    with pytest.raises(ExportError, match="`classify` is not in the version"):
        check(path, {"y": X}, name="classify")


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ({"z": X}, {"y": X}, "other inputs.*`z` float32.*`x` float32"),
        ({"x": X}, {"scores": X}, "other outputs.*`scores`.*`y`"),
        ({"x": X.astype(np.float64)}, {"y": X}, "other inputs.*`x` float64"),
    ],
)
def test_other_aliases_and_dtypes_are_refused(tmp_path, inputs, outputs, message):
    path = write(tmp_path, lambda x: {"y": x})
    with pytest.raises(ExportError, match=message):
        check(path, outputs, inputs)


@pytest.mark.parametrize("fixed", ["input", "output"])
def test_a_fixed_batch_axis_is_refused(tmp_path, fixed):
    if fixed == "input":
        spec = tf.TensorSpec([3, 2], tf.float32, name="x")
        path = write(tmp_path, lambda x: {"y": x}, spec)
    else:
        path = write(tmp_path, lambda x: {"y": tf.ensure_shape(x, [3, 2])})
    with pytest.raises(ExportError, match="batch axis of `.` is fixed"):
        check(path, {"y": X})


def test_a_broken_version_is_refused(tmp_path):
    scale = tf.Variable(2.0)
    path = write(tmp_path, lambda x: {"y": scale * x}, scale=scale)
    (path / "variables" / "variables.index").write_bytes(b"")
    with pytest.raises(ExportError, match="does not load in a fresh process"):
        check(path, {"y": 2 * X})


def test_strings_stay_with_tensorflow(tmp_path):
    spec = tf.TensorSpec([None], tf.string, name="text")
    path = write(tmp_path, lambda text: {"text_bytes": tf.strings.upper(text)}, spec)
    text = np.array([b"a", b"b\x00"], object)
    answer = np.array([b"A", b"B\x00"], object)
    report = check(path, {"text_bytes": answer}, {"text": text})
    reason = report["litert"]["left_out"]["serving_default"]
    assert reason == "takes or returns strings"


def test_what_does_not_convert_stays_with_tensorflow(tmp_path):
    path = write(tmp_path, lambda x: {"y": tf.math.lgamma(x)})
    inputs = {"x": np.array([[1.0, 2.0], [2.0, 1.0]], np.float32)}
    report = check(path, {"y": np.zeros((2, 2), np.float32)}, inputs)
    assert "does not convert" in report["litert"]["left_out"]["serving_default"]


def test_the_ops_that_the_stock_server_lacks_are_reported(tmp_path):
    def square(x):
        y = tf.numpy_function(lambda v: v * v, [x], tf.float32)
        return {"y": tf.ensure_shape(y, [None, 2])}

    report = check(write(tmp_path, square), {"y": X * X})
    assert report["ops_not_in_stock_server"] == ["PyFunc"]


def test_the_command_ends_with_1_and_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(verify.sys, "modules", dict(verify.sys.modules))
    path = write(tmp_path, lambda x: {"y": x})
    log = prediction_log.predict("model", "serving_default", {"x": X}, {"y": X + 1})
    prediction_log.write(tmp_path / fresh_process.ANSWERS, [log])
    assert verify.main([str(path), str(tmp_path)]) == 1
    report = json.loads((tmp_path / fresh_process.REPORT).read_text())
    assert "answers otherwise" in report["error"]
