"""How an encoded image, or a tf.Example, becomes the inputs of a signature."""

import functools
import io
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import PIL.Image
import PIL.ImageOps
from google.protobuf.message import DecodeError

from pipelines import _inputs
from pipelines._inputs import Inputs, MismatchError, UnreadableError
from savedmodels.protos import example_pb2, feature_pb2
from serving.servable import SignatureInfo, TensorInfo

# TF Serving's own rule: a signature that takes tf.Examples has this one input.
EXAMPLES_ALIAS = "inputs"
ENCODED_FEATURE = "image/encoded"
_ENCODED = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")

Note = Callable[[str, str], None]  # what about, and the message; told once for each


def image_alias(signature: SignatureInfo) -> str | None:
    """Returns the one input that an image file alone can fill, or None.

    That is the only input without a default, and either strings, which take the
    encoded file as it is, or numbers [batch, height, width] with 1, 3 or 4 channels.
    """
    needed = [alias for alias in signature.inputs if alias not in signature.defaults]
    if len(needed) != 1:
        return None
    info = signature.inputs[needed[0]]
    shape = info.shape
    if _inputs.is_string(info):
        takes = shape is None or len(shape) == 1
    else:
        shaped = shape is not None and (
            len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3, 4, None))
        )
        takes = shaped and _inputs.castable(np.dtype(np.uint8), info)
    return needed[0] if takes else None


def from_image(encoded: bytes, alias: str, info: TensorInfo, note: Note) -> np.ndarray:
    """Returns one instance of an input from an encoded image.

    Args:
        encoded: A whole PNG or JPEG file.
        alias: The input's alias; `inputs` wraps the image into a tf.Example.
        info: The input, as `image_alias` chose it. Numbers are the raw pixel values,
            0 to 255, whatever the dtype: scaling is the graph's work.
        note: Told once that images are resized, or lose their transparency.

    Returns:
        [height, width, channels] of the input's dtype, upright by the EXIF
        orientation, resized to the input's size; or [] bytes for a string input.

    Raises:
        UnreadableError: The bytes are no image, or are cut short.
    """
    if not _inputs.is_string(info):
        return _pixels(encoded, info, note)
    if alias == EXAMPLES_ALIAS:
        example = example_pb2.Example()
        example.features.feature[ENCODED_FEATURE].bytes_list.value.append(encoded)
        encoded = example.SerializeToString()
    return np.array(encoded, dtype=object)


def decode(encoded: bytes, mode: str, note: Note) -> PIL.Image.Image:
    """Returns an image upright by its EXIF orientation, in 8 bits a channel.

    Args:
        encoded: A whole file.
        mode: Pillow's: `L`, `RGB` or `RGBA`.
        note: Told once that images lose their transparency.

    Raises:
        UnreadableError: The bytes are no image, or are cut short.
    """
    try:
        with PIL.Image.open(io.BytesIO(encoded)) as file:
            image = PIL.ImageOps.exif_transpose(file)
            if image.mode.startswith("I"):  # 16-bit grey, which `convert` would clip
                high_bytes = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255)
                image = PIL.Image.fromarray(high_bytes.astype(np.uint8))
            if mode != "RGBA" and image.has_transparency_data:
                note("transparency", "Transparency in images is ignored.")
            return image.convert(mode)
    except PIL.UnidentifiedImageError as error:  # its text names a Python object
        text = "The image cannot be decoded: it is of no known kind."
        raise UnreadableError(text) from error
    except Exception as error:  # Pillow raises many kinds on damaged files
        reason = str(error).rstrip(".")
        raise UnreadableError(f"The image cannot be decoded: {reason}.") from error


def _pixels(encoded: bytes, info: TensorInfo, note: Note) -> np.ndarray:
    # `image_alias` lets no other rank through.
    height, width, *channels = (info.shape or ())[1:]
    mode = {1: "L", 4: "RGBA"}.get(channels[0] or 3, "RGB") if channels else "L"
    image = decode(encoded, mode, note)
    size = (width or image.width, height or image.height)
    if image.size != size:
        note(
            "resize",
            f"An image is {image.width}x{image.height}: images are resized to the "
            f"input's {size[0]}x{size[1]}, width and height each by itself.",
        )
        image = image.resize(size, PIL.Image.Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=info.dtype)
    return pixels[..., np.newaxis] if channels and mode == "L" else pixels


