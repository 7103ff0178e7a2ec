"""Signatures that break the contract are refused before anything is trained on them."""

import io

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from savedmodels import signature
from savedmodels.errors import SignatureError

ROWS = tf.TensorSpec([None, 3], tf.float32, name="features")
EXAMPLES = tf.TensorSpec([None], tf.string, name="inputs")


def function(body, *specs):
    """A tf.function of `body` that takes `specs`."""
    return tf.function(body, input_signature=list(specs) or [ROWS])


@tf.function(input_signature=[ROWS])
def double(features):
    return {"doubled": 2.0 * features}


def strings_to_floats(values, width):
    """[batch, width] float32 of string lengths: stands in for parsing."""
    lengths = tf.cast(tf.strings.length(values), tf.float32)
    return tf.repeat(lengths[:, tf.newaxis], width, axis=1)


def test_a_good_signature_is_described_by_alias_shape_and_dtype():
    specs = signature.check({"serving_default": double})
    assert specs["serving_default"] == signature.SignatureSpec(
        inputs={"features": tf.TensorSpec([None, 3], tf.float32, name="features")},
        outputs={"doubled": tf.TensorSpec([None, 3], tf.float32, name="doubled")},
    )


def test_an_input_without_a_name_is_called_as_the_parameter_is():
    fn = function(lambda pixels: {"y": pixels}, tf.TensorSpec([None], tf.uint8))
    specs = signature.check({"serving_default": fn})
    assert list(specs["serving_default"].inputs) == ["pixels"]


BROKEN = {
    "no input_signature": (
        tf.function(lambda features: {"y": features}),
        "no fixed input",
    ),
    "not a tf.function": (lambda features: {"y": features}, "no fixed input"),
    "does not trace": (function(lambda x: {"y": x + "text"}), "could not be traced"),
    "a bare tensor": (function(lambda x: x), "returns no aliases"),
    "a tuple": (function(lambda x: (x, x)), "returns no aliases"),
    "no output": (function(lambda x: {}), "has no output"),
    "output_0": (function(lambda x: {"output_0": x}), "`output_0` names nothing"),
    "a path as alias": (function(lambda x: {"a/b": x}), "`a/b` names nothing"),
    "a fixed batch": (
        function(lambda x: {"y": x}, tf.TensorSpec([8, 3], tf.float32, name="x")),
        "input `x` has no free batch axis.*None.*Received: shape \\(8, 3\\)",
    ),
    "a scalar input": (
        function(lambda x: {"y": x}, tf.TensorSpec([], tf.float32, name="x")),
        "input `x` has no free batch axis",
    ),
    "an output without batch": (
        function(lambda x: {"mean": tf.reduce_mean(x)}),
        "output `mean` has no free batch axis",
    ),
    "an output of unknown rank": (
        function(lambda x: {"y": tf.py_function(lambda v: v, [x], tf.float32)}),
        "output `y` has no free batch axis.*tf.ensure_shape",
    ),
    "a ragged output": (
        function(lambda x: {"y": tf.RaggedTensor.from_tensor(x)}),
        "`y` is no tensor",
    ),
    "one alias twice": (function(lambda a, b: {"y": a + b}, ROWS, ROWS), "same alias"),
    "a sparse input": (
        function(lambda x: {"y": tf.sparse.to_dense(x)}, tf.SparseTensorSpec([None])),
        "is no tensor",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_signature_is_refused_by_name(case):
    fn, message = BROKEN[case]
    with pytest.raises(SignatureError, match=f"Signature `serving_default`.*{message}"):
        signature.check({"serving_default": fn})


def test_serving_default_has_to_be_there():
    with pytest.raises(SignatureError, match="`serving_default` is missing.*: double"):
        signature.check({"double": double})


CLASSIFY = {
    "scores and classes": (
        {
            "scores": lambda x: strings_to_floats(x, 2),
            "classes": lambda x: tf.stack([x, x], axis=1),
        },
        None,
    ),
    "scores alone": ({"scores": lambda x: strings_to_floats(x, 2)}, None),
    "another output": ({"labels": lambda x: x}, "no place for"),
    "scores as vector": (
        {"scores": lambda x: strings_to_floats(x, 1)[:, 0]},
        "`scores` does not fit",
    ),
    "classes as numbers": (
        {"classes": lambda x: strings_to_floats(x, 2)},
        "`classes` does not fit",
    ),
}


@pytest.mark.parametrize("case", CLASSIFY)
def test_classify_returns_what_the_classify_call_can_carry(case):
    outputs, message = CLASSIFY[case]
    fn = function(lambda x: {key: make(x) for key, make in outputs.items()}, EXAMPLES)
    signatures = {"serving_default": double, "classify": fn}
    if message is None:
        assert set(signature.check(signatures)["classify"].outputs) == set(outputs)
    else:
        with pytest.raises(SignatureError, match=message):
            signature.check(signatures)


@pytest.mark.parametrize(
    ("width", "alias", "message"),
    [(1, "outputs", None), (2, "outputs", "does not fit"), (1, "value", "one `outp")],
)
def test_regress_returns_one_float_per_example(width, alias, message):
    fn = function(lambda x: {alias: strings_to_floats(x, width)}, EXAMPLES)
    signatures = {"serving_default": double, "regress": fn}
    if message is None:
        signature.check(signatures)
    else:
        with pytest.raises(SignatureError, match=message):
            signature.check(signatures)


@pytest.mark.parametrize("name", ["classify", "regress"])
@pytest.mark.parametrize(
    "spec",
    [
        tf.TensorSpec([None], tf.string, name="examples"),
        tf.TensorSpec([None, 3], tf.float32, name="inputs"),
    ],
)
def test_classify_and_regress_take_examples(name, spec):
    fn = function(lambda x: {"scores": tf.zeros([tf.shape(x)[0], 2])}, spec)
    with pytest.raises(SignatureError, match=f"`{name}` does not take tf.Examples"):
        signature.check({"serving_default": double, name: fn})


def encode(image, form="PNG"):
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, form)
    return buffer.getvalue()


def example(data):
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))
    features = tf.train.Features(feature={"image/encoded": feature})
    return tf.train.Example(features=features).SerializeToString()


