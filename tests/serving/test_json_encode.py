"""How the REST API writes answers: numbers, strings, layout."""

import json
import random
import struct

import ml_dtypes
import numpy as np
import pytest

from serving import json_encode
from serving.errors import InvalidRequestError
from serving.predictor import VersionStatus
from serving.servable import SignatureInfo, TensorInfo


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1.0"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (2.5, "2.5"),
        (1e6, "1e+06"),
        (3e-5, "3e-05"),
        (123456, "123456.0"),
        (1234567, "1234567.0"),  # 7 digits: 6 do not read back
        (16777216, "16777216.0"),
        (1 / 3, "0.333333343"),  # 9 digits of the float32 nearest to a third
        (np.nan, "NaN"),
        (np.inf, "Infinity"),
        (-np.inf, "-Infinity"),
        (np.finfo(np.float32).max, "3.40282347e+38"),
    ],
)
def test_float32_is_written_with_6_digits_or_9(value, text):
    assert json_encode.tensor(np.float32(value)[np.newaxis]) == f"[{text}]"


@pytest.mark.parametrize(
    ("value", "text"), [(0.1, "0.1"), (1 / 3, "0.33333333333333331"), (2.0**60, None)]
)
def test_float64_is_written_with_6_digits_or_17(value, text):
    written = json_encode.tensor(np.array(value))
    assert text is None or written == text
    assert json.loads(written) == value


def test_every_float32_reads_back_as_itself():
    generator = random.Random(1)
    bits = [generator.getrandbits(32) for _ in range(20_000)]
    values = np.array([struct.unpack("f", struct.pack("I", b))[0] for b in bits], "f4")
    read_back = np.array(json.loads(json_encode.tensor(values)), np.float64)
    np.testing.assert_array_equal(read_back.astype(np.float32), values)


@pytest.mark.parametrize(("dtype", "digits"), [(np.float32, 9), (np.float64, 17)])
def test_a_float_is_as_short_as_the_rule_for_one_allows(dtype, digits):
    generator = np.random.default_rng(1)
    values = generator.normal(size=500) * 10.0 ** generator.integers(-40, 38, 500)
    rounded = [float(f"{value:.5g}") for value in values]
    whole = generator.integers(-(10**7), 10**7, 500)
    for value in np.array([*values, *rounded, *whole], dtype):
        number = float(value)
        expected = f"{number:g}"
        if dtype(expected) != value:
            expected = f"{number:.{digits}g}"
        if "." not in expected and "e" not in expected:
            expected += ".0"
        assert json_encode.tensor(np.array([value])) == f"[{expected}]"


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.array([[0, 255]], np.uint8), "[[0, 255]]"),
        (np.array(2**64 - 1, np.uint64), "18446744073709551615"),
        (np.array([-(2**63)], np.int64), "[-9223372036854775808]"),
        (np.array([True, False]), "[true, false]"),
        (np.zeros((2, 0), np.float32), "[[], []]"),
        (np.zeros((0, 2), np.float32), "[]"),
        (np.arange(8).reshape(2, 2, 2), "[[[0, 1], [2, 3]], [[4, 5], [6, 7]]]"),
        (np.arange(4).reshape(2, 2).T, "[[0, 2], [1, 3]]"),
        (np.array([b'"\n', "é".encode()], object), '["\\"\\n", "é"]'),
        (np.array([b"\xff"], object), '["\ufffd"]'),
    ],
)
def test_other_values_are_written_as_json_has_them(array, text):
    assert json_encode.tensor(array) == text


def test_an_alias_that_ends_with_bytes_gives_base64():
    strings = np.array([b"\xff"], object)
    assert json_encode.tensor(strings, "image_bytes") == '[{"b64": "/w=="}]'


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (np.complex64, "complex64"),
        (np.float16, "half"),
        (ml_dtypes.bfloat16, "bfloat16"),
        (np.uint16, "uint16"),
    ],
)
def test_a_dtype_without_a_json_form_is_refused(dtype, name):
    with pytest.raises(InvalidRequestError) as caught:
        json_encode.tensor(np.zeros(1, dtype))
    expected = f"Failed to write JSON value for tensor type: {name}"
    assert str(caught.value) == expected