def from_example(serialized: bytes, signature: SignatureInfo, note: Note) -> Inputs:
    """Returns one instance from a serialized tf.Example.

    Args:
        serialized: A tf.Example whose features are named as the inputs; one of numbers
            may be their bytes, as `tf.io.decode_raw` takes them; one that an image can
            fill may be an encoded image, also as `image/encoded`. Features
            that no input is named after are left alone. An only input `inputs` of
            strings takes the tf.Example as it is.
        signature: What the model takes.
        note: As for `from_image`.

    Returns:
        Alias to array, without the batch axis, in the input's dtype.

    Raises:
        MismatchError: Features, shape or dtype are not those of the signature.
        UnreadableError: The bytes are no tf.Example, or an image in it is damaged.
    """
    if takes_examples(signature):
        return {EXAMPLES_ALIAS: np.array(serialized, dtype=object)}
    return _from_features(features(serialized), signature, note)


def features(serialized: bytes) -> Mapping[str, feature_pb2.Feature]:
    """Returns the features of a tf.Example by name; asked for another, it is added.

    Raises:
        UnreadableError: The bytes are no tf.Example.
    """
    try:
        example = example_pb2.Example.FromString(serialized)
    except DecodeError as error:
        raise UnreadableError("The record is not a tf.Example.") from error
    found: Mapping[str, feature_pb2.Feature] = example.features.feature
    return found


def _from_features(
    features: Mapping[str, feature_pb2.Feature], signature: SignatureInfo, note: Note
) -> Inputs:
    """Returns one instance from the features of a tf.Example; see `from_example`."""
    given = {alias: features[alias] for alias in signature.inputs if alias in features}
    if len(given) < len(signature.inputs):
        image = image_alias(signature)
        if image is not None and image not in given and ENCODED_FEATURE in features:
            given[image] = features[ENCODED_FEATURE]
        if set(signature.inputs) - set(given) - set(signature.defaults):
            names = ", ".join(f"`{name}`" for name in sorted(features))
            raise MismatchError(
                f"Expected features for the inputs {_inputs.describe(signature)}. "
                f"Received: {names or 'none'}."
            )
    return {
        alias: _from_feature(feature, alias, signature, note)
        for alias, feature in given.items()
    }


def takes_examples(signature: SignatureInfo) -> bool:
    """Whether the signature's only input takes serialized tf.Examples."""
    return list(signature.inputs) == [EXAMPLES_ALIAS] and _inputs.is_string(
        signature.inputs[EXAMPLES_ALIAS]
    )


def _from_feature(
    feature: feature_pb2.Feature,
    alias: str,
    signature: SignatureInfo,
    note: Note,
) -> np.ndarray:
    """The values of one feature in the shape and dtype of the input."""
    info = signature.inputs[alias]
    strings = feature.bytes_list.value
    if len(strings) == 1 and not _inputs.is_string(info):
        raw = from_raw(strings[0], info)
        if raw is not None:
            return raw
    if len(strings) == 1 and alias == image_alias(signature):
        return from_image(strings[0], alias, info, note)
    if _inputs.is_string(info) != bool(strings):
        kind = feature.WhichOneof("kind") or "no values"
        raise MismatchError(
            f"`{alias}` must be {_inputs.describe_tensor(info)}. "
            f"Received: a feature of {kind}."
        )
    if strings:
        flat = np.array(list(strings), dtype=object)
    elif feature.HasField("float_list"):
        values = np.array(feature.float_list.value, dtype=np.float32)
        flat = _inputs.numbers(values, alias, info)
    else:
        # From a list: the field itself would be asked for each value by itself.
        values = np.array(feature.int64_list.value[:], dtype=np.int64)
        flat = _inputs.numbers(values, alias, info)
    return _inputs.shaped(flat, alias, info)


def from_raw(data: bytes, info: TensorInfo) -> np.ndarray | None:
    """Returns numbers from their bytes, as `tf.io.decode_raw` does.

    Args:
        data: Little-endian values of the input's dtype.
        info: An input of fixed shape, with an axis beside the batch: four letters
            are not to be taken for a number.

    Returns:
        The instance; None where the bytes are not exactly as many as it takes, or are
        an encoded image.
    """
    raw = _raw(info.shape, info.dtype)
    if raw is None or len(data) != raw.size or data.startswith(_ENCODED):
        return None
    return np.frombuffer(data, raw.dtype).reshape(raw.shape)


class _Raw(NamedTuple):
    """What the bytes of one instance hold."""

    size: int
    dtype: np.dtype
    shape: tuple[int, ...]


@functools.lru_cache(maxsize=256)
def _raw(shape: tuple[int | None, ...] | None, dtype: np.dtype) -> _Raw | None:
    """How an input's instances lie in bytes; None where that is not fixed."""
    sizes = tuple(size for size in (shape or ())[1:] if size is not None)
    if not sizes or len(sizes) + 1 < len(shape or ()) or dtype.kind not in "biuf":
        return None
    return _Raw(math.prod(sizes) * dtype.itemsize, dtype.newbyteorder("<"), sizes)
