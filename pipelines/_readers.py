"""The instances of one file, by its ending.

    .png .jpg .jpeg      one instance
    .npy .npz            an array for the only input, or one for each alias
    .jsonl               an instance a line, as in TF Serving's `instances`
    .txt                 a text a line, for an only input of strings
    .tfrecord            a tf.Example a record, or a request that a server logged, with
                         all its rows; shards (-00000-of-00004) too

Every reader streams: memory holds one instance, whatever the size of the file.
"""

import json
import pathlib
import re
from collections.abc import Callable, Iterator

import numpy as np

from pipelines import _arrays, _images, _inputs, _logged
from pipelines._images import Note
from pipelines._inputs import Inputs, MismatchError, UnreadableError
from savedmodels import tfrecord
from savedmodels.errors import UsageError
from serving.servable import SignatureInfo

ENDINGS = ".png .jpg .jpeg .npy .npz .jsonl .txt .tfrecord"

_KINDS = {
    "image": re.compile(r"\.(png|jpe?g)$", re.IGNORECASE),
    "array": re.compile(r"\.(npy|npz)$", re.IGNORECASE),
    "jsonl": re.compile(r"\.jsonl$", re.IGNORECASE),
    "text": re.compile(r"\.txt$", re.IGNORECASE),
    "tfrecord": re.compile(r"\.tfrecords?(-\d+-of-\d+)?$", re.IGNORECASE),
}

Key = str | int | float
# An instance with the key it brings along, why it cannot be had, or an empty line.
Item = tuple[Key | None, Inputs] | MismatchError | UnreadableError | None


def kind(name: str) -> str | None:
    """Returns image, array, jsonl, text or tfrecord by the file's ending, or None."""
    kinds = (kind for kind, ending in _KINDS.items() if ending.search(name))
    return next(kinds, None)


def read(path: pathlib.Path, signature: SignatureInfo, note: Note) -> Iterator[Item]:
    """Yields what stands in the places of a file, one after the other.

    Args:
        path: A file that `kind` knows.
        signature: What the model takes.
        note: Told once what is changed on the way, as the size of images.

    Yields:
        (key or None, alias to array without the batch axis); or why that one instance
        cannot be had, while the next ones can; or None for an empty line.

    Raises:
        MismatchError: The whole file does not fit the signature.
        UnreadableError: Nothing more can be read.
        OSError: Nothing more can be read.
    """
    readers: dict[str | None, Callable[..., Iterator[Item]]] = {
        "image": _image,
        "array": _array,
        "jsonl": _lines,
        "text": _texts,
        "tfrecord": _records,
    }
    return readers[kind(path.name)](path, signature, note)


def count(path: pathlib.Path, signature: SignatureInfo) -> int:
    """Returns about how many instances a file holds; 1 if it cannot be read.

    Reads headers only, but for lines the whole file, which is ten times faster than
    scoring it.
    """
    try:
        if kind(path.name) == "array":
            return _arrays.count(path, signature)
        if kind(path.name) == "tfrecord":
            with path.open("rb") as file:
                return tfrecord.count(file)
        if kind(path.name) in ("jsonl", "text"):
            with path.open("rb") as file:
                chunks = iter(lambda: file.read(1 << 20), b"")
                return sum(chunk.count(b"\n") for chunk in chunks)
    except (UsageError, OSError):
        pass  # Reading it tells why.
    return 1


def _image(path: pathlib.Path, signature: SignatureInfo, note: Note) -> Iterator[Item]:
    alias = _images.image_alias(signature)
    if alias is None:
        raise MismatchError(
            "An image file fills one input of strings or of [height, width, channels]. "
            f"Received: a signature that takes {_inputs.describe(signature)}."
        )
    encoded = path.read_bytes()
    image = _images.from_image(encoded, alias, signature.inputs[alias], note)
    yield None, {alias: image}


def _array(path: pathlib.Path, signature: SignatureInfo, note: Note) -> Iterator[Item]:
    del note  # arrays are taken as they are
    for inputs in _arrays.read(path, signature):
        yield None, inputs


def _lines(path: pathlib.Path, signature: SignatureInfo, note: Note) -> Iterator[Item]:
    del note
    with path.open("rb") as file:
        for line in file:
            yield _line(line, signature) if line.strip() else None


def _line(line: bytes, signature: SignatureInfo) -> Item:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return UnreadableError(f"The line is not JSON: {error}.")
    key = None
    if isinstance(value, dict) and "id" in value and "id" not in signature.inputs:
        key = value.pop("id")
        if isinstance(key, bool) or not isinstance(key, (str, int, float)):
            return UnreadableError(
                f"`id` must be text or a number. Received: {json.dumps(key)}."
            )
    try:
        return key, _inputs.from_json(value, signature)
    except MismatchError as error:
        return error


def _texts(path: pathlib.Path, signature: SignatureInfo, note: Note) -> Iterator[Item]:
    del note
    alias = text_alias(signature)
    if alias is None:
        raise MismatchError(
            "A text file fills an only input `string [batch]`. "
            f"Received: a signature that takes {_inputs.describe(signature)}."
        )
    with path.open("rb") as file:
        for line in file:
            text = line.rstrip(b"\r\n")
            yield (None, {alias: np.array(text, object)}) if text.strip() else None


def text_alias(signature: SignatureInfo) -> str | None:
    """Returns the only input, if it is a string an instance and no tf.Example."""
    if len(signature.inputs) != 1 or _images.takes_examples(signature):
        return None
    ((alias, info),) = signature.inputs.items()
    return alias if _inputs.is_string(info) and _inputs.fits((), info) else None


def _records(
    path: pathlib.Path, signature: SignatureInfo, note: Note
) -> Iterator[Item]:
    with path.open("rb") as file:
        records = tfrecord.read(file)
        while True:
            try:
                record = next(records)
            except StopIteration:
                return
            except tfrecord.TFRecordError as error:
                raise UnreadableError(str(error)) from error
            if record is None:
                yield UnreadableError("The record does not fit its checksum.")
                continue
            for item in _of_record(record, signature, note):
                yield item if isinstance(item, Exception) else (None, item)


def _of_record(
    record: bytes, signature: SignatureInfo, note: Note
) -> Iterator[Inputs | MismatchError | UnreadableError]:
    log = _logged.read(record)
    if log is not None:
        yield from _logged.instances(log, signature, note)
        return
    try:
        yield _images.from_example(record, signature, note)
    except (MismatchError, UnreadableError) as error:
        yield error
