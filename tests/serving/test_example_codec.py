"""tf.Examples from JSON and plain values, read back with the proto itself."""

import json

import numpy as np
import pytest

from savedmodels.protos import example_pb2
from serving import example_codec
from serving.errors import InvalidRequestError


def features(serialized):
    """Name to (kind, values), read by protobuf."""
    example = example_pb2.Example.FromString(serialized)
    return {
        name: (
            feature.WhichOneof("kind"),
            list(getattr(feature, feature.WhichOneof("kind") or "int64_list").value),
        )
        for name, feature in example.features.feature.items()
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2, ("int64_list", [2])),
        (2.0, ("float_list", [2.0])),
        ([1.5, 2.5], ("float_list", [1.5, 2.5])),
        ([True, False, 7], ("int64_list", [1, 0, 7])),
        ("é", ("bytes_list", [b"\xc3\xa9"])),
        (["a", {"b64": "/w=="}], ("bytes_list", [b"a", b"\xff"])),
        ([], (None, [])),
    ],
)
def test_the_json_token_decides_the_kind_of_feature(value, expected):
    (serialized,) = example_codec.from_request({"examples": [{"f": value}]})
    assert features(serialized) == {"f": expected}


def test_the_context_belongs_to_every_example_that_has_no_such_feature():
    first, second = example_codec.from_request(
        {"context": {"a": 1, "b": 2}, "examples": [{"c": 3}, {"b": 4}]}
    )
    assert features(first) == {
        "a": ("int64_list", [1]),
        "b": ("int64_list", [2]),
        "c": ("int64_list", [3]),
    }
    assert features(second) == {"a": ("int64_list", [1]), "b": ("int64_list", [4])}


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({}, "When method is classify, key 'examples' is expected and was not found"),
        ({"examples": {}}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
        ({"context": 1, "examples": [{}]}, "Example must be JSON object"),
        ({"examples": [{"f": None}]}, "Feature: f has element with unexpected JSON"),
        ({"examples": [{"f": [[1]]}]}, "unexpected JSON type: Array"),
        ({"examples": [{"f": {"x": 1}}]}, "unexpected JSON type: Object"),
        (
            {"examples": [{"f": [10, 10.0]}]},
            "Unexpected element type in feature: f expecting type: int64",
        ),
        (
            {"examples": [{"f": [1.5, "a"]}]},
            "Unexpected element type in feature: f expecting type: float",
        ),
        (
            {"examples": [{"f": 2**63}]},
            "Feature: f has uint64 element. Only int64_t is supported.",
        ),
        ({"examples": [{"f": {"b64": "!"}}]}, "Unable to base64 decode"),
        ({"examples": [{"\ud800": 1}]}, "name is not UTF-8"),
    ],
)
def test_an_example_of_another_form_is_refused_in_the_contracts_words(request_, text):
    with pytest.raises(InvalidRequestError) as caught:
        example_codec.from_request(request_)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), ("float_list", [0.5])),
        (np.array([[1.0, 2.0]]), ("float_list", [1.0, 2.0])),
        (np.array([1, 2], np.uint8), ("int64_list", [1, 2])),
        ([1, 2.5], ("float_list", [1.0, 2.5])),
        (b"a\0", ("bytes_list", [b"a\0"])),
        (["a", b"b"], ("bytes_list", [b"a", b"b"])),
        ([], (None, [])),
    ],
)
def test_plain_values_become_features(value, expected):
    assert features(example_codec.encode({"f": value})) == {"f": expected}


def test_values_of_no_kind_are_refused():
    with pytest.raises(InvalidRequestError, match="`f` must hold numbers, or bytes"):
        example_codec.encode({"f": [1, "a"]})


def test_what_is_no_example_is_refused():
    with pytest.raises(InvalidRequestError, match="Could not parse example input"):
        example_codec.decode(b"\xff\xff")


def test_an_example_written_as_json_means_the_same_example():
    serialized = example_codec.encode(
        {"i": [1, -(2**63)], "f": [2.0, 0.1], "s": [b"\xff", "é"], "none": []}
    )
    document = json.loads(f'{{"examples": [{example_codec.to_json(serialized)}]}}')
    assert features(example_codec.from_request(document)[0]) == features(serialized)
