"""What signatures take and return in TF Serving's JSON, as schemas of OpenAPI 3.0."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving import classify_regress, json_encode, json_tensor
from serving.errors import InvalidRequestError
from serving.servable import DEFAULT_SIGNATURE, SignatureInfo, TensorInfo

Schema = dict[str, Any]

_BYTES: Schema = {
    "type": "object",
    "required": ["b64"],
    "properties": {"b64": {"type": "string", "format": "byte"}},
    "additionalProperties": False,
}
_TEXT: Schema = {"type": "string"}
_EXAMPLE: Schema = {
    "type": "object",
    "description": "Features of a tf.Example by name: a value, or a list of values. "
    "A number without a point is an int64.",
}


def predict_request(signatures: Mapping[str, SignatureInfo]) -> Schema:
    """Returns what `:predict` takes: rows or columns of any of the signatures."""
    ways = []
    for name, signature in signatures.items():
        required = sorted(set(signature.inputs) - set(signature.defaults))
        row, columns = (
            {
                alias: _tensor(info, skipped, is_input=True)
                for alias, info in signature.inputs.items()
            }
            for skipped in (1, 0)
        )
        # A row may not name what is no input, where columns may; and rows are either
        # all of them objects, or none is.
        named = _named_only(row, required) | {"additionalProperties": False}
        kinds = [*row.values(), named] if len(row) == 1 else [named]
        rows = _any_of(
            [{"type": "array", "minItems": 1, "items": kind} for kind in kinds]
        )
        for key, value in (("instances", rows), ("inputs", _named(columns, required))):
            ways.append(_request(name, key, value))
    return _any_of(ways)


def predict_response(signatures: Mapping[str, SignatureInfo]) -> Schema:
    """Returns what `:predict` answers: rows where rows were sent, else columns."""
    ways = []
    for signature in signatures.values():
        outputs = signature.outputs
        row = _named({alias: _tensor(o, 1, alias) for alias, o in outputs.items()})
        columns = _named({alias: _tensor(o, 0, alias) for alias, o in outputs.items()})
        ways.append(_answer("predictions", {"type": "array", "items": row}))
        ways.append(_answer("outputs", columns))
    return _any_of(ways)


def writable(signatures: Mapping[str, SignatureInfo]) -> dict[str, SignatureInfo]:
    """Returns the signatures that `:predict` can be called on.

    A tensor of complex numbers, say, has no form in TF Serving's JSON.
    """
    return {
        name: signature
        for name, signature in signatures.items()
        if all(json_tensor.reads(info.dtype) for info in signature.inputs.values())
        and all(json_encode.writes(info.dtype) for info in signature.outputs.values())
    }


def examples_request(names: Sequence[str]) -> Schema:
    """Returns what `:classify` and `:regress` take, for signatures of these names."""
    examples = {"type": "array", "minItems": 1, "items": _EXAMPLE}
    ways = [_request(name, "examples", examples) for name in names]
    for way in ways:
        way["properties"]["context"] = _EXAMPLE
    return _any_of(ways)


def examples_response(method: str) -> Schema:
    """Returns what `classify` or `regress` answers: something for each example."""
    number: Schema = {"type": "number"}
    pair: Schema = {"type": "array", "items": {"anyOf": [_TEXT, number]}}
    item = number if method == "regress" else {"type": "array", "items": pair}
    return _answer("results", {"type": "array", "items": item})


def serving(
    method: str, signatures: Mapping[str, SignatureInfo]
) -> dict[str, SignatureInfo]:
    """Returns the signatures that `classify` or `regress` can be called on."""
    check = {
        "classify": classify_regress.check_classify,
        "regress": classify_regress.check_regress,
    }[method]
    found = {}
    for name, signature in signatures.items():
        try:
            check(signature)
        except InvalidRequestError:
            continue
        found[name] = signature
    return found


def _request(signature_name: str, key: str, value: Schema) -> Schema:
    is_default = signature_name == DEFAULT_SIGNATURE
    return {
        "type": "object",
        "required": [key] if is_default else ["signature_name", key],
        "properties": {
            "signature_name": {"type": "string", "enum": [signature_name]},
            key: value,
        },
    }


def _answer(key: str, value: Schema) -> Schema:
    return {"type": "object", "required": [key], "properties": {key: value}}


def _named(tensors: Mapping[str, Schema], required: Sequence[str] = ()) -> Schema:
    """An object of tensors by alias; a tensor that is alone also without its alias."""
    named = _named_only(tensors, required)
    if len(tensors) != 1:
        return named
    (alone,) = tensors.values()
    return {"anyOf": [alone, named]} if required else alone


def _named_only(tensors: Mapping[str, Schema], required: Sequence[str]) -> Schema:
    named: Schema = {"type": "object", "properties": dict(tensors)}
    return named | ({"required": list(required)} if required else {})


def _tensor(
    info: TensorInfo, skipped: int, alias: str = "", *, is_input: bool = False
) -> Schema:
    """Lists in lists of values, without the first `skipped` axes."""
    if info.shape is None:
        return {}
    schema = _value(info, alias, is_input)
    for size in reversed(info.shape[skipped:]):
        schema = {"type": "array", "items": schema}
        if size is not None:
            schema |= {"minItems": size, "maxItems": size}
    return schema


def _value(info: TensorInfo, alias: str, is_input: bool) -> Schema:
    if info.dtype_name == "DT_STRING":
        if is_input:
            return {"anyOf": [_TEXT, _BYTES]}
        return _BYTES if alias.endswith("_bytes") else _TEXT
    kinds = {"f": "number", "i": "integer", "u": "integer", "b": "boolean"}
    schema: Schema = {"description": info.dtype_name}
    if info.dtype.kind in kinds:
        schema["type"] = kinds[info.dtype.kind]
    if is_input and info.dtype.kind in "iu":
        limits = np.iinfo(info.dtype)
        schema |= {"minimum": int(limits.min), "maximum": int(limits.max)}
    return schema


def _any_of(ways: list[Schema]) -> Schema:
    return ways[0] if len(ways) == 1 else {"anyOf": ways}
