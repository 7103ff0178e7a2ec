"""The embedded predictor on real versions: answers, warm-up, Classify and Regress."""

import asyncio
import contextlib
import shutil
import time

import numpy as np
import pytest

from savedmodels.protos import (
    example_pb2,
    predict_pb2,
    prediction_log_pb2,
)
from serving import servable, tensor_codec, version_folders
from serving.embedded import EmbeddedPredictor
from serving.errors import (
    FailedPreconditionError,
    InvalidRequestError,
    ServableNotFoundError,
)
from serving.loaded_version import EmbeddedOptions
from serving.predictor import ModelSpec
from serving.version_state import WatchOptions

WATCH = WatchOptions(file_system_poll_wait_seconds=0.02)


@contextlib.contextmanager
def predicting(store, **options):
    predictor = EmbeddedPredictor(
        lambda: version_folders.models_in(store),
        EmbeddedOptions(watch=WATCH, **options),
    )
    predictor.start()
    end = time.monotonic() + 30
    while not predictor.versions.settled():
        assert time.monotonic() < end
        time.sleep(0.005)
    try:
        yield predictor
    finally:
        predictor.stop()


@pytest.fixture(scope="module")
def predictor(store):
    with predicting(store) as predictor:
        yield predictor


def example(**features):
    proto = example_pb2.Example()
    for name, value in features.items():
        proto.features.feature[name].float_list.value.append(value)
    return proto.SerializeToString()


def predict(predictor, name, inputs, **kwargs):
    return asyncio.run(predictor.predict(ModelSpec(name), inputs, **kwargs))


def test_says_which_version_and_signature_answered(predictor):
    answer = predict(predictor, "half_plus_two", {"x": np.float32([1, 2, 5])})
    assert (answer.version, answer.signature_name) == (1, "serving_default")
    np.testing.assert_array_equal(answer.outputs["y"], np.float32([2.5, 3, 4.5]))


def test_every_model_of_the_store_is_there(predictor, store):
    names = {path.name for path in store.iterdir()}
    assert predictor.models() == dict.fromkeys(names, True)


@pytest.mark.parametrize("model", ["digits", "digits_litert"])
def test_answers_are_the_same_with_and_without_batching(store, model):
    images = np.random.default_rng(7).integers(0, 256, (40, 1, 28, 28, 1), np.uint8)

    async def ask_all(predictor):
        return await asyncio.gather(
            *(predictor.predict(ModelSpec(model), {"image": i}) for i in images)
        )

    unbatched = predicting(store, enable_batching=False)
    with predicting(store) as batched, unbatched as alone:
        for one, other in zip(
            asyncio.run(ask_all(batched)), asyncio.run(ask_all(alone)), strict=True
        ):
            np.testing.assert_allclose(
                one.outputs["scores"], other.outputs["scores"], atol=1e-6
            )
            assert one.outputs["class_id"] == other.outputs["class_id"]


def test_one_bad_request_fails_alone(predictor):
    good = {"image": np.zeros((1, 28, 28, 1), np.uint8)}
    bad = {"image": np.zeros((1, 27, 28, 1), np.uint8)}

    async def ask():
        return await asyncio.gather(
            *(
                predictor.predict(ModelSpec("digits_litert"), bad if n == 3 else good)
                for n in range(8)
            ),
            return_exceptions=True,
        )

    failed = [isinstance(answer, Exception) for answer in asyncio.run(ask())]
    assert failed == [n == 3 for n in range(8)]


@pytest.mark.parametrize(
    ("spec", "error", "text"),
    [
        (ModelSpec(""), InvalidRequestError, "ModelSpec has no name specified."),
        (
            ModelSpec("nosuch"),
            ServableNotFoundError,
            "Servable not found for request: Latest(nosuch)",
        ),
        (
            ModelSpec("half_plus_two", version=99),
            ServableNotFoundError,
            "Servable not found for request: Specific(half_plus_two, 99)",
        ),
        (
            ModelSpec("half_plus_two", label="canary"),
            InvalidRequestError,
            "Unrecognized servable version label: canary",
        ),
        (
            ModelSpec("half_plus_two", signature_name="s"),
            FailedPreconditionError,
            'Serving signature key "s" not found.',
        ),
    ],
)
def test_what_is_not_there_is_refused(predictor, spec, error, text):
    with pytest.raises(error) as caught:
        asyncio.run(predictor.predict(spec, {"x": np.float32([1])}))
    assert str(caught.value) == text


def test_filters_outputs(predictor):
    inputs = {"a": np.ones((1, 2), np.float32), "b": np.ones(1, np.int32)}
    answer = predict(predictor, "multi_io", inputs, output_filter=["total"])
    assert list(answer.outputs) == ["total"]


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ("classify", [[("low", 0.75), ("high", 0.25)], [("low", 0.5), ("high", 0.5)]]),
        ("classify_scores", [[("", 0.75), ("", 0.25)], [("", 0.5), ("", 0.5)]]),
        ("classify_classes", [[("low", 0.0), ("high", 0.0)]] * 2),
    ],
)
def test_classifies_examples(predictor, signature, expected):
    spec = ModelSpec("examples", signature_name=signature)
    answer = asyncio.run(predictor.classify(spec, [example(x=0.25), example(x=0.5)]))
    assert [list(pairs) for pairs in answer.results] == expected
    assert (answer.version, answer.signature_name) == (1, signature)


