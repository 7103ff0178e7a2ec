"""The Open Inference Protocol of one model, as schemas of OpenAPI 3.0."""

from collections.abc import Mapping
from typing import Any

from serving import v2_tensor
from serving.errors import InvalidRequestError
from serving.json_schema import Schema
from serving.servable import TensorInfo
from serving.signatures import SignatureInfo

_TEXT: Schema = {"type": "string"}
_SHAPE: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}}
_DATA: Schema = {"type": "array", "items": {}}


def infer(signature: SignatureInfo) -> tuple[Schema, Schema] | None:
    """Returns what `/infer` takes and answers; None where a dtype has no name."""
    try:
        inputs = _tensors(signature.inputs)
        outputs = _tensors(signature.outputs)
    except InvalidRequestError:
        return None
    count = len(signature.inputs) - len(signature.defaults)
    request: Schema = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": _TEXT,
            "parameters": {"type": "object"},
            "inputs": inputs | {"minItems": count},
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {
                        "name": {"type": "string", "enum": sorted(signature.outputs)}
                    },
                },
            },
        },
    }
    response: Schema = {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "id": _TEXT,
            "model_name": _TEXT,
            "model_version": _TEXT,
            "outputs": outputs,
        },
    }
    return request, response


def _tensors(infos: Mapping[str, TensorInfo]) -> dict[str, Any]:
    kinds = [
        {
            "type": "object",
            "required": ["name", "datatype", "shape", "data"],
            "properties": {
                "name": {"type": "string", "enum": [alias]},
                "datatype": {
                    "type": "string",
                    "enum": [v2_tensor.datatype(info.dtype)],
                },
                "shape": _SHAPE,
                "data": _DATA,
            },
        }
        for alias, info in infos.items()
    ]
    return {"type": "array", "items": {"anyOf": kinds}}
