"""Tiny SavedModels, written by TensorFlow itself, whose answers arithmetic gives."""

import pathlib
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc_running
import numpy as np
import pytest
from litert_versions import add_litert

from savedmodels import prediction_log, protos
from savedmodels.protos import predict_pb2
from serving import version_folders
from serving.embedded import EmbeddedPredictor

ROOT = pathlib.Path(__file__).parents[2]
START_LIMIT_S = 120


def _save(module: Any, signatures: dict[str, Any], path: pathlib.Path) -> pathlib.Path:
    protos.import_tensorflow().saved_model.save(
        module, str(path), signatures=signatures
    )
    return path


@pytest.fixture(scope="session")
def tf() -> Any:
    """The real TensorFlow, also where only its protos were imported so far."""
    return protos.import_tensorflow()


@pytest.fixture(scope="session")
def write_linear(tf: Any) -> Callable[..., pathlib.Path]:
    """Writes `y = x * slope + offset`, x and y float32 [batch]."""

    def write(path: pathlib.Path, slope: float, offset: float) -> pathlib.Path:
        module = tf.Module()
        module.slope = tf.Variable(slope)
        module.offset = tf.Variable(offset)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def predict(x: Any) -> Any:
            return {"y": x * module.slope + module.offset}

        module.predict = predict
        return _save(module, {"serving_default": predict}, path)

    return write


@pytest.fixture(scope="session")
def half_plus_two(
    tmp_path_factory: pytest.TempPathFactory, write_linear: Callable[..., pathlib.Path]
) -> pathlib.Path:
    """Version folder: `y = x / 2 + 2`, x and y float32 [batch]."""
    return write_linear(tmp_path_factory.mktemp("half_plus_two") / "1", 0.5, 2.0)


@pytest.fixture(scope="session")
def half_plus_three(
    tmp_path_factory: pytest.TempPathFactory, write_linear: Callable[..., pathlib.Path]
) -> pathlib.Path:
    """Version folder: `y = x / 2 + 3`, the successor of `half_plus_two`."""
    return write_linear(tmp_path_factory.mktemp("half_plus_three") / "2", 0.5, 3.0)


@pytest.fixture(scope="session")
def multi_io(tmp_path_factory: pytest.TempPathFactory, tf: Any) -> pathlib.Path:
    """Version folder: a float32 [batch, 2], b int32 [batch] -> total, scaled.

    `total` = a[:, 0] + a[:, 1], float32 [batch]; `scaled` = a * b, float32 [batch, 2].
    """
    module = tf.Module()

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.float32, name="a"),
            tf.TensorSpec([None], tf.int32, name="b"),
        ]
    )
    def predict(a: Any, b: Any) -> Any:
        return {
            "total": tf.reduce_sum(a, axis=1),
            "scaled": a * tf.cast(b, tf.float32)[:, tf.newaxis],
        }

    module.predict = predict
    path = tmp_path_factory.mktemp("multi_io") / "1"
    return _save(module, {"serving_default": predict}, path)


