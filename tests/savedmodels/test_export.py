"""An export publishes a version that was checked in a fresh process, or nothing."""

import concurrent.futures
import errno
import io
import os
import signal
import subprocess
import sys
import time

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from savedmodels import provenance, staging, store
from savedmodels.errors import ExportError, SignatureError
from savedmodels.export import export
from savedmodels.protos import prediction_log_pb2
from savedmodels.signature import parse_encoded_images

SHAPE = (4, 4, 1)
WEIGHTS = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
NAMES = np.array([b"low", b"middle", b"high"], object)
IMAGES = np.random.default_rng(1).integers(0, 256, (8, *SHAPE), dtype=np.uint8)


class Classifier(tf.Module):
    """One dense layer on 4 x 4 grey images, with a table from class to name."""

    def __init__(self):
        super().__init__(name="classifier")
        self.weights = tf.Variable(WEIGHTS)
        self.unused = tf.Variable(tf.zeros([1000, 1000]))  # as an optimizer's would be
        self.names = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.range(3, dtype=tf.int64), tf.constant(NAMES)
            ),
            default_value="",
        )

    def scores(self, image):
        flat = tf.reshape(tf.cast(image, tf.float32) / 255.0, [-1, 16])
        return tf.nn.softmax(flat @ self.weights)

    @tf.function(input_signature=[tf.TensorSpec([None, *SHAPE], tf.uint8, "image")])
    def predict(self, image):
        scores = self.scores(image)
        return {"scores": scores, "class_id": tf.argmax(scores, axis=-1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def classify(self, inputs):
        scores = self.predict(parse_encoded_images(inputs, SHAPE))["scores"]
        ranks = tf.repeat(tf.range(3, dtype=tf.int64)[tf.newaxis], len(scores), axis=0)
        return {"scores": scores, "classes": self.names.lookup(ranks)}

    def signatures(self):
        return {"serving_default": self.predict, "classify": self.classify}


def serialized(images):
    """tf.Examples of PNG images, as a client would make them."""
    examples = np.empty(len(images), object)
    for row, image in enumerate(images):
        png = io.BytesIO()
        PIL.Image.fromarray(image[..., 0]).save(png, "PNG")
        feature = tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[png.getvalue()])
        )
        features = tf.train.Features(feature={"image/encoded": feature})
        examples[row] = tf.train.Example(features=features).SerializeToString()
    return examples


EXAMPLES = {
    "serving_default": {"image": IMAGES},
    "classify": {"inputs": serialized(IMAGES)},
}
FACTS = {"config": {"epochs": 2, "filters": (4, 8)}, "metrics": {"accuracy": 0.5}}


