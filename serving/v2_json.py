"""Requests and answers of the Open Inference Protocol over REST.

A body is a JSON object; with Triton's header `Inference-Header-Content-Length` only
its first bytes are, and tensors follow as raw bytes, in the order of their mention.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving import json_document, v2_model, v2_numbers, v2_tensor
from serving.errors import InvalidRequestError
from serving.predictor import Prediction
from serving.signatures import SignatureInfo

_SIZE = "binary_data_size"


@dataclasses.dataclass(frozen=True, slots=True)
class InferRequest:
    """What is to be answered.

    Attributes:
        id: Given back with the answer; "" for none.
        signature_name: Signature, as the parameters name it; "" for none.
        inputs: Alias to array.
        outputs: Aliases to return, each with whether as raw bytes; empty for all.
        all_raw: Whether outputs that are not listed come as raw bytes.
    """

    id: str
    signature_name: str
    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, bool]
    all_raw: bool


def read(
    body: bytes, json_size: int | None, signatures: Mapping[str, SignatureInfo]
) -> InferRequest:
    """Reads a request.

    Args:
        body: The request's body.
        json_size: How many bytes of it are JSON; None for all.
        signatures: Those of the version that is asked, by name.

    Raises:
        InvalidRequestError: It is not of the protocol, or an input is not what the
            signature takes.
        FailedPreconditionError: There is no such signature.
    """
    text = body[:json_size]
    raw = b"" if json_size is None else body[json_size:]
    with json_document.one_large_at_a_time(text):
        found = v2_numbers.document(text)
    if found is not None:
        return _request(found, raw, signatures)
    with json_document.reading(text) as document:
        return _request(document, raw, signatures)


def _request(
    document: Mapping[str, Any], raw: bytes, signatures: Mapping[str, SignatureInfo]
) -> InferRequest:
    parameters = _parameters(document)
    name = str(parameters.get("signature_name", ""))
    all_raw = bool(parameters.get("binary_data_output"))
    inputs = _inputs(document, raw, v2_model.signature_in(signatures, name))
    outputs = _objects(document, "outputs") if "outputs" in document else []
    return InferRequest(
        str(document.get("id", "")),
        name,
        inputs,
        {
            _name(item): bool(_parameters(item).get("binary_data", all_raw))
            for item in outputs
        },
        all_raw,
    )


def _inputs(
    document: Mapping[str, Any], raw: bytes, signature: SignatureInfo
) -> dict[str, np.ndarray]:
    inputs: dict[str, np.ndarray] = {}
    for item in _objects(document, v2_numbers.INPUTS):
        alias, size = _name(item), _parameters(item).get(_SIZE)
        datatype, shape = item.get("datatype"), _shape(item, alias)
        v2_tensor.check(signature, alias, str(datatype))
        if alias in inputs:
            raise InvalidRequestError(f"Input `{alias}` is there twice.")
        if size is None:
            data = item.get(v2_numbers.DATA)
            inputs[alias] = v2_tensor.from_json(data, alias, str(datatype), shape)
            continue
        if type(size) is not int or not 0 <= size <= len(raw):
            raise InvalidRequestError(
                f"Input `{alias}` has a `{_SIZE}` of {size}, and {len(raw)} bytes "
                "are left behind the JSON."
            )
        inputs[alias] = v2_tensor.from_raw(raw[:size], alias, str(datatype), shape)
        raw = raw[size:]
    if raw:
        raise InvalidRequestError(f"{len(raw)} bytes belong to no input.")
    return inputs


def write(
    request: InferRequest, model: str, answer: Prediction
) -> tuple[bytes, int | None]:
    """Returns the body of an answer, and how many bytes of it are JSON; None for all.

    Args:
        request: What was asked.
        model: Model name.
        answer: Its outputs.
    """
    outputs, raw = [], []
    for alias, array in answer.outputs.items():
        head: dict[str, Any] = {
            "name": alias,
            "datatype": v2_tensor.datatype(array.dtype),
            "shape": list(array.shape),
        }
        if request.outputs.get(alias, request.all_raw):
            raw.append(v2_tensor.to_raw(array))
            head["parameters"] = {_SIZE: len(raw[-1])}
            outputs.append(json.dumps(head))
        else:
            text = v2_tensor.to_json(array)
            outputs.append(f'{json.dumps(head)[:-1]}, "data": {text}}}')
    head = {"model_name": model, "model_version": str(answer.version)}
    if request.id:
        head["id"] = request.id
    text = f'{json.dumps(head)[:-1]}, "outputs": [{", ".join(outputs)}]}}'
    encoded = text.encode("utf-8", "replace")
    return b"".join([encoded, *raw]), len(encoded) if raw else None


def _objects(document: Mapping[str, Any], key: str) -> Sequence[dict[str, Any]]:
    value = document.get(key)
    if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
        raise InvalidRequestError(
            f"`{key}` must be a list of objects. "
            f"Received: {json_document.debug_string(value)}."
        )
    return value


def _parameters(item: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = item.get("parameters", {})
    if not isinstance(parameters, dict):
        raise InvalidRequestError(
            "`parameters` must be an object. "
            f"Received: {json_document.debug_string(parameters)}."
        )
    return parameters


def _name(item: Mapping[str, Any]) -> str:
    name = item.get("name")
    if not isinstance(name, str):
        raise InvalidRequestError(
            "A tensor must have a `name`. "
            f"Received: {json_document.debug_string(dict(item))}."
        )
    return name


def _shape(item: Mapping[str, Any], alias: str) -> list[int]:
    shape = item.get("shape")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise InvalidRequestError(
            f"Input `{alias}` must have a `shape`, a list of sizes. "
            f"Received: {json_document.debug_string(shape)}."
        )
    return shape