@pytest.fixture(scope="session")
def echo(tmp_path_factory: pytest.TempPathFactory, tf: Any) -> pathlib.Path:
    """Version folder: text string [batch] -> the same as `text` and `text_bytes`."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def predict(text: Any) -> Any:
        return {"text": tf.identity(text), "text_bytes": tf.identity(text)}

    module.predict = predict
    path = tmp_path_factory.mktemp("echo") / "1"
    return _save(module, {"serving_default": predict}, path)


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory, tf: Any) -> pathlib.Path:
    """Version folder: tf.Examples with one float feature `x`.

    `classify`: classes [batch, 2] = "low", "high"; scores = 1 - x, x.
    `classify_scores`: scores alone. `classify_classes`: classes alone.
    `regress`: outputs [batch, 1] = x / 2 + 2. `serving_default`: the same by `x`.
    """
    module = tf.Module()
    serialized = tf.TensorSpec([None], tf.string, name="inputs")

    def parse(inputs: Any) -> Any:
        return tf.io.parse_example(
            inputs, {"x": tf.io.FixedLenFeature([], tf.float32)}
        )["x"]

    def answers(inputs: Any) -> dict[str, Any]:
        x = parse(inputs)
        classes = tf.tile(tf.constant([["low", "high"]]), [tf.size(x), 1])
        return {"classes": classes, "scores": tf.stack([1 - x, x], axis=1)}

    @tf.function(input_signature=[serialized])
    def classify(inputs: Any) -> Any:
        return answers(inputs)

    @tf.function(input_signature=[serialized])
    def classify_scores(inputs: Any) -> Any:
        return {"scores": answers(inputs)["scores"]}

    @tf.function(input_signature=[serialized])
    def classify_classes(inputs: Any) -> Any:
        return {"classes": answers(inputs)["classes"]}

    @tf.function(input_signature=[serialized])
    def regress(inputs: Any) -> Any:
        return {"outputs": parse(inputs)[:, tf.newaxis] / 2 + 2}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def predict(x: Any) -> Any:
        return {"y": x / 2 + 2}

    signatures = {
        "serving_default": predict,
        "classify": classify,
        "classify_scores": classify_scores,
        "classify_classes": classify_classes,
        "regress": regress,
    }
    module.functions = list(signatures.values())
    return _save(module, signatures, tmp_path_factory.mktemp("examples") / "1")


def _digits_module(tf: Any) -> Any:
    """A one-layer classifier whose class is the tenth of the image that is lit most."""
    module = tf.Module()
    # Pixel i votes for class i // 79, so a lit stripe of rows names its class.
    votes = tf.one_hot(tf.range(28 * 28) // 79, 10) / 79
    module.votes = tf.Variable(votes)

    image = tf.TensorSpec([None, 28, 28, 1], tf.uint8, name="image")

    @tf.function(input_signature=[image])
    def predict(image: Any) -> Any:
        lit = tf.reshape(tf.cast(image, tf.float32) / 255, [-1, 28 * 28])
        scores = tf.nn.softmax(8 * tf.matmul(lit, module.votes))
        return {"scores": scores, "class_id": tf.argmax(scores, axis=-1)}

    module.predict = predict
    return module


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory, tf: Any) -> pathlib.Path:
    """Version folder: image uint8 [batch, 28, 28, 1] -> scores, class_id (int64)."""
    module = _digits_module(tf)
    path = tmp_path_factory.mktemp("digits") / "1"
    return _save(module, {"serving_default": module.predict}, path)


@pytest.fixture(scope="session")
def digits_litert(
    tmp_path_factory: pytest.TempPathFactory, tf: Any, digits: pathlib.Path
) -> pathlib.Path:
    """Version folder: `digits` with `model.tflite`, and the record of its export."""
    path = tmp_path_factory.mktemp("digits_litert") / "1"
    shutil.copytree(digits, path)
    add_litert(tf, path)
    return path


@pytest.fixture(scope="session")
def two_signatures(tmp_path_factory: pytest.TempPathFactory, tf: Any) -> pathlib.Path:
    """Version folder: `y = 2 x` by LiteRT, and `shout`, text in capitals as `loud`.

    With warm-up requests of both and a record, as an export leaves them.
    """
    module = tf.Module()
    numbers = tf.TensorSpec([None], tf.float32, name="x")
    texts = tf.TensorSpec([None], tf.string, name="text")
    module.double = tf.function(lambda x: {"y": 2 * x}, input_signature=[numbers])
    module.shout = tf.function(
        lambda text: {"loud": tf.strings.upper(text)}, input_signature=[texts]
    )
    signatures = {"serving_default": module.double, "shout": module.shout}
    path = _save(module, signatures, tmp_path_factory.mktemp("two_signatures") / "1")
    add_litert(tf, path)
    inputs = {
        "serving_default": {"x": np.float32([1, 2])},
        "shout": {"text": np.array([b"hi"], np.object_)},
    }
    logs = [prediction_log.predict("m", key, inputs[key], {}) for key in inputs]
    prediction_log.write(path / "assets.extra/tf_serving_warmup_requests", logs)
    return path


@pytest.fixture(scope="session")
def heavy_litert(tmp_path_factory: pytest.TempPathFactory, tf: Any) -> pathlib.Path:
    """Version folder: `y = x` for 0 and 1, in 5 * 10^8 multiplications a row.

    x and y are float32 [batch], and `model.tflite` is there.
    """
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def predict(x: Any) -> Any:
        matrix = x[:, tf.newaxis, tf.newaxis] * tf.ones([1, 512, 512])
        for _ in range(4):
            matrix = tf.matmul(matrix, matrix) / 512
        return {"y": matrix[:, 0, 0]}

    module.predict = predict
    path = tmp_path_factory.mktemp("heavy") / "1"
    _save(module, {"serving_default": predict}, path)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(path))
    (path / "model.tflite").write_bytes(converter.convert())
    return path


@pytest.fixture(scope="session")
def store(
    tmp_path_factory: pytest.TempPathFactory,
    half_plus_two: pathlib.Path,
    multi_io: pathlib.Path,
    echo: pathlib.Path,
    examples: pathlib.Path,
    digits: pathlib.Path,
    digits_litert: pathlib.Path,
) -> pathlib.Path:
    """A store of all the models above, each as version 1. Not to be changed."""
    root = tmp_path_factory.mktemp("store")
    for name, version in {
        "half_plus_two": half_plus_two,
        "multi_io": multi_io,
        "echo": echo,
        "examples": examples,
        "digits": digits,
        "digits_litert": digits_litert,
    }.items():
        shutil.copytree(version, root / name / "1")
    return root


@pytest.fixture(scope="session", params=grpc_running.ENGINES)
def grpc_engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn, for what a client must find alike on both."""
    return str(request.param)


