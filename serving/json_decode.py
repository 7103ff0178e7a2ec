"""The inputs of a REST predict request, in rows (`instances`) or columns (`inputs`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving import json_tensor
from serving.errors import InvalidRequestError, ServingError
from serving.json_document import debug_string
from serving.servable import SignatureInfo, TensorInfo


def predict_inputs(
    document: Mapping[str, Any], signature: SignatureInfo
) -> dict[str, np.ndarray]:
    """Reads the inputs of a predict request, in rows or columns.

    Args:
        document: The request: `instances` holds one value or object for each row,
            `inputs` one value for each input of the signature.
        signature: Gives the inputs' names and dtypes. Shapes are not held against it,
            as TF Serving does not.

    Returns:
        Alias to array; strings are object arrays of bytes.

    Raises:
        InvalidRequestError: The request does not have that form.
        UnimplementedError: An input's dtype has no JSON form, as bfloat16.
    """
    if not signature.inputs:
        raise InvalidRequestError("Failed to get input map for signature")
    if "instances" in document:
        if "inputs" in document:
            raise InvalidRequestError(
                f"JSON Value: {debug_string(document)} Not formatted correctly "
                "expecting only one of 'inputs' or 'instances' keys to exist "
            )
        return _from_rows(document, signature)
    if "inputs" in document:
        return _from_columns(document["inputs"], signature)
    raise InvalidRequestError("Missing 'inputs' or 'instances' key")


def _from_columns(value: Any, signature: SignatureInfo) -> dict[str, np.ndarray]:
    """`inputs`: one tensor, or an object of tensors; keys of no input are ignored."""
    if not isinstance(value, dict) or json_tensor.is_base64(value):
        if len(signature.inputs) > 1:
            raise InvalidRequestError(
                "inputs is a plain value/list, but expecting an object as multiple "
                "input tensors required as per tensorinfo_map"
            )
        return {
            alias: json_tensor.tensor(value, info)
            for alias, info in signature.inputs.items()
        }
    inputs = {}
    for alias, info in signature.inputs.items():
        if alias in value:
            inputs[alias] = json_tensor.tensor(value[alias], info)
        elif alias not in signature.defaults:
            raise InvalidRequestError(
                f"Missing named input: {alias} in 'inputs' object."
            )
    return inputs


def _from_rows(
    document: Mapping[str, Any], signature: SignatureInfo
) -> dict[str, np.ndarray]:
    """`instances`: a list of values for the one input, or of objects."""
    rows = document["instances"]
    if not isinstance(rows, list):
        raise InvalidRequestError(
            f"JSON Value: {debug_string(document)} "
            "Expecting 'instances' to be an list/array"
        )
    if not rows:
        raise InvalidRequestError(
            f"JSON Value: {debug_string(document)} No values in 'instances' array"
        )
    if _is_object(rows[0]):
        aliases = _aliases(rows, signature)
        return {
            alias: _stack(
                [row[alias] for row in rows], signature.inputs[alias], f" key: {alias}"
            )
            for alias in aliases
        }
    if len(signature.inputs) > 1:
        raise InvalidRequestError(
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map"
        )
    for index, row in enumerate(rows):
        if _is_object(row):
            raise InvalidRequestError(
                f"Expecting value/list but got object at item {index} of input list"
            )
    return {alias: _stack(rows, info) for alias, info in signature.inputs.items()}


def _is_object(value: Any) -> bool:
    """Whether a row names its inputs, and is not just bytes."""
    return isinstance(value, dict) and not json_tensor.is_base64(value)


def _aliases(rows: Sequence[Any], signature: SignatureInfo) -> list[str]:
    """The inputs that every row names: all that have no default, and the same ones."""
    wanted = [
        alias
        for alias in signature.inputs
        if alias in rows[0] or alias not in signature.defaults
    ]
    names = set(wanted)
    for index, row in enumerate(rows):
        if not _is_object(row):
            raise InvalidRequestError(
                f"Expecting object but got list at item {index} of input list"
            )
        if row.keys() == names:
            continue
        for key in row.keys() - signature.inputs.keys():
            raise InvalidRequestError(
                f"Failed to process element: {index} key: {key} of 'instances' list. "
                "Error: INVALID_ARGUMENT: JSON object: does not have named input: "
                f"{key}"
            )
        raise InvalidRequestError(
            f"Failed to process element: {index} of 'instances' list. JSON object: "
            f"{debug_string(row)} keys must be equal to: {','.join(sorted(names))}"
        )
    return wanted


def _stack(rows: list[Any], info: TensorInfo, key: str = "") -> np.ndarray:
    """One value a row as one array, whose first axis is the rows."""
    array = json_tensor.convert(rows, info.dtype)
    if array is not None:
        return array
    parts: list[np.ndarray] = []
    for index, row in enumerate(rows):
        try:
            parts.append(json_tensor.tensor(row, info))
            _check_same_shape(parts[0], parts[-1])
        except ServingError as error:
            raise type(error)(
                f"Failed to process element: {index}{key} of 'instances' list. "
                f"Error: {error.grpc_code.name}: {error}"
            ) from error
    return np.stack(parts)


def _check_same_shape(first: np.ndarray, other: np.ndarray) -> None:
    if first.size != other.size:
        raise InvalidRequestError(
            f"Expecting tensor size: {first.size} but got: {other.size}"
        )
    if first.shape != other.shape:
        shapes = [f"[{','.join(map(str, array.shape))}]" for array in (first, other)]
        raise InvalidRequestError(f"Expecting shape {shapes[0]} but got: {shapes[1]}")