def test_regresses_examples(predictor):
    spec = ModelSpec("examples", signature_name="regress")
    answer = asyncio.run(predictor.regress(spec, [example(x=1), example(x=5)]))
    assert list(answer.values) == [2.5, 4.5]


@pytest.mark.parametrize("method", ["classify", "regress"])
@pytest.mark.parametrize(
    ("model", "signature", "text"),
    [
        ("examples", "nosuch", "No signature was found with the name: nosuch"),
        ("multi_io", "", "Expected one input Tensor."),
        ("half_plus_two", "", "No (classification|regression) inputs found in Sign"),
    ],
)
def test_signatures_without_examples_are_refused(
    predictor, method, model, signature, text
):
    call = getattr(predictor, method)
    with pytest.raises(InvalidRequestError, match=text):
        asyncio.run(call(ModelSpec(model, signature_name=signature), [example(x=1)]))


@pytest.mark.parametrize("method", ["classify", "regress"])
def test_no_examples_are_refused(predictor, method):
    call = getattr(predictor, method)
    with pytest.raises(InvalidRequestError) as caught:
        asyncio.run(call(ModelSpec("examples", signature_name=method), []))
    assert str(caught.value) == "Input is empty."


def predict_log(x):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half_plus_two"
    tensor_codec.encode_into(request.inputs["x"], x)
    return prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    ).SerializeToString()


def classify_log(x):
    log = prediction_log_pb2.PredictionLog()
    request = log.classify_log.request
    request.model_spec.signature_name = "classify"
    request.input.example_list.examples.add().ParseFromString(example(x=x))
    return log.SerializeToString()


def multi_inference_log(*signatures):
    log = prediction_log_pb2.PredictionLog()
    request = log.multi_inference_log.request
    for name in signatures:
        request.tasks.add().model_spec.signature_name = name
    request.input.example_list.examples.add().ParseFromString(example(x=0.5))
    return log.SerializeToString()


def store_with_warmup(tf, tmp_path, version, records):
    path = tmp_path / "store" / "model" / "1"
    shutil.copytree(version, path)
    (path / "assets.extra").mkdir()
    file = path / "assets.extra" / "tf_serving_warmup_requests"
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record)
    return tmp_path / "store", file


def load_status(store, **options):
    with predicting(store, **options) as predictor:
        return asyncio.run(predictor.status("model"))[0]


def test_warm_up_requests_are_replayed(tf, tmp_path, half_plus_two, examples):
    store, _ = store_with_warmup(
        tf, tmp_path / "a", half_plus_two, [predict_log(np.float32([1]))] * 3
    )
    assert load_status(store).state == "AVAILABLE"
    records = [classify_log(0.5), multi_inference_log("classify", "regress")]
    store, _ = store_with_warmup(tf, tmp_path / "b", examples, records)
    assert load_status(store).state == "AVAILABLE"
    records = [multi_inference_log("classify", "nosuch")]
    store, _ = store_with_warmup(tf, tmp_path / "c", examples, records)
    assert "nosuch" in load_status(store).error_message


def test_warm_up_requests_are_replayed_as_often_as_asked(
    tf, tmp_path, half_plus_two, monkeypatch
):
    runs = []
    run = servable.Servable.run
    monkeypatch.setattr(
        servable.Servable, "run", lambda *args: runs.append(1) or run(*args)
    )
    records = [predict_log(np.float32([1]))] * 2
    store, _ = store_with_warmup(tf, tmp_path, half_plus_two, records)
    assert load_status(store, warmup_iterations=3).state == "AVAILABLE"
    assert len(runs) == 6


def test_method_names_are_held_against_a_signature_only_where_asked_for(store):
    x = example(x=0.5)
    spec = ModelSpec("examples", signature_name="classify")
    with predicting(store, check_method_names=True) as predictor:
        answer = predict(predictor, "half_plus_two", {"x": np.float32([1])})
        assert answer.outputs["y"] == 2.5
        for method, kind in [("classify", "classification"), ("regress", "regression")]:
            with pytest.raises(InvalidRequestError) as caught:
                asyncio.run(getattr(predictor, method)(spec, [x]))
            assert str(caught.value) == (
                f"Expected {kind} signature method_name to be "
                f"tensorflow/serving/{method}. Was: tensorflow/serving/predict"
            )


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (lambda: predict_log(np.int32([1])), "Expects arg[0] to be float but int32"),
        (lambda: b"junk", "Failed to parse warmup record: 1"),
        (lambda: b"", "Unsupported log_type for warmup: None"),
    ],
)
def test_a_warm_up_request_that_fails_fails_the_load(
    tf, tmp_path, half_plus_two, record, text
):
    store, _ = store_with_warmup(tf, tmp_path, half_plus_two, [record()])
    status = load_status(store)
    assert status.state == "END"
    assert text in status.error_message
    assert load_status(store, enable_model_warmup=False).state == "AVAILABLE"


@pytest.mark.parametrize("content", [b"text, no records", b"\x01\0\0", b"\xff" * 40])
def test_warm_up_files_of_another_kind_fail_the_load(
    tf, tmp_path, half_plus_two, content
):
    store, file = store_with_warmup(tf, tmp_path, half_plus_two, [])
    file.write_bytes(content)
    assert "warmup data is in TFRecord format" in load_status(store).error_message


def test_too_many_warm_up_requests_fail_the_load(tf, tmp_path, half_plus_two):
    records = [predict_log(np.float32([1]))] * 1001
    store, _ = store_with_warmup(tf, tmp_path, half_plus_two, records)
    assert "exceeds the maximum (1000)" in load_status(store).error_message