def expected_scores(images):
    """The classifier in numpy."""
    logits = images.reshape(-1, 16).astype(np.float64) / 255 @ WEIGHTS
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def run_export(base_path, model=None, **overrides):
    model = model or Classifier()
    arguments = {
        "signatures": overrides.get("signatures") or model.signatures(),
        "base_path": base_path,
        "examples": EXAMPLES,
        "provenance": FACTS,
    }
    return export(model, **(arguments | overrides))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A version that was exported the real way. Not to be changed."""
    base_path = tmp_path_factory.mktemp("store") / "models" / "classifier"
    return run_export(base_path)


def test_the_version_is_number_1_and_alone(exported):
    assert exported.version == 1
    assert names(exported.path.parent) == ["1"]
    assert store.version_path(exported.path.parent) == exported.path


def test_a_reader_finds_all_parts_and_nothing_of_the_check(exported):
    assert set(names(exported.path)) == {
        "assets",
        "assets.extra",
        "fingerprint.pb",
        "model.tflite",
        "saved_model.pb",
        "variables",
    }
    assert set(names(exported.path / "assets.extra")) == {
        "provenance.json",
        "tf_serving_warmup_requests",
    }


def test_the_version_answers_as_numpy_does(exported):
    loaded = tf.saved_model.load(str(exported.path))
    answer = loaded.signatures["serving_default"](image=tf.constant(IMAGES))
    expected = expected_scores(IMAGES)
    np.testing.assert_allclose(answer["scores"], expected, atol=1e-6)
    np.testing.assert_array_equal(answer["class_id"], expected.argmax(axis=1))
    examples = tf.constant(EXAMPLES["classify"]["inputs"])
    classified = loaded.signatures["classify"](inputs=examples)
    np.testing.assert_allclose(classified["scores"], expected, atol=1e-6)
    assert classified["classes"].numpy().tolist() == [NAMES.tolist()] * len(IMAGES)


@pytest.mark.parametrize("rows", [1, 5, 8])
def test_litert_answers_as_numpy_does_for_any_number_of_rows(exported, rows):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(exported.path / "model.tflite"))
    assert list(interpreter.get_signature_list()) == ["serving_default"]
    answer = interpreter.get_signature_runner("serving_default")(image=IMAGES[:rows])
    np.testing.assert_allclose(
        answer["scores"], expected_scores(IMAGES[:rows]), atol=1e-5
    )


def test_the_caller_is_told_what_the_check_found(exported):
    assert set(exported.max_difference) == {"serving_default", "classify"}
    assert max(exported.max_difference.values()) <= 1e-5
    assert list(exported.litert) == ["serving_default"]
    assert exported.left_out == {"classify": "takes or returns strings"}


def test_only_the_variables_that_signatures_read_are_saved(exported):
    size = sum(file.stat().st_size for file in exported.path.rglob("variables*/*"))
    assert WEIGHTS.nbytes <= size < WEIGHTS.nbytes + 10_000  # `unused` has 4 MB


def test_warm_up_requests_are_tf_servings_and_call_every_signature(exported):
    file = exported.path / "assets.extra" / "tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record)
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    ]
    found = []
    for log in logs:
        kind = log.WhichOneof("log_type")
        request = getattr(log, kind).request
        assert request.model_spec.name == "classifier"
        if kind == "classify_log":
            rows = len(request.input.example_list.examples)
            first = request.input.example_list.examples[0].SerializeToString()
            sent = tf.train.Example.FromString(EXAMPLES["classify"]["inputs"][0])
            assert tf.train.Example.FromString(first) == sent
        else:
            rows = len(tf.make_ndarray(next(iter(request.inputs.values()))))
        found.append((kind, request.model_spec.signature_name, rows))
    assert found == [
        ("predict_log", "serving_default", 1),
        ("predict_log", "serving_default", 8),
        ("predict_log", "classify", 1),
        ("predict_log", "classify", 8),
        ("classify_log", "classify", 8),
    ]


def test_provenance_holds_what_was_given_and_what_was_checked(exported):
    record = provenance.read(exported.path)
    assert record["config"] == {"epochs": 2, "filters": [4, 8]}
    assert record["metrics"] == {"accuracy": 0.5}
    assert record["check"]["rows"] == {"serving_default": 8, "classify": 8}
    assert record["check"]["litert"]["left_out"] == exported.left_out
    assert record["check"]["ops_not_in_stock_server"] == []


def test_a_keras_model_keeps_its_tables_and_loses_its_optimizer(tmp_path):
    import keras

    class Judge(keras.Model):
        """Text to a score, by a vocabulary, an embedding and batch normalisation."""

        def __init__(self):
            super().__init__()
            self.lookup = keras.layers.StringLookup(vocabulary=["bad", "good"])
            self.embedding = keras.layers.Embedding(3, 4)
            self.normalisation = keras.layers.BatchNormalization()
            self.dropout = keras.layers.Dropout(0.5)
            self.score = keras.layers.Dense(1, activation="sigmoid")

        def build(self, shape):
            self.embedding.build(shape)
            self.normalisation.build((None, 4))
            self.score.build((None, 4))

        def call(self, token_ids, training=False):
            x = self.normalisation(self.embedding(token_ids), training=training)
            return self.score(self.dropout(x, training=training))

    model = Judge()
    model.compile(optimizer="adam", loss="binary_crossentropy")
    token_ids, labels = np.array([1, 2] * 8), np.array([[0], [1]] * 8)
    model.fit(token_ids, labels, epochs=2, verbose=0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def predict(text):
        return {"score": model(model.lookup(text))}

    text = np.array([b"good", b"bad", b"unheard"], object)
    version = export(
        model,
        {"serving_default": predict},
        tmp_path,
        examples={"serving_default": {"text": text}},
        provenance={},
    )
    loaded = tf.saved_model.load(str(version.path))
    answer = loaded.signatures["serving_default"](text=tf.constant(text))["score"]
    expected = model.predict(np.array([2, 1, 0]), verbose=0)
    np.testing.assert_allclose(answer, expected, atol=1e-6)
    saved = tf.train.list_variables(str(version.path / "variables" / "variables"))
    floats = [name for name, shape in saved if shape]
    # Embedding, gamma, beta, moving mean and variance, kernel, bias.
    assert len(floats) == 7


def test_two_exports_at_once_make_two_versions(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(run_export, tmp_path) for _ in range(2)]
        versions = [future.result() for future in futures]
    assert sorted(version.version for version in versions) == [1, 2]
    assert names(tmp_path) == ["1", "2"]


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


def test_a_version_that_is_there_is_never_written_over(exported):
    before = exported.path.stat().st_mtime_ns
    with pytest.raises(ExportError, match="Version 1 of `classifier` is there already"):
        run_export(exported.path.parent, version=1)
    assert exported.path.stat().st_mtime_ns == before


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
