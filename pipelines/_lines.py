"""Lines as instances: of JSON, or of text."""

import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np

from pipelines import _files, _images, _inputs
from pipelines._inputs import Inputs, MismatchError, UnreadableError
from pipelines._reading import Instance, Item, Reading, Span, no_columns
from serving import json_numbers
from serving.servable import DEFAULT_SIGNATURE, SignatureInfo


class Stdin:
    """Lines that can be read once, after a look at the first of them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._head: list[bytes] = []

    def head(self, most: int) -> list[bytes]:
        """Returns at most so many first lines, which `__iter__` yields all the same."""
        if not self._head:
            self._head = list(itertools.islice(self._file, most))
        return self._head

    def __iter__(self) -> Iterator[bytes]:
        yield from self._head
        yield from self._file


def instances(reading: Reading) -> Iterator[Item]:
    """Yields the instances of a part of a `.jsonl` file."""
    with _files.opened(reading.path) as file:
        yield from from_lines(_part(file, reading.span), reading)


def from_lines(lines: Iterable[bytes], reading: Reading) -> Iterator[Item]:
    """Yields the instances of JSON lines that come from anywhere."""
    for line in lines:
        yield _instance(line, reading) if line.strip() else None


def texts(reading: Reading) -> Iterator[Item]:
    """Yields the lines of a part of a `.txt` file."""
    alias = text_alias(reading.signature)
    no_columns(reading, "A text file")
    if alias is None:
        raise MismatchError(
            "A text file fills an only input `string [batch]`. Received: a signature "
            f"that takes {_inputs.describe(reading.signature)}."
        )
    with _files.opened(reading.path) as file:
        for line in _part(file, reading.span):
            text = line.rstrip(b"\r\n")
            inputs = {alias: np.array(text, object)}
            yield Instance(None, inputs) if text.strip() else None


def text_alias(signature: SignatureInfo) -> str | None:
    """Returns the only input, if it is a string an instance and no tf.Example."""
    if len(signature.inputs) != 1 or _images.takes_examples(signature):
        return None
    ((alias, info),) = signature.inputs.items()
    return alias if _inputs.is_string(info) and _inputs.fits((), info) else None


def _part(file: BinaryIO, span: Span) -> Iterator[bytes]:
    place = span.begin
    if place:
        file.seek(place)
    for line in file:
        if span.end is not None and place >= span.end:
            return
        place += len(line)
        yield line


def _instance(line: bytes, reading: Reading) -> Item:
    if not reading.wanted.names and b'"id"' not in line:
        inputs = _numbers(line, reading.signature)
        if inputs is not None:
            return Instance(None, inputs)
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return UnreadableError(f"The line is not JSON: {error}.")
    try:
        key, carried = _taken(value, reading)
        # numpy would take them for numbers, which the server does not.
        has_booleans = b"true" in line or b"false" in line
        inputs = _inputs.from_json(value, reading.signature, has_booleans=has_booleans)
        return Instance(key, inputs, tuple(carried))
    except (MismatchError, UnreadableError) as error:
        return error


def _numbers(line: bytes, signature: SignatureInfo) -> Inputs | None:
    """An instance of numbers alone, many times faster; None for what needs a look."""
    request = b'{"instances": [' + line.strip() + b"]}"
    found = json_numbers.predict_inputs(request, {DEFAULT_SIGNATURE: signature})
    if found is None:
        return None
    inputs = {}
    for alias, rows in found[2].items():
        # A line that is no JSON by itself may be two rows of a request.
        if len(rows) != 1 or not _inputs.fits(rows.shape[1:], signature.inputs[alias]):
            return None
        inputs[alias] = rows[0, ...]
    return inputs


def _taken(value: Any, reading: Reading) -> tuple[Any, list[Any]]:
    """The key and the carried values of a line, which then has the inputs alone."""
    wanted, inputs = reading.wanted, reading.signature.inputs
    if not isinstance(value, dict):
        if wanted.names:
            raise MismatchError(
                f"Expected an object with {', '.join(wanted.names)}. Received: "
                f"{json.dumps(value)[:80]}."
            )
        return None, []
    missing = [name for name in wanted.names if name not in value]
    if missing:
        raise MismatchError(
            f"Expected the inputs {_inputs.describe(reading.signature)} and "
            f"{', '.join(f'`{name}`' for name in wanted.names)}. Received: "
            f"{', '.join(f'`{name}`' for name in sorted(value)) or 'none'}."
        )
    carried = [value[name] for name in wanted.columns]
    name, key = wanted.key_among(value, inputs), None
    if name is not None:
        key = value[name]
        if isinstance(key, bool) or not isinstance(key, (str, int, float)):
            raise UnreadableError(
                f"`{name}` must be text or a number. Received: {json.dumps(key)}."
            )
    taken = set(wanted.columns) if name is None else {name, *wanted.columns}
    if set(inputs) - set(reading.signature.defaults) <= set(value):
        taken |= set(value)  # as the other columns of a table, which nobody asked for
    for name in taken - set(inputs):
        value.pop(name, None)
    return key, carried
