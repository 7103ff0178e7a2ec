"""What a REST predict request means, and the words for one that means nothing."""

import base64

import ml_dtypes
import numpy as np
import pytest

from serving import json_decode, json_tensor
from serving.errors import InvalidRequestError, UnimplementedError
from serving.servable import SignatureInfo, TensorInfo

DTYPE_NAMES = {
    np.float32: "DT_FLOAT",
    np.float64: "DT_DOUBLE",
    np.int8: "DT_INT8",
    np.int16: "DT_INT16",
    np.int32: "DT_INT32",
    np.int64: "DT_INT64",
    np.uint8: "DT_UINT8",
    np.uint32: "DT_UINT32",
    np.uint64: "DT_UINT64",
    np.bool_: "DT_BOOL",
    np.object_: "DT_STRING",
    np.float16: "DT_HALF",
    ml_dtypes.bfloat16: "DT_BFLOAT16",
    np.complex64: "DT_COMPLEX64",
    np.uint16: "DT_UINT16",
}


def info(dtype):
    return TensorInfo("t:0", np.dtype(dtype), None, DTYPE_NAMES[dtype])


def signature(defaults=(), **dtypes):
    return SignatureInfo(
        {alias: info(dtype) for alias, dtype in dtypes.items()},
        {},
        "tensorflow/serving/predict",
        {alias: np.zeros(1) for alias in defaults},
    )


ONE = signature(x=np.float32)
TWO = signature(a=np.float32, b=np.int32)


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        ([1, 2.5], np.float32, [1, 2.5]),
        ([1e300, -1e300], np.float32, [np.inf, -np.inf]),
        ([10**400, -(10**400)], np.float64, [np.inf, -np.inf]),
        ([0.1], np.float64, [0.1]),
        ([-128, 127], np.int8, [-128, 127]),
        ([0, 255], np.uint8, [0, 255]),
        ([2**64 - 1], np.uint64, [2**64 - 1]),
        ([-(2**63)], np.int64, [-(2**63)]),
        ([[True], [False]], np.bool_, [[True], [False]]),
        (["a", {"b64": "/w=="}, "é"], np.object_, [b"a", b"\xff", b"\xc3\xa9"]),
        (7, np.int32, 7),
        ({"b64": " YQ "}, np.object_, b"a"),
        ([[], []], np.float32, np.zeros((2, 0))),
        ([], np.float16, []),
        ([[[1, 2], [3, 4], [5, 6]]], np.int32, [[[1, 2], [3, 4], [5, 6]]]),
    ],
)
def test_a_value_becomes_the_array_it_shows(value, dtype, expected):
    array = json_tensor.tensor(value, info(dtype))
    expected = np.array(expected, dtype)
    assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        ([1, 1.0], np.uint8, "JSON Value: 1.0 Type: Number is not of expected type"),
        ([1, True], np.float32, "JSON Value: true Type: True is not of expected type"),
        ([1, False], np.int32, "Type: False is not of expected type: int32"),
        ([1, 0], np.bool_, "JSON Value: 1 Type: Number is not of expected type: bool"),
        ([256], np.uint8, "JSON Value: 256 Type: Number is not of expected type"),
        ([-1], np.uint64, "Type: Number is not of expected type: uint64"),
        ([2**63], np.int64, "Type: Number is not of expected type: int64"),
        (["x"], np.float32, 'JSON Value: "x" Type: String is not of expected type'),
        ([None], np.float32, "JSON Value: null Type: Null is not of expected type"),
        ([{"b64": "YQ=="}], np.float32, "Type: Object is not of expected type: float"),
        ([1], np.object_, "JSON Value: 1 Type: Number is not of expected type: string"),
        ([{"b64": 3}], np.object_, "not formatted correctly for base64 data"),
        ([{"b64": "", "c": 1}], np.object_, "not formatted correctly for base64 data"),
        ([{"b64": "Y"}], np.object_, "Unable to base64 decode"),
        ([{"b64": "é"}], np.object_, "Unable to base64 decode"),
        (["\ud800"], np.object_, "surrogate pair"),
        ([[1, 2], [3]], np.int32, "unexpected size: 1 at level: 1 expected size: 2"),
        ([[1], 2], np.int32, "JSON Value: 2 found at incorrect level: 2 in the JSON"),
        ([1, [2]], np.int32, "Encountered list at unexpected level: 1 expected < 1"),
    ],
)
def test_a_value_that_does_not_fit_is_named(value, dtype, text):
    with pytest.raises(InvalidRequestError) as caught:
        json_tensor.tensor(value, info(dtype))
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (np.float16, "half"),
        (ml_dtypes.bfloat16, "bfloat16"),
        (np.complex64, "complex64"),
        (np.uint16, "uint16"),
    ],
)
def test_a_dtype_without_a_json_form_is_unimplemented(dtype, name):
    with pytest.raises(UnimplementedError) as caught:
        json_tensor.tensor([1], info(dtype))
    assert str(caught.value) == f"Conversion of JSON Value: 1 to type: {name}"


