"""JSON, images and tf.Examples become what a signature takes, or are refused."""

import io

import numpy as np
import PIL.Image
import pytest
from scoring_parts import example, info, signature

from pipelines import _images, _inputs
from pipelines._inputs import MismatchError, UnreadableError
from savedmodels.errors import UsageError

PIXELS = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def encode(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def refuse_notes(about: str, message: str) -> None:
    raise AssertionError(message)


class Notes:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __call__(self, about: str, message: str) -> None:
        self.told.append(message)


def image(encoded: bytes, tensor: object, note: object = refuse_notes) -> np.ndarray:
    return _images.from_image(encoded, "image", tensor, note)


# Images


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
def test_an_image_becomes_its_pixel_values_unscaled(dtype):
    given = image(encode(PIXELS), info(dtype, None, 5, 7, 3))
    np.testing.assert_array_equal(given, PIXELS.astype(dtype))
    assert given.dtype == dtype


def test_an_image_of_any_size_fits_an_input_of_any_size():
    given = image(encode(PIXELS), info("uint8", None, None, None, 3))
    np.testing.assert_array_equal(given, PIXELS)


@pytest.mark.parametrize("shape", [(5, 7, 1), (5, 7)])
def test_a_grey_image_fills_an_input_of_one_channel(shape):
    given = image(encode(PIXELS[..., 0]), info("uint8", None, *shape))
    np.testing.assert_array_equal(given, PIXELS[..., 0].reshape(shape))


def test_a_colour_image_becomes_grey_by_its_luma():
    given = image(encode(PIXELS), info("uint8", None, 5, 7, 1))
    luma = PIXELS @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    np.testing.assert_allclose(given[..., 0], luma, atol=1)


def test_a_grey_image_becomes_a_colour_image_of_equal_channels():
    given = image(encode(PIXELS[..., 0]), info("uint8", None, 5, 7, 3))
    np.testing.assert_array_equal(given, np.repeat(PIXELS[..., :1], 3, axis=2))


def test_a_16_bit_image_keeps_its_high_byte():
    deep = PIXELS[..., 0].astype(np.uint16) * 256 + 200
    given = image(encode(deep), info("uint8", None, 5, 7, 1))
    np.testing.assert_array_equal(given[..., 0], PIXELS[..., 0])


def test_a_phone_photo_stands_upright():
    orientation = PIL.Image.Exif()
    orientation[0x0112] = 6  # taken with the camera turned: rotate by 90 degrees
    given = image(encode(PIXELS, exif=orientation), info("uint8", None, 7, 5, 3))
    np.testing.assert_array_equal(given, np.rot90(PIXELS, -1))


def test_an_image_of_another_size_is_resized_with_a_note():
    notes = Notes()
    flat = np.full((40, 20), 77, np.uint8)
    given = image(encode(flat), info("uint8", None, 28, 28, 1), notes)
    np.testing.assert_array_equal(given, np.full((28, 28, 1), 77))
    assert len(notes.told) == 1
    assert "20x40" in notes.told[0]
    assert "28x28" in notes.told[0]


def test_transparency_is_dropped_with_a_note():
    notes = Notes()
    rgba = np.concatenate([PIXELS, np.full((5, 7, 1), 9, np.uint8)], axis=2)
    given = image(encode(rgba), info("uint8", None, 5, 7, 3), notes)
    np.testing.assert_array_equal(given, PIXELS)
    assert notes.told == ["Transparency in images is ignored."]


def test_an_input_of_strings_gets_the_file_as_it_is():
    encoded = encode(PIXELS, "JPEG")
    given = _images.from_image(encoded, "encoded", info("string", None), refuse_notes)
    assert given.shape == ()
    assert given.item() == encoded


def test_an_input_of_examples_gets_the_file_in_a_feature():
    encoded = encode(PIXELS)
    given = _images.from_image(encoded, "inputs", info("string", None), refuse_notes)
    assert given.item() == example(image__encoded=[encoded])


@pytest.mark.parametrize(
    "damaged", [b"", b"not an image", encode(PIXELS)[:60], encode(PIXELS, "JPEG")[:200]]
)
def test_a_damaged_image_is_refused(damaged):
    with pytest.raises(UnreadableError, match="cannot be decoded"):
        image(damaged, info("uint8", None, 5, 7, 3))


@pytest.mark.parametrize(
    ("inputs", "alias"),
    [
        ({"image": info("uint8", None, 28, 28, 1)}, "image"),
        ({"image": info("float32", None, None, None, 3)}, "image"),
        ({"image": info("uint8", None, 28, 28)}, "image"),
        ({"encoded": info("string", None)}, "encoded"),
        ({"x": info("float32", None)}, None),
        ({"x": info("float32", None, 8, 8, 7)}, None),
        ({"x": info("int8", None, 28, 28, 1)}, None),  # 255 would become -1
        ({"x": info("string", None, None)}, None),
        ({"a": info("string", None), "b": info("string", None)}, None),
    ],
)
def test_an_image_fills_the_only_input_that_can_hold_one(inputs, alias):
    assert _images.image_alias(signature(inputs)) == alias


def test_an_image_fills_the_only_input_without_a_default():
    inputs = {"image": info("uint8", None, 28, 28, 1), "k": info("int32", None)}
    defaults = {"k": np.int32([3])}
    assert _images.image_alias(signature(inputs, defaults=defaults)) == "image"


# JSON

VECTOR = signature({"x": info("float32", None, 2)})
TWO = signature({"a": info("int32", None), "t": info("string", None)})


@pytest.mark.parametrize("value", [[1, 2.5], {"x": [1, 2.5]}])
def test_a_json_instance_is_a_value_or_an_object(value):
    given = _inputs.from_json(value, VECTOR)
    np.testing.assert_array_equal(given["x"], np.float32([1, 2.5]))
    assert given["x"].dtype == np.float32


def test_json_strings_are_text_or_base64():
    given = _inputs.from_json({"a": 7, "t": "ä"}, TWO)
    assert given["a"] == 7
    assert given["t"].item() == "ä".encode()
    assert (
        _inputs.from_json({"a": 7, "t": {"b64": "AP8="}}, TWO)["t"].item() == b"\0\xff"
    )


@pytest.mark.parametrize(
    ("value", "given", "told"),
    [
        ([1, 2, 3], VECTOR, r"shape \[2\]. Received: shape \[3\]"),
        (5, VECTOR, r"Received: shape \[\]"),
        ([[1], [2, 3]], VECTOR, "`x` must be float32"),
        ([1, "2"], VECTOR, "`x` must be float32"),
        ({"y": [1, 2]}, VECTOR, "`x` float32 .* Received: `y`"),
        ({"x": [1, 2], "label": 1}, VECTOR, "Received: `label`, `x`"),
        (7, TWO, "an object with the inputs `a` int32"),
        ({"a": 1}, TWO, "Received: `a`"),
        ({"a": 1.5, "t": ""}, TWO, "`a` must be int32"),
        ({"a": 2**40, "t": ""}, TWO, "`a` must be int32"),
        ({"a": True, "t": ""}, TWO, "`a` must be int32"),
        ({"a": 1, "t": {"b64": "?"}}, TWO, "`t` must be string"),
    ],
)
def test_json_that_does_not_fit_names_the_input_and_what_came(value, given, told):
    with pytest.raises(MismatchError, match=told):
        _inputs.from_json(value, given)


def test_json_may_leave_out_an_input_with_a_default():
    given = signature(TWO.inputs, defaults={"t": np.array([b""], object)})
    assert set(_inputs.from_json({"a": 1}, given)) == {"a"}


# tf.Examples


def from_example(serialized: bytes, given: object) -> dict[str, np.ndarray]:
    return _images.from_example(serialized, given, refuse_notes)


def test_features_fill_the_inputs_that_they_are_named_after():
    given = signature(
        {
            "m": info("float32", None, 2, 2),
            "n": info("int64", None),
            "t": info("string", None, None),
        }
    )
    inputs = from_example(
        example(m=[1.0, 2.0, 3.0, 4.0], n=[5], t=[b"a", b"b", b"c"], label=[1]), given
    )
    np.testing.assert_array_equal(inputs["m"], np.float32([[1, 2], [3, 4]]))
    assert inputs["n"].shape == ()
    assert inputs["n"] == 5
    assert inputs["t"].tolist() == [b"a", b"b", b"c"]
    assert set(inputs) == {"m", "n", "t"}


def test_an_integer_feature_fills_a_smaller_integer_if_its_values_do():
    given = signature({"image": info("uint8", None, 2)})
    assert from_example(example(image=[0, 255]), given)["image"].tolist() == [0, 255]
    with pytest.raises(MismatchError, match="values from -1 to 256"):
        from_example(example(image=[-1, 256]), given)


@pytest.mark.parametrize("feature", ["image", "image__encoded"])
def test_a_feature_may_be_an_encoded_image(feature):
    given = signature({"image": info("uint8", None, 5, 7, 3)})
    inputs = from_example(example(**{feature: [encode(PIXELS)]}), given)
    np.testing.assert_array_equal(inputs["image"], PIXELS)


def test_an_only_input_named_inputs_takes_the_example_whole():
    serialized = example(anything=[1])
    given = signature({"inputs": info("string", None)})
    assert from_example(serialized, given)["inputs"].item() == serialized


@pytest.mark.parametrize(
    ("serialized", "told"),
    [
        (example(y=[1.0, 2.0]), "Received: `y`"),
        (example(x=[1.0]), r"float32 \[batch, 2\]. Received: 1 values"),
        (example(x=[b"1", b"2"]), "Received: a feature of bytes_list"),
        (b"", "Received: none"),
    ],
)
def test_an_example_that_does_not_fit_is_refused(serialized, told):
    with pytest.raises(MismatchError, match=told):
        from_example(serialized, VECTOR)


def test_bytes_that_are_no_example_are_refused():
    with pytest.raises(UnreadableError, match="not a tf.Example"):
        from_example(b"\xff\xff\xff", VECTOR)


# dtypes


@pytest.mark.parametrize(
    ("found", "wanted", "may"),
    [
        ("uint8", "uint8", True),
        ("uint8", "int32", True),
        ("uint8", "float32", True),
        ("int64", "float32", True),  # rounded, as JSON numbers are
        ("float64", "float32", True),
        ("int64", "uint8", False),
        ("int64", "int32", False),
        ("float32", "uint8", False),
        ("float32", "int64", False),
        ("float32", "string", False),
        ("U3", "string", True),
        ("S3", "string", True),
        ("S3", "float32", False),
        ("bool", "bool", True),
        ("int32", "bool", False),
        ("complex64", "float32", False),
    ],
)
def test_arrays_are_cast_only_where_no_integer_can_wrap(found, wanted, may):
    assert _inputs.castable(np.dtype(found), info(wanted, None)) is may


def test_text_becomes_utf8():
    cast = _inputs.cast(np.array(["ä", ""]), info("string", None))
    assert cast.tolist() == ["ä".encode(), b""]
    assert _inputs.cast(np.array("ä"), info("string")).item() == "ä".encode()


def test_a_signature_of_tensorflows_own_cannot_be_asked_for():
    signatures = {"serving_default": None, "__saved_model_init_op": None}
    with pytest.raises(UsageError) as refused:
        _inputs.find_signature(signatures, "__saved_model_init_op", "Version 3")
    assert str(refused.value) == (
        "Version 3 has no such signature. Expected one of: serving_default. "
        "Received: __saved_model_init_op."
    )


VALUES = [
    [1, 2],
    [1.5, 2],
    [-1, 300],
    [1e39, 0],
    [1e400, 0],
    [2**63, 1],
    [2**70, 1],
    [1],
    [[1, 2]],
    ["1", 2],
    [None, 1],
    [float("nan"), 1],
]


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int64", "int32"])
@pytest.mark.parametrize("value", VALUES, ids=str)
def test_numbers_read_at_once_are_those_read_one_by_one(dtype, value):
    given = signature({"x": info(dtype, None, 2)})
    found = []
    for has_booleans in (True, False):
        try:
            inputs = _inputs.from_json(value, given, has_booleans=has_booleans)
            found.append((inputs["x"].dtype, inputs["x"].tobytes()))
        except MismatchError as error:
            found.append(str(error))
    assert found[0] == found[1]
