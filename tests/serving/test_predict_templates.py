"""Requests that are not parsed are taken as if they were; answers likewise."""

import random

import mutations
import numpy as np
import pytest

from savedmodels.protos import predict_pb2
from serving import predict_answer, prediction_service, tensor_codec
from serving.predict_templates import Checked, PredictTemplates
from serving.predictor import ModelSpec


def request_of(image, alias="image", **spec):
    request = predict_pb2.PredictRequest(output_filter=["scores"])
    request.model_spec.name = "digits"
    for name, value in spec.items():
        setattr(request.model_spec, name, value)
    tensor_codec.encode_into(request.inputs[alias], image, as_content=True)
    return request


def images(seed, rows=1, size=64):
    return np.random.default_rng(seed).integers(0, 256, (rows, size), np.uint8)


def checked(text="digits"):
    return Checked(ModelSpec(text), (), None, "serving_default", None, ((64,),), 1)


def seen(*requests, again=2):
    """Templates that have met requests, each so often."""
    templates = PredictTemplates()
    for request in requests:
        data = request.SerializeToString()
        parsed = predict_pb2.PredictRequest.FromString(data)
        inputs = {a: tensor_codec.decode(p) for a, p in parsed.inputs.items()}
        for _ in range(again):
            templates.add(data, parsed, inputs, checked())
    return templates


def test_a_request_that_differs_in_its_values_is_known():
    templates = seen(request_of(images(1)), request_of(images(2, rows=3)))
    for rows in (1, 3):
        other = images(7, rows)
        found, inputs = templates.find(request_of(other).SerializeToString())
        assert found == checked()
        assert list(inputs) == ["image"]
        np.testing.assert_array_equal(inputs["image"], other)


@pytest.mark.parametrize(
    "other",
    [
        request_of(images(1), signature_name="a"),
        request_of(images(1), version_label="a"),
        request_of(images(1), alias="other"),
        request_of(images(1).astype(np.float32)),
        request_of(images(1, size=32).reshape(2, 16)),
        request_of(images(1).reshape(64)),
        request_of(images(1).view(np.int8)),
    ],
)
def test_a_request_that_differs_otherwise_is_not(other):
    templates = seen(request_of(images(1)))
    assert templates.find(other.SerializeToString()) is None


def test_a_request_that_came_once_is_not_remembered():
    templates = seen(request_of(images(1)), again=1)
    assert templates.find(request_of(images(1)).SerializeToString()) is None


def test_values_that_stand_elsewhere_too_are_not_mistaken():
    text = "x" * 64
    image = np.frombuffer(text.encode(), np.uint8).reshape(1, 64)
    for request in (
        request_of(image, signature_name=text),
        request_of(np.zeros((1, 64), np.uint8)),
    ):
        templates = seen(request)
        other = request_of(images(3))
        other.model_spec.CopyFrom(request.model_spec)
        found = templates.find(other.SerializeToString())
        if found is not None:
            np.testing.assert_array_equal(found[1]["image"], images(3))


@pytest.mark.parametrize(
    "request_",
    [
        request_of(images(1, size=8)),  # as quickly parsed
        request_of(np.array([b"text" * 20], np.object_)),
        predict_pb2.PredictRequest(),
    ],
)
def test_requests_that_are_parsed_every_time(request_):
    templates = seen(request_, again=3)
    assert templates.find(request_.SerializeToString()) is None


def test_what_is_known_is_bounded():
    templates = PredictTemplates()
    for size in range(40, 1000):
        request = request_of(images(1, size=size))
        inputs = {"image": images(1, size=size)}
        for _ in range(2):
            templates.add(request.SerializeToString(), request, inputs, checked())
    assert len(templates._templates) <= 64


def test_no_mutation_is_taken_for_what_it_is_not():
    """Whatever is found is what protobuf finds."""
    dice = random.Random(0)
    right = request_of(images(1))
    templates = seen(right)
    known = 0
    for _ in range(3000):
        data = mutations.octets(dice, right.SerializeToString())
        found = templates.find(data)
        if found is None:
            continue
        known += 1
        parsed = predict_pb2.PredictRequest.FromString(data)
        np.testing.assert_array_equal(
            found[1]["image"], tensor_codec.decode(parsed.inputs["image"])
        )
        parsed.inputs["image"].CopyFrom(right.inputs["image"])
        assert parsed == right
    assert known > 100


OUTPUTS = {
    "floats": np.float32([[1.5, -2, np.inf]]),
    "doubles": np.float64([[[0.1]]]),
    "scalar": np.float32(3),
    "classes": np.int64([0, 127]),
    "large": np.int64([-1, 128, 2**40]),
    "none": np.zeros((0, 10), np.float32),
    "no_classes": np.zeros(0, np.int64),
    "narrow": np.int32([1, -1]),
    "flags": np.array([True, False]),
    "halves": np.float16([1.5]),
    "text": np.array([b"a", b"\xff"], np.object_),
    "\u00e9" * 100: np.arange(1000, dtype=np.float32).reshape(10, 100),
}


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("alias", OUTPUTS)
def test_an_answer_is_what_protobuf_writes(alias, as_content):
    outputs = {alias: OUTPUTS[alias], "z": np.float32([1])}
    spec = ModelSpec("digits", signature_name="s")
    expected = prediction_service.predict_response(
        spec, outputs, 300, "s", as_content=as_content
    )
    data = predict_answer.serialized("digits", 300, "s", outputs, as_content=as_content)
    assert predict_pb2.PredictResponse.FromString(data) == expected


def test_rows_of_an_answer_that_lie_apart_are_written_in_order():
    columns = np.arange(12, dtype=np.float32).reshape(3, 4).T
    data = predict_answer.serialized("m", 1, "s", {"y": columns}, as_content=False)
    answer = predict_pb2.PredictResponse.FromString(data).outputs["y"]
    np.testing.assert_array_equal(tensor_codec.decode(answer), columns)
