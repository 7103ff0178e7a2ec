"""An export publishes a version that was checked in a fresh process."""

import concurrent.futures

import numpy as np
import pytest
import tensorflow as tf

from savedmodels import provenance, store
from savedmodels.errors import ExportError
from savedmodels.export import export
from savedmodels.protos import prediction_log_pb2
from tests.savedmodels.classifier import (
    EXAMPLES,
    IMAGES,
    NAMES,
    WEIGHTS,
    names,
    run_export,
)


def expected_scores(images):
    """The classifier in numpy."""
    logits = images.reshape(-1, 16).astype(np.float64) / 255 @ WEIGHTS
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


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


def test_a_version_that_is_there_is_never_written_over(exported):
    before = exported.path.stat().st_mtime_ns
    with pytest.raises(ExportError, match="Version 1 of `classifier` is there already"):
        run_export(exported.path.parent, version=1)
    assert exported.path.stat().st_mtime_ns == before
