"""What a servable promises its clients, and the check that its signatures keep it.

    names       `serving_default` is there. Inputs and outputs have aliases: an alias is
                a Python identifier and says what the tensor is, so never `output_0`.
    shapes      Axis 0 of every tensor is the batch, and it is free (None).
    classify    takes `inputs` [batch] string, serialized tf.Examples; returns `scores`
                [batch, classes] float32, `classes` [batch, classes] string, or both
    regress     takes `inputs` as above; returns `outputs` [batch] or [batch, 1] float32

The last two are what TF Serving's Classify and Regress calls ask of a signature; here
the signature of that name has to fit. Source: tensorflow_serving/servables/tensorflow,
classifier.cc and regressor.cc.

Also here: what signatures that take encoded images have in common, as graph code.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from savedmodels.errors import SignatureError

SERVING_DEFAULT = "serving_default"
CLASSIFY = "classify"
REGRESS = "regress"
# The feature that holds a PNG or JPEG in a tf.Example, as in TensorFlow's own records.
ENCODED_IMAGE_FEATURE = "image/encoded"

# Signature name to a `tf.function` with a fixed `input_signature` and a dict output.
Signatures = Mapping[str, Callable[..., Any]]

_PNG = b"\x89PNG\r\n\x1a\n"  # how such a file begins
_NAMELESS_OUTPUT = re.compile(r"output_?\d+")


@dataclasses.dataclass(frozen=True, slots=True)
class SignatureSpec:
    """What one signature takes and returns.

    Attributes:
        inputs: Alias to spec, in the order of the function's parameters.
        outputs: Alias to spec.
    """

    inputs: Mapping[str, tf.TensorSpec]
    outputs: Mapping[str, tf.TensorSpec]


def check(signatures: Signatures) -> dict[str, SignatureSpec]:
    """Traces every signature and checks it against the contract above.

    Cheap enough to run before a training, so that a mistake costs no training.

    Args:
        signatures: Signature name to `tf.function`.

    Returns:
        Signature name to what it takes and returns.

    Raises:
        SignatureError: A signature breaks the contract; names it and the alias.
    """
    if SERVING_DEFAULT not in signatures:
        raise SignatureError(
            f"Signature `{SERVING_DEFAULT}` is missing. Expected it among the "
            f"signatures, since it is what a request without a signature name gets. "
            f"Received: {', '.join(signatures) or 'none'}."
        )
    specs = {name: _spec(name, function) for name, function in signatures.items()}
    for name, spec in specs.items():
        _check_tensors(name, "input", spec.inputs)
        _check_tensors(name, "output", spec.outputs)
    if CLASSIFY in specs:
        _check_classify(specs[CLASSIFY])
    if REGRESS in specs:
        _check_regress(specs[REGRESS])
    return specs


def decode_image(encoded: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """Decodes images of one shape, inside a signature's graph.

    An image of another size is stretched to fit, antialiased. One that is neither PNG
    nor JPEG (grey, colour or CMYK) ends the request with INVALID_ARGUMENT.

    Args:
        encoded: [batch] string, one encoded image each.
        shape: (height, width, channels) in pixels; 1 channel makes colours grey.

    Returns:
        [batch, height, width, channels] uint8, 0..255.
    """
    height, width, channels = shape

    def resize(image: tf.Tensor) -> tf.Tensor:
        resized = tf.image.resize(image, [height, width], antialias=True)
        return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)

    def decode_one(data: tf.Tensor) -> tf.Tensor:
        image = decode_pixels(data, channels)
        fits = tf.reduce_all(tf.shape(image)[:2] == [height, width])
        # Resizing to the same size changes nothing, but costs twice the decoding.
        image = tf.cond(fits, lambda: image, lambda: resize(image))
        return tf.ensure_shape(image, [height, width, channels])

    spec = tf.TensorSpec([height, width, channels], tf.uint8)
    return tf.map_fn(decode_one, encoded, fn_output_signature=spec)


def decode_pixels(data: tf.Tensor, channels: int) -> tf.Tensor:
    """Decodes one image in its own size, inside a signature's graph.

    An image that is neither PNG nor JPEG ends the request with INVALID_ARGUMENT. Of 16
    bits a channel the upper 8 are kept, and transparency is ignored.

    Args:
        data: [] string.
        channels: 1 makes colours grey, 3 makes grey colours.

    Returns:
        [height, width, channels] uint8, 0..255.
    """
    is_jpeg = tf.io.is_jpeg(data)
    is_png = tf.strings.substr(data, 0, len(_PNG)) == _PNG
    # GIF and BMP decode to some numbers of channels and not to others.
    wanted = "Unknown image file format. Expected PNG or JPEG."
    # Before it is decoded: what decoding says of other formats is of no help.
    with tf.control_dependencies([tf.debugging.Assert(is_jpeg | is_png, [wanted])]):
        data = tf.identity(data)

    def decode(channels: int) -> tf.Tensor:
        image = tf.io.decode_image(data, channels=channels, expand_animations=False)
        image.set_shape([None, None, channels])
        return image

    if channels != 1:
        return decode(channels)
    # TensorFlow decodes CMYK to colours, but not to grey.
    is_cmyk = tf.cond(
        is_jpeg,
        lambda: tf.equal(tf.io.extract_jpeg_shape(data)[2], 4),
        lambda: tf.constant(False),
    )
    return tf.cond(
        is_cmyk,
        lambda: tf.image.rgb_to_grayscale(decode(3)),
        lambda: decode(1),
    )


def parse_encoded_images(examples: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """Takes the images out of tf.Examples, for a `classify` signature.

    Args:
        examples: [batch] string, serialized tf.Examples with one encoded image each in
            the feature `image/encoded`. One without it ends the request with
            INVALID_ARGUMENT.
        shape: (height, width, channels), as for `decode_image`.

    Returns:
        [batch, height, width, channels] uint8, 0..255.
    """
    features = {ENCODED_IMAGE_FEATURE: tf.io.FixedLenFeature([], tf.string)}
    parsed = tf.io.parse_example(examples, features)
    return decode_image(parsed[ENCODED_IMAGE_FEATURE], shape)


def _spec(name: str, function: Callable[..., Any]) -> SignatureSpec:
    """Traces `function` and reads its aliases off the graph."""
    if getattr(function, "input_signature", None) is None:
        raise SignatureError(
            f"Signature `{name}` has no fixed input. Expected a tf.function with an "
            f"`input_signature`. Received: {type(function).__name__}."
        )
    try:
        concrete = function.get_concrete_function()  # type: ignore[attr-defined]
    except Exception as error:
        raise SignatureError(
            f"Signature `{name}` could not be traced. Expected a function that "
            f"TensorFlow can make a graph of. Received: "
            f"{type(error).__name__}: {error}"
        ) from error
    positional, keywords = concrete.structured_input_signature
    specs = tf.nest.flatten((positional, keywords))
    aliases = [str(getattr(spec, "name", "an input")) for spec in specs]
    if len(set(aliases)) < len(aliases):
        raise SignatureError(
            f"Signature `{name}` gives two inputs the same alias. Expected each once. "
            f"Received: {', '.join(aliases)}."
        )
    outputs = concrete.structured_outputs
    if not isinstance(outputs, Mapping):
        raise SignatureError(
            f"Signature `{name}` returns no aliases. Expected a dict from alias to "
            f"tensor, such as {{'scores': scores}}. "
            f"Received: {type(outputs).__name__}."
        )
    return SignatureSpec(
        inputs={
            alias: _dense(name, alias, spec)
            for alias, spec in zip(aliases, specs, strict=True)
        },
        outputs={str(key): _dense(name, key, value) for key, value in outputs.items()},
    )


def _dense(name: str, alias: str, tensor: Any) -> tf.TensorSpec:
    """The spec of a tensor, or an error for what is none (ragged, sparse, nested)."""
    if not isinstance(tensor, tf.TensorSpec | tf.Tensor):
        raise SignatureError(
            f"Signature `{name}`: `{alias}` is no tensor. Expected a dense tensor, all "
            f"that a request can carry. Received: {type(tensor).__name__}."
        )
    return tf.TensorSpec(tensor.shape, tensor.dtype, name=alias)


def _check_tensors(name: str, kind: str, specs: Mapping[str, tf.TensorSpec]) -> None:
    """Checks aliases and batch axes."""
    if not specs:
        raise SignatureError(
            f"Signature `{name}` has no {kind}. Expected at least one. Received: none."
        )
    for alias, spec in specs.items():
        if not alias.isidentifier() or _NAMELESS_OUTPUT.fullmatch(alias):
            raise SignatureError(
                f"Signature `{name}`: the {kind} alias `{alias}` names nothing. "
                f"Expected an identifier that says what the tensor is, such as "
                f"`image` or `scores`. Received: `{alias}`."
            )
        rank = spec.shape.rank
        if rank is None or rank < 1 or spec.shape[0] is not None:
            raise SignatureError(
                f"Signature `{name}`: {kind} `{alias}` has no free batch axis. "
                f"Expected axis 0 to be None, as in (None, ...). "
                f"Received: shape {spec.shape}; `tf.ensure_shape` states it where "
                f"TensorFlow cannot infer it."
            )
        if not (spec.dtype.is_numpy_compatible or spec.dtype is tf.string):
            raise SignatureError(
                f"Signature `{name}`: {kind} `{alias}` cannot be sent. Expected "
                f"numbers, booleans or strings. Received: dtype {spec.dtype.name}."
            )


def _check_classify(spec: SignatureSpec) -> None:
    """Checks what Classify asks: scores, classes or both, one row per example."""
    _check_takes_examples(CLASSIFY, spec)
    wanted = {"scores": (tf.float32, 2), "classes": (tf.string, 2)}
    if not set(spec.outputs) <= set(wanted):
        raise SignatureError(
            f"Signature `{CLASSIFY}` returns what Classify has no place for. Expected "
            f"`scores`, `classes` or both. Received: {', '.join(spec.outputs)}."
        )
    for alias, output in spec.outputs.items():
        dtype, rank = wanted[alias]
        if output.dtype != dtype or output.shape.rank != rank:
            raise SignatureError(
                f"Signature `{CLASSIFY}`: `{alias}` does not fit Classify. Expected "
                f"[batch, classes] {dtype.name}. "
                f"Received: {output.shape} {output.dtype.name}."
            )


def _check_regress(spec: SignatureSpec) -> None:
    """Checks what Regress asks: one float per example."""
    _check_takes_examples(REGRESS, spec)
    output = spec.outputs.get("outputs")
    if output is None or len(spec.outputs) != 1:
        raise SignatureError(
            f"Signature `{REGRESS}` does not return one `outputs`. Expected it alone, "
            f"since Regress returns one value. Received: {', '.join(spec.outputs)}."
        )
    one_value = output.shape.rank == 1 or (
        output.shape.rank == 2 and output.shape[1] == 1
    )
    if output.dtype != tf.float32 or not one_value:
        raise SignatureError(
            f"Signature `{REGRESS}`: `outputs` does not fit Regress. Expected [batch] "
            f"or [batch, 1] float32. Received: {output.shape} {output.dtype.name}."
        )


def _check_takes_examples(name: str, spec: SignatureSpec) -> None:
    """Checks that the one input is `inputs` [batch] string."""
    examples = spec.inputs.get("inputs")
    fits = (
        examples is not None
        and len(spec.inputs) == 1
        and examples.dtype == tf.string
        and examples.shape.rank == 1
    )
    if not fits:
        taken = ", ".join(
            f"{alias} {item.shape} {item.dtype.name}"
            for alias, item in spec.inputs.items()
        )
        raise SignatureError(
            f"Signature `{name}` does not take tf.Examples. Expected one input "
            f"`inputs`, [batch] string. Received: {taken}."
        )