def test_no_rows_have_the_inner_shape_of_the_signature():
    def shape(declared):
        x = TensorInfo("x:0", np.dtype(np.uint8), declared, "DT_UINT8")
        return json_tensor.tensor([], x).shape

    assert shape((None, 28, 28, 1)) == (0, 28, 28, 1)
    assert shape((None, None)) == (0,)
    assert shape(None) == (0,)


def test_lists_deeper_than_an_array_can_be_are_refused():
    value = 1
    for _ in range(65):
        value = [value]
    with pytest.raises(InvalidRequestError, match="unexpected level"):
        json_tensor.tensor(value, info(np.float32))


@pytest.mark.parametrize(
    ("request_", "wanted", "expected"),
    [
        ({"instances": [1, 2]}, ONE, {"x": [1, 2]}),
        ({"instances": [[1, 2], [3, 4]]}, ONE, {"x": [[1, 2], [3, 4]]}),
        ({"instances": [{"x": [1, 2]}]}, ONE, {"x": [[1, 2]]}),
        ({"instances": [{"a": 1, "b": 2}]}, TWO, {"a": [1], "b": [2]}),
        ({"inputs": 1}, ONE, {"x": 1}),
        ({"inputs": [[1]], "other": 0}, ONE, {"x": [[1]]}),
        ({"inputs": {"x": [1], "unknown": "u"}}, ONE, {"x": [1]}),
        ({"inputs": {"a": [1, 2], "b": 3}}, TWO, {"a": [1, 2], "b": 3}),
        ({"instances": ["t"]}, signature(s=np.object_), {"s": [b"t"]}),
        ({"inputs": {"b64": "dA=="}}, signature(s=np.object_), {"s": b"t"}),
        ({"instances": [{"b64": "dA=="}]}, signature(s=np.object_), {"s": [b"t"]}),
    ],
)
def test_rows_and_columns_become_named_arrays(request_, wanted, expected):
    inputs = json_decode.predict_inputs(request_, wanted)
    assert {alias: array.tolist() for alias, array in inputs.items()} == expected


def test_an_input_with_a_default_may_be_left_out():
    wanted = signature(defaults=["b"], a=np.float32, b=np.int32)
    for request in ({"instances": [{"a": 1}]}, {"inputs": {"a": [1]}}):
        inputs = json_decode.predict_inputs(request, wanted)
        assert {alias: array.tolist() for alias, array in inputs.items()} == {"a": [1]}


FAILED = "Failed to process element: "
OBJECTS = "expecting list of objects as multiple input tensors required"


@pytest.mark.parametrize(
    ("request_", "wanted", "text"),
    [
        ({}, ONE, "Missing 'inputs' or 'instances' key"),
        ({"instances": [1], "inputs": [1]}, ONE, "expecting only one of 'inputs' or "),
        ({"instances": 1}, ONE, "Expecting 'instances' to be an list/array"),
        ({"instances": []}, ONE, "No values in 'instances' array"),
        ({"instances": [1]}, TWO, f"instances is a plain list, but {OBJECTS}"),
        ({"inputs": [1]}, TWO, "inputs is a plain value/list, but expecting an object"),
        ({"inputs": {"a": 1}}, TWO, "Missing named input: b in 'inputs' object."),
        (
            {"instances": ["x"]},
            ONE,
            f"{FAILED}0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: "
            '"x" Type: String is not of expected type: float',
        ),
        (
            {"instances": [{"a": 1, "b": 1}, {"a": 1, "b": 1.5}]},
            TWO,
            f"{FAILED}1 key: b of 'instances' list. Error: INVALID_ARGUMENT: JSON "
            "Value: 1.5 Type: Number is not of expected type: int32",
        ),
        ({"instances": [{"a": 1}]}, TWO, "keys must be equal to: a,b"),
        (
            {"instances": [{"a": 1, "b": 1, "c": 1}]},
            TWO,
            f"{FAILED}0 key: c of 'instances' list. Error: INVALID_ARGUMENT: JSON "
            "object: does not have named input: c",
        ),
        (
            {"instances": [{"x": 1}, 2]},
            ONE,
            "Expecting object but got list at item 1 of input list",
        ),
        (
            {"instances": [1, {"x": 1}]},
            ONE,
            "Expecting value/list but got object at item 1 of input list",
        ),
        ({"instances": [[1, 2], [1]]}, ONE, "Expecting tensor size: 2 but got: 1"),
        (
            {"instances": [[[1, 2]], [[1], [2]]]},
            ONE,
            "Expecting shape [1,2] but got: [2,1]",
        ),
        (
            {"instances": [{"b64": "!"}]},
            signature(s=np.object_),
            f"{FAILED}0 of 'instances' list. Error: INVALID_ARGUMENT: Unable to base64",
        ),
    ],
)
def test_a_request_of_another_form_is_refused_in_the_contracts_words(
    request_, wanted, text
):
    with pytest.raises(InvalidRequestError) as caught:
        json_decode.predict_inputs(request_, wanted)
    assert text in str(caught.value)


def test_a_large_base64_value_survives():
    data = bytes(range(256)) * 1000
    text = base64.b64encode(data).decode()
    inputs = json_decode.predict_inputs(
        {"instances": [{"b64": text}]}, signature(s=np.object_)
    )
    assert inputs["s"].tolist() == [data]