@pytest.fixture(scope="session")
def embedded(store: pathlib.Path) -> Iterator[EmbeddedPredictor]:
    """A predictor of all the models above, in this process."""
    predictor = EmbeddedPredictor(lambda: version_folders.models_in(store))
    predictor.start()
    while not predictor.versions.settled():
        time.sleep(0.01)
    yield predictor
    predictor.stop()


@pytest.fixture(scope="session")
def ports(store):
    """The gRPC and REST ports of a server of all the models that conftest writes."""
    command = [sys.executable, "-m", "serving", f"--store={store}"]
    process = subprocess.Popen(
        [*command, "--port=0", "--rest_api_port=0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        readable, _, _ = select.select([process.stdout], [], [], START_LIMIT_S)
        line = process.stdout.readline() if readable else "nothing in time"
        found = re.match(r"serving: gRPC \S+:(\d+), REST \S+:(\d+), models: (.*)", line)
        assert found, line
        versions = found[3].split(", ")
        assert versions == [f"{path.name}/1" for path in sorted(store.iterdir())]
        yield int(found[1]), int(found[2])
    finally:
        process.terminate()
        assert process.wait(30) == 0


@pytest.fixture(scope="session")
def grpc_port(request: pytest.FixtureRequest, grpc_engine: str) -> Iterator[int]:
    """A gRPC port of all the models that conftest writes, spoken by each engine.

    That of `ports`, and one of this process by grpcio: the models are here anyway.
    """
    if grpc_engine == "native":
        yield request.getfixturevalue("ports")[0]
        return
    predictor = request.getfixturevalue("embedded")
    with grpc_running.running(predictor, engine=grpc_engine) as server:
        yield server.port


@pytest.fixture(scope="session")
def request_for(tf: Any) -> Callable[..., predict_pb2.PredictRequest]:
    """Makes Predict requests of TensorFlow's own tensors: one for each alias."""

    def make(
        model: str,
        signature: str = "",
        version: int | None = None,
        output_filter: Sequence[str] = (),
        **inputs: Any,
    ) -> predict_pb2.PredictRequest:
        request = predict_pb2.PredictRequest(output_filter=output_filter)
        request.model_spec.name = model
        request.model_spec.signature_name = signature
        if version is not None:
            request.model_spec.version.value = version
        for alias, value in inputs.items():
            request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
        return request

    return make
