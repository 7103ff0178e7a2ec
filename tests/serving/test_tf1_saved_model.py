"""SavedModels of TensorFlow 1: sessions, tables, assets, and ops that run at a load."""

import numpy as np
import pytest
from grpc_running import refusal, running
from server_process import soon

from savedmodels.protos import classification_pb2, inference_pb2, regression_pb2
from serving import loaded_version, servable
from serving.embedded import EmbeddedPredictor
from serving.errors import ResourceExhaustedError
from serving.loaded_version import EmbeddedOptions
from serving.server_metrics import ServerMetrics
from serving.version_manager import VersionManager
from serving.version_policy import Source
from serving.version_state import WatchOptions

WORDS = ["nought", "one", "two"]


def write(tf, path, make, op="main_op"):
    """Writes what `make(v1)` returns: signatures, and an op that runs at the load.

    Args:
        tf: TensorFlow.
        path: Folder to write.
        make: Builds the graph. A signature is inputs, outputs and a method name.
        op: What the builder is told that the op is.
    """
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        signatures, at_load = make(v1)
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        infos = v1.saved_model.build_tensor_info
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {
                name: v1.saved_model.build_signature_def(
                    {alias: infos(tensor) for alias, tensor in inputs.items()},
                    {alias: infos(tensor) for alias, tensor in outputs.items()},
                    f"tensorflow/serving/{method}",
                )
                for name, (inputs, outputs, method) in signatures.items()
            },
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            **{op: at_load},
        )
        builder.save()
    return path


def write_numbers(tf, folder, listed, factor, op):
    """Writes a version: `word` string [batch] -> its place, times `factor`."""
    words = folder / "words.txt"
    words.write_text("\n".join(listed) + "\n")

    def make(v1):
        word = v1.placeholder(tf.string, [None], "word")
        ten = v1.get_variable(
            "ten", initializer=factor, dtype=tf.int32, use_resource=False
        )
        asset = tf.constant(str(words))
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, asset)
        table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                asset,
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            ),
            -1,
        )
        number = table.lookup(word) * tf.cast(ten, tf.int64)
        signature = {"word": word}, {"number": number}, "predict"
        return {"serving_default": signature}, v1.tables_initializer()

    path = write(tf, folder / "1", make, op)
    words.unlink()  # the version has its own, and no other is read
    return path


@pytest.fixture(scope="module")
def numbers(tmp_path_factory, tf):
    """Version folder: `word` string [batch] -> its number, times ten, int64."""
    folder = tmp_path_factory.mktemp("numbers")
    return write_numbers(tf, folder, WORDS, 10, "main_op")


@pytest.fixture(scope="module")
def half_plus_two_of_tf1(tmp_path_factory, tf):
    """Version folder: the signatures of TF Serving's own example of that name.

    Of tf.Examples with `x` and perhaps `x2`: `regress_x_to_y` and `classify_x_to_y` are
    x / 2 + 2, `regress_x2_to_y3` is x2 / 2 + 3; `serving_default` is by `x` itself,
    which is not a placeholder, but what the examples are parsed to.
    """

    def make(v1):
        examples = v1.placeholder(tf.string, name="tf_example")
        features = v1.io.parse_example(
            examples,
            {
                "x": v1.io.FixedLenFeature([1], tf.float32),
                "x2": v1.io.FixedLenFeature([1], tf.float32, [0.0]),
            },
        )
        half, two, three = (
            v1.get_variable(name, initializer=value, use_resource=False)
            for name, value in (("half", 0.5), ("two", 2.0), ("three", 3.0))
        )
        x = tf.identity(features["x"], name="x")
        y = tf.add(half * x, two, name="y")
        y3 = tf.add(half * features["x2"], three, name="y3")
        signatures = {
            "serving_default": ({"x": x}, {"y": y}, "predict"),
            "regress_x_to_y": ({"inputs": examples}, {"outputs": y}, "regress"),
            "regress_x2_to_y3": ({"inputs": examples}, {"outputs": y3}, "regress"),
            "classify_x_to_y": ({"inputs": examples}, {"scores": y}, "classify"),
        }
        return signatures, tf.group()

    path = tmp_path_factory.mktemp("half_plus_two_of_tf1") / "1"
    return write(tf, path, make, "legacy_init_op")


@pytest.fixture(scope="module")
def served(half_plus_two_of_tf1):
    source = Source(half_plus_two_of_tf1.parent)
    predictor = EmbeddedPredictor(lambda: {"m": source})
    predictor.start()
    soon(predictor.versions.settled, seconds=60)
    yield predictor
    predictor.stop()


@pytest.fixture(scope="module")
def greedy(tmp_path_factory, tf):
    """Version folder: what runs at its load wants four terabytes."""

    def make(v1):
        x = v1.placeholder(tf.float32, [None], "x")
        one = v1.get_variable("one", initializer=1.0)
        many = tf.random.uniform([1 << 40])
        main_op = tf.group(v1.assign(one, tf.reduce_max(many)))
        return {"serving_default": ({"x": x}, {"y": x * one}, "predict")}, main_op

    return write(tf, tmp_path_factory.mktemp("greedy") / "2", make)


def test_tables_assets_and_variables_of_a_session_answer(numbers):
    loaded = servable.load(numbers, "numbers", 1)
    assert loaded.engine() == "tensorflow"
    words = np.array([b"two", b"one", b"three"], np.object_)
    np.testing.assert_array_equal(
        loaded.run("", {"word": words})["number"], [20, 10, -10]
    )
    signature = loaded.signatures["serving_default"]
    assert signature.inputs["word"].shape == (None,)
    assert signature.outputs["number"].dtype == np.int64


