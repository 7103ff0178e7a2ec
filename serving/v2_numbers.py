"""An Open Inference Protocol request whose lists of numbers are arrays at once.

The lists are read as `json_numbers` reads those of a predict request, the rest as
`json_document` would. What is not surely read as that reads it is left to it, errors
included: so every input that is given here is one whose form needs no refusal.
"""

from collections.abc import Iterator
from typing import Any

import simdjson

from serving import json_numbers, json_shapes, v2_tensor
from serving.errors import InvalidRequestError
from serving.json_numbers import UnsureError

INPUTS, DATA = "inputs", "data"


def document(body: bytes) -> dict[str, Any] | None:
    """Reads a request, if its inputs are lists of numbers.

    Args:
        body: JSON, as it came.

    Returns:
        What `json_document.parse` returns, with an array in place of each list that an
        input has as its `data`. None where that has to look itself.
    """
    try:
        return _read(body)
    except UnsureError:
        return None


def _read(body: bytes) -> dict[str, Any]:
    lists = json_shapes.lists(body)
    if lists is None:
        raise UnsureError
    texts = iter(lists)
    found = json_numbers.parse(body)
    read: dict[str, Any] = {}
    for key in json_numbers.keys_of(found):
        next(texts, None)
        value = found[key]
        if key == INPUTS and isinstance(value, simdjson.Array):
            read[key] = [_input(item, texts) for item in value]
        else:
            read[key] = _python(value, texts)
    return read


def _input(item: Any, texts: Iterator[bytes]) -> dict[str, Any]:
    """One input; `texts` goes on behind it."""
    read: dict[str, Any] = {}
    lists = {}
    for key in json_numbers.keys_of(item):
        text = next(texts, b"")
        if key == DATA and isinstance(item[key], simdjson.Array):
            lists[key] = item[key], text
        else:
            read[key] = _python(item[key], texts)
    if not isinstance(read.get("name"), str):
        raise UnsureError
    try:
        info = v2_tensor.json_info(read["name"], str(read.get("datatype")))
    except InvalidRequestError as error:
        raise UnsureError from error
    return read | {key: json_numbers.tensor(*at, info) for key, at in lists.items()}


def _python(value: Any, texts: Iterator[bytes]) -> Any:
    """A value that is no tensor, as Python has it; `texts` goes on behind it."""
    if isinstance(value, simdjson.Object):
        read = {}
        for key in json_numbers.keys_of(value):
            next(texts, None)
            read[key] = _python(value[key], texts)
        return read
    if isinstance(value, simdjson.Array):
        return [_python(item, texts) for item in value]
    return value