def test_one_output_is_a_plain_list_of_rows():
    text = json_encode.predictions({"y": np.array([[1, 2], [3, 4]], np.float32)})
    assert text == '{\n    "predictions": [[1.0, 2.0], [3.0, 4.0]\n    ]\n}'


def test_several_outputs_are_one_object_a_row():
    text = json_encode.predictions(
        {"y": np.array([1, 2]), "z": np.array([[0.5], [1.5]])}
    )
    assert text == (
        "{\n"
        '    "predictions": [\n'
        "        {\n"
        '            "y": 1,\n'
        '            "z": [0.5]\n'
        "        },\n"
        "        {\n"
        '            "y": 2,\n'
        '            "z": [1.5]\n'
        "        }\n"
        "    ]\n"
        "}"
    )


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ({"y": np.array(1.0)}, "Tensor name: y has no shape information "),
        (
            {"y": np.zeros(2), "z": np.zeros(3)},
            "Tensor name: z has inconsistent batch size: 3 expecting: 2",
        ),
    ],
)
def test_outputs_that_are_no_rows_are_refused(outputs, text):
    with pytest.raises(InvalidRequestError) as caught:
        json_encode.predictions(outputs)
    assert str(caught.value) == text


def test_columns_may_be_scalars():
    one = json_encode.outputs({"y": np.array(1.5)})
    assert json.loads(one) == {"outputs": 1.5}
    two = json_encode.outputs({"y": np.array(1.5), "z": np.array([1])})
    assert json.loads(two) == {"outputs": {"y": 1.5, "z": [1]}}


def test_classifications_are_pairs_of_label_and_score():
    text = json_encode.classifications([[("cat", 0.1), ("", 1.0)], []])
    assert text == '{\n    "results": [[["cat", 0.1], ["", 1.0]], []\n    ]\n}'


def test_regressions_are_one_line():
    assert json_encode.regressions([1.0, 0.1]) == '{\n    "results": [1.0, 0.1]\n}'


def test_status_has_the_version_as_a_string():
    text = json_encode.status([VersionStatus(123, "END", "NOT_FOUND", "gone")])
    assert json.loads(text) == {
        "model_version_status": [
            {
                "version": "123",
                "state": "END",
                "status": {"error_code": "NOT_FOUND", "error_message": "gone"},
            }
        ]
    }


def test_metadata_is_what_protobuf_writes_of_a_signature_def_map():
    x = TensorInfo("x:0", np.dtype(np.float32), (None, 2), "DT_FLOAT")
    y = TensorInfo("y:0", np.dtype(object), None, "DT_STRING")
    signature = SignatureInfo({"x": x}, {"y": y}, "tensorflow/serving/predict")
    text = json_encode.metadata("m", 3, {"serving_default": signature})
    dims = [{"size": "-1", "name": ""}, {"size": "2", "name": ""}]
    assert json.loads(text) == {
        "model_spec": {"name": "m", "signature_name": "", "version": "3"},
        "metadata": {
            "signature_def": {
                "signature_def": {
                    "serving_default": {
                        "inputs": {
                            "x": {
                                "dtype": "DT_FLOAT",
                                "tensor_shape": {"dim": dims, "unknown_rank": False},
                                "name": "x:0",
                            }
                        },
                        "outputs": {
                            "y": {
                                "dtype": "DT_STRING",
                                "tensor_shape": {"dim": [], "unknown_rank": True},
                                "name": "y:0",
                            }
                        },
                        "method_name": "tensorflow/serving/predict",
                        "defaults": {},
                    }
                }
            }
        },
    }