def test_versions_whose_resources_have_the_same_names_have_their_own(
    tf, tmp_path_factory, numbers
):
    folder = tmp_path_factory.mktemp("others")
    others = write_numbers(tf, folder, ["none", *WORDS], 100, "legacy_init_op")
    first, second = (servable.load(path, "m", 1) for path in (numbers, others))
    word = {"word": np.array([b"two"], np.object_)}
    for _ in range(2):
        assert first.run("", word)["number"] == [20]
        assert second.run("", word)["number"] == [300]
    first.close()
    assert second.run("", word)["number"] == [300]


def with_examples(request, signature, rows):
    request.model_spec.name = "m"
    request.model_spec.signature_name = signature
    for row in rows:
        features = request.input.example_list.examples.add().features.feature
        for name, value in row.items():
            features[name].float_list.value.append(value)
    return request


def test_examples_are_classified_and_regressed_over_each_engine(served, grpc_engine):
    rows = [{"x": 1.0, "x2": 6.0}, {"x": -4.0}]
    with running(served, grpc_engine) as server:
        stub = server.prediction
        for signature, expected in [
            ("regress_x_to_y", [2.5, 0.0]),
            ("regress_x2_to_y3", [6.0, 3.0]),
        ]:
            request = regression_pb2.RegressionRequest()
            response = stub.Regress(with_examples(request, signature, rows))
            assert [r.value for r in response.result.regressions] == expected
        request = classification_pb2.ClassificationRequest()
        response = stub.Classify(with_examples(request, "classify_x_to_y", rows))
        found = [row.classes for row in response.result.classifications]
        assert [[(c.label, c.score) for c in classes] for classes in found] == [
            [("", 2.5)],
            [("", 0.0)],
        ]
        multi = inference_pb2.MultiInferenceRequest(input=request.input)
        for method, signature in [
            ("regress", "regress_x_to_y"),
            ("classify", "classify_x_to_y"),
        ]:
            task = multi.tasks.add(method_name=f"tensorflow/serving/{method}")
            task.model_spec.name, task.model_spec.signature_name = "m", signature
        regressed, classified = stub.MultiInference(multi).results
        assert [r.value for r in regressed.regression_result.regressions] == [2.5, 0]
        assert len(classified.classification_result.classifications) == 2


def test_an_example_without_its_feature_is_refused_in_words(served, grpc_engine):
    request = regression_pb2.RegressionRequest()
    with_examples(request, "regress_x_to_y", [{"x2": 1.0}])
    with running(served, grpc_engine) as server:
        code, text = refusal(server.prediction.Regress, request)
    assert code == "INVALID_ARGUMENT"
    words = "Name: <unknown>, Feature: x (data type: float) is required but could not "
    assert text == f"{words}be found.\n\t [[{{{{node ParseExample/ParseExampleV2}}}}]]"


@pytest.mark.parametrize("shape", [[3, 1], [3]])
def test_a_tensor_inside_the_graph_is_fed_as_a_client_sends_it(
    half_plus_two_of_tf1, shape
):
    loaded = servable.load(half_plus_two_of_tf1, "m", 1)
    x = np.float32([1, 2, 5]).reshape(shape)
    np.testing.assert_array_equal(loaded.run("", {"x": x})["y"], x / 2 + 2)
    methods = {name: s.method_name for name, s in loaded.signatures.items()}
    assert methods["classify_x_to_y"] == "tensorflow/serving/classify"
    assert methods["regress_x_to_y"] == "tensorflow/serving/regress"


def test_a_load_that_runs_out_of_memory_ends_with_its_reason_beside_the_old_version(
    tmp_path, numbers, greedy
):
    base_path = tmp_path / "m"
    base_path.mkdir()
    (base_path / "1").symlink_to(numbers)
    options = EmbeddedOptions()

    def load(path, name, version):
        return loaded_version.load(path, name, version, options, ServerMetrics())

    watch = WatchOptions(file_system_poll_wait_seconds=0.05)
    manager = VersionManager(lambda: {"m": Source(base_path)}, load, watch)
    manager.start()
    try:
        soon(manager.settled)
        (base_path / "2").symlink_to(greedy)
        # Where TensorFlow uses oneDNN, its allocator tries again for ten seconds.
        soon(lambda: len(manager.status("m")) == 2 and manager.settled(), 60)
        new, old = manager.status("m")
        assert (new.version, new.state) == (2, "END")
        assert new.error_code == "RESOURCE_EXHAUSTED"
        assert "OOM" in new.error_message
        assert (old.version, old.state) == (1, "AVAILABLE")
    finally:
        manager.stop()


def test_python_that_runs_out_of_memory_is_told_likewise(tmp_path, numbers):
    base_path = tmp_path / "m"
    base_path.mkdir()
    (base_path / "1").symlink_to(numbers)

    def load(path, name, version):
        raise MemoryError

    manager = VersionManager(lambda: {"m": Source(base_path)}, load, WatchOptions())
    manager.start()
    try:
        soon(manager.settled)
        (status,) = manager.status("m")
        assert (status.state, status.error_code) == ("END", "RESOURCE_EXHAUSTED")
        assert status.error_message == "There is not enough memory to load m/1."
    finally:
        manager.stop()


def test_a_refused_load_has_the_status_of_its_reason(greedy):
    with pytest.raises(ResourceExhaustedError, match="OOM"):
        servable.load(greedy, "greedy", 2)
