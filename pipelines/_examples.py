"""Held-out requests as files, so that a newcomer has something to send."""

import base64
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import PIL.Image

REQUEST_ROWS = 2
IMAGE_ROWS = 16
TEXT_ROWS = 16


def write(
    folder: pathlib.Path, model: str, inputs: Mapping[str, np.ndarray]
) -> pathlib.Path:
    """Writes what `serving_default` takes: a REST request, and images or texts.

    Args:
        folder: Where to write `<model>.json`, and the folder `<model>` of images or
            `<model>.txt`.
        model: Model name.
        inputs: Alias to array [examples, ...], as `make_examples` gives them.

    Returns:
        The file to try first: an image or the texts where the model takes such, else
        the request.
    """
    folder.mkdir(parents=True, exist_ok=True)
    request = folder / f"{model}.json"
    request.write_text(json.dumps({"instances": _instances(inputs)}) + "\n")
    if len(inputs) == 1:
        (array,) = inputs.values()
        if array.dtype == np.uint8 and array.ndim == 4 and array.shape[-1] in (1, 3):
            return _write_images(folder / model, array[:IMAGE_ROWS])
        if array.ndim == 1 and all(map(_image_ending, array)):
            return _write_files(folder / model, array[:IMAGE_ROWS])
        if array.ndim == 1 and all(map(_is_text, array)):
            texts = folder / f"{model}.txt"
            texts.write_bytes(b"".join(text + b"\n" for text in array[:TEXT_ROWS]))
            return texts
    return request


def _write_images(folder: pathlib.Path, images: np.ndarray) -> pathlib.Path:
    """Writes uint8 images [n, height, width, 1 or 3]; returns the first file."""
    _make_room(folder)
    for index, image in enumerate(images):
        pixels = image[..., 0] if image.shape[-1] == 1 else image
        PIL.Image.fromarray(pixels).save(folder / f"{index:02}.png")
    return folder / "00.png"


def _write_files(folder: pathlib.Path, images: np.ndarray) -> pathlib.Path:
    """Writes encoded images [n] as they are; returns the first file."""
    _make_room(folder)
    names = [f"{index:02}{_image_ending(data)}" for index, data in enumerate(images)]
    for name, data in zip(names, images, strict=True):
        (folder / name).write_bytes(data)
    return folder / names[0]


def _make_room(folder: pathlib.Path) -> None:
    """Removes the images of an earlier training, which may be of other data."""
    folder.mkdir(exist_ok=True)
    for earlier in folder.glob("[0-9][0-9].*"):
        if earlier.suffix in (".png", ".jpg"):
            earlier.unlink()


def _instances(inputs: Mapping[str, np.ndarray]) -> list[Any]:
    """The first rows as TF Serving's row format: bare values for a single input."""
    rows = [
        {alias: _json_value(array[row]) for alias, array in inputs.items()}
        for row in range(min([REQUEST_ROWS, *map(len, inputs.values())]))
    ]
    if len(inputs) == 1:
        (alias,) = inputs
        return [row[alias] for row in rows]
    return rows


def _image_ending(value: Any) -> str | None:
    """What the name of a PNG's or a JPEG's bytes should end in; None for others."""
    if not isinstance(value, bytes):
        return None
    known = ((b"\x89PNG\r\n\x1a\n", ".png"), (b"\xff\xd8\xff", ".jpg"))
    return next((ending for start, ending in known if value.startswith(start)), None)


def _is_text(value: Any) -> bool:
    """Whether this is one line that a person can read."""
    try:
        return isinstance(value, bytes) and value.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _json_value(value: Any) -> Any:
    """A number, list or text as it is, other bytes as TF Serving's b64 object."""
    if _is_text(value):
        return value.decode()
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    return value.tolist()
