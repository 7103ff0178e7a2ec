"""tf.Examples from and to plain Python: JSON requests, dicts of features."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from savedmodels.protos import example_pb2, feature_pb2
from serving.errors import InvalidRequestError
from serving.json_document import debug_string, to_bytes, type_name
from serving.json_tensor import from_base64, is_base64

_INT64 = np.iinfo(np.int64)
# Type of a JSON value to the kind of feature that it makes.
_KINDS = {bool: "int64", int: "int64", float: "float", str: "bytes"}


def from_request(document: Mapping[str, Any]) -> list[bytes]:
    """Reads the examples of a REST classify or regress request.

    An integer or boolean makes an int64 feature, a decimal a float one, a string or
    `{"b64": ...}` a bytes one, so `2` and `2.0` are different features.

    Args:
        document: `examples` is a list of objects, feature name to value or list of
            values. The features of `context`, if it is there, belong to every example
            that has none of the same name.

    Returns:
        [examples] serialized tf.Examples.

    Raises:
        InvalidRequestError: The request does not have that form, or a feature holds
            values of two kinds.
    """
    context = b""
    if "context" in document:
        context = _from_json(document["context"])
    # TF Serving asks for `classify` in its text whichever method was called.
    if "examples" not in document:
        raise InvalidRequestError(
            f"JSON Value: {debug_string(document)} When method is classify, key "
            "'examples' is expected and was not found"
        )
    examples = document["examples"]
    if not isinstance(examples, list):
        raise InvalidRequestError(
            f"JSON Value: {debug_string(document)} "
            "Expecting 'examples' value to be an list/array"
        )
    if not examples:
        raise InvalidRequestError(
            f"JSON Value: {debug_string(document)} 'examples' value is an empty array"
        )
    # Messages that follow each other are merged, and the later entry of a map wins.
    return [context + _from_json(example) for example in examples]


def encode(features: Mapping[str, Any]) -> bytes:
    """Makes a serialized tf.Example of plain values.

    Args:
        features: Name to a value, or to a list or array of values of one kind:
            integers or booleans (int64), floats (float32), bytes or str (bytes).
            Arrays are flattened.

    Raises:
        InvalidRequestError: A feature has values of another kind.
    """
    example = example_pb2.Example()
    for name, values in features.items():
        items = np.asarray(values, object).reshape(-1).tolist()
        _fill(example.features.feature[name], _kind_of_all(name, items), items)
    return bytes(example.SerializeToString())


def decode(serialized: bytes) -> dict[str, list[int] | list[float] | list[bytes]]:
    """Returns the features of a serialized tf.Example as lists, by name.

    Raises:
        InvalidRequestError: `serialized` is no tf.Example.
    """
    try:
        example = example_pb2.Example.FromString(serialized)
    except Exception as error:  # protobuf's own DecodeError has no stable home
        raise InvalidRequestError("Could not parse example input.") from error
    features = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        features[name] = list(getattr(feature, kind).value) if kind else []
    return features


def to_json(example: Mapping[str, Any] | bytes) -> str:
    """Writes features, or a serialized tf.Example, as an object of a REST request.

    Raises:
        InvalidRequestError: As `encode` and `decode`.
    """
    serialized = example if isinstance(example, bytes) else encode(example)
    members = []
    for name, values in decode(serialized).items():
        items = [
            {"b64": base64.b64encode(value).decode()}
            if isinstance(value, bytes)
            else value
            for value in values
        ]
        members.append(f"{json.dumps(name)}: {json.dumps(items)}")
    return f"{{{', '.join(members)}}}"


def _from_json(value: Any) -> bytes:
    """The serialized tf.Example of one JSON object."""
    if not isinstance(value, dict):
        raise InvalidRequestError(
            f"Example must be JSON object but got JSON {type_name(value)}"
        )
    example = example_pb2.Example()
    for name, content in value.items():
        values = content if isinstance(content, list) else [content]
        kinds = {_KINDS.get(kind) for kind in set(map(type, values))}
        # At once where all are plain and alike; else one by one, to name the first
        # that is neither.
        kind = kinds.pop() if len(kinds) == 1 else None
        for item in values if kind is None else ():
            kind = _kind(name, item, kind)
        if kind == "int64" and not all(_INT64.min <= n <= _INT64.max for n in values):
            raise InvalidRequestError(
                f"Feature: {name} has uint64 element. Only int64_t is supported."
            )
        _fill(example.features.feature[_utf8(name)], kind, values)
    return bytes(example.SerializeToString())


def _kind(name: str, value: Any, expected: str | None) -> str:
    """The kind of one JSON value, which must be `expected` where that is known."""
    kind = "bytes" if is_base64(value) else _KINDS.get(type(value))
    if kind is None:
        raise InvalidRequestError(
            f"Feature: {name} has element with unexpected JSON type: {type_name(value)}"
        )
    if expected is not None and kind != expected:
        raise InvalidRequestError(
            f"Unexpected element type in feature: {name} expecting type: {expected}"
        )
    return kind


def _utf8(name: str) -> str:
    """`name`, if it can be the name of a feature."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError("A feature's name is not UTF-8.") from error
    return name


def _kind_of_all(name: str, items: Sequence[Any]) -> str | None:
    """The one kind of plain Python or numpy values; None where there are none."""
    if not items:
        return None
    for kind, types in (
        ("int64", (bool, int, np.bool_, np.integer)),
        ("float", (bool, int, float, np.bool_, np.integer, np.floating)),
        ("bytes", (bytes, str)),
    ):
        if all(isinstance(item, types) for item in items):
            return kind
    raise InvalidRequestError(
        f"Feature `{name}` must hold numbers, or bytes and str. "
        f"Received: {sorted({type(item).__name__ for item in items})}."
    )


def _fill(
    feature: feature_pb2.Feature, kind: str | None, values: Sequence[Any]
) -> None:
    """Appends `values` of one kind; a feature without values has no kind."""
    if kind == "int64":
        feature.int64_list.value.extend(int(value) for value in values)
    elif kind == "float":
        feature.float_list.value.extend(float(value) for value in values)
    elif kind == "bytes":
        feature.bytes_list.value.extend(_to_bytes(value) for value in values)


def _to_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return to_bytes(value) if isinstance(value, str) else from_base64(value)