def test_png_pixels_come_back_to_the_last_bit():
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (5, 28, 28), dtype=np.uint8)
    records = tf.constant([example(encode(image)) for image in images])
    decoded = signature.parse_encoded_images(records, (28, 28, 1))
    np.testing.assert_array_equal(decoded, images[..., np.newaxis])


def test_jpeg_of_one_grey_comes_back_as_that_grey():
    image = np.full((16, 16), 100, np.uint8)
    decoded = signature.decode_image(tf.constant([encode(image, "JPEG")]), (16, 16, 1))
    np.testing.assert_allclose(decoded[0, :, :, 0], image, atol=1)


PAINT = np.full((16, 16, 3), (200, 100, 50), np.uint8)
# What ITU-R BT.601 makes grey of it: 0.299 red, 0.587 green, 0.114 blue.
GREY = 0.299 * 200 + 0.587 * 100 + 0.114 * 50


@pytest.mark.parametrize(
    ("form", "mode"),
    [("PNG", "RGB"), ("PNG", "RGBA"), ("JPEG", "RGB"), ("JPEG", "CMYK")],
)
def test_a_colour_image_comes_back_in_colour_or_grey(form, mode):
    buffer = io.BytesIO()
    PIL.Image.fromarray(PAINT).convert(mode).save(buffer, form)
    data = tf.constant([buffer.getvalue()])
    colour = signature.decode_image(data, (16, 16, 3))
    np.testing.assert_allclose(colour[0].numpy().astype(int), PAINT, atol=2)
    grey = signature.decode_image(data, (16, 16, 1))
    np.testing.assert_allclose(grey, GREY, atol=2)


@pytest.mark.parametrize("form", ["GIF", "BMP"])
@pytest.mark.parametrize("channels", [1, 3])
def test_other_formats_are_refused_whatever_the_channels(form, channels):
    data = tf.constant([encode(PAINT, form)])
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected PNG or JPEG"):
        signature.decode_image(data, (16, 16, channels))


def test_an_image_of_another_size_is_stretched_to_fit():
    halves = np.zeros((40, 80), np.uint8)
    halves[:, 40:] = 200
    decoded = signature.decode_image(tf.constant([encode(halves)]), (10, 10, 1))
    assert decoded.shape == (1, 10, 10, 1)
    np.testing.assert_array_equal(decoded[0, :, :3, 0], 0)
    np.testing.assert_array_equal(decoded[0, :, 7:, 0], 200)


def test_no_image_at_all_gives_an_empty_batch():
    empty = tf.constant([], tf.string)
    assert signature.decode_image(empty, (28, 28, 3)).shape == (0, 28, 28, 3)


def test_what_is_no_image_is_refused():
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected PNG or JPEG"):
        signature.decode_image(tf.constant([b"no image"]), (28, 28, 1))


def test_a_truncated_image_is_refused():
    data = encode(np.eye(28, dtype=np.uint8))[:-30]
    with pytest.raises(tf.errors.InvalidArgumentError, match="[Pp][Nn][Gg]"):
        signature.decode_image(tf.constant([data]), (28, 28, 1))


def test_an_example_without_an_image_is_refused():
    empty = tf.train.Example().SerializeToString()
    with pytest.raises(tf.errors.InvalidArgumentError, match="image/encoded"):
        signature.parse_encoded_images(tf.constant([empty]), (28, 28, 1))
