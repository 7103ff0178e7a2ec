"""Answers of the REST API as JSON text, laid out as TF Serving lays them out.

A float is printed with 6 significant digits where these read back as the same value of
its dtype, else with as many as that takes at most: 9 for float32, 17 for float64.
Whole floats end in `.0`, so that a reader can tell them from integers. `NaN`,
`Infinity` and `-Infinity` are bare words, which strict JSON parsers refuse.
"""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf import json_format

from savedmodels.protos import get_model_metadata_pb2
from serving import tensor_codec
from serving.errors import InvalidRequestError
from serving.prediction_service import signature_def
from serving.predictor import VersionStatus
from serving.servable import SignatureInfo

# dtype to the digits that always read back.
_FLOAT_DIGITS = {np.dtype(np.float32): 9, np.dtype(np.float64): 17}
# C's words for what JSON has none for.
_WORDS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_encode_text = json.JSONEncoder(ensure_ascii=False).encode
_INTEGERS = frozenset(np.dtype(code) for code in "bhilqBIQ")  # uint16 has no JSON form


def predictions(outputs: Mapping[str, np.ndarray]) -> str:
    """Lays out the outputs of a predict request in rows, under `predictions`.

    Args:
        outputs: Alias to [batch, ...] array; strings are object arrays of bytes.

    Returns:
        A list of values where there is one output, else of objects. Strings are text,
        with U+FFFD for bytes that are not UTF-8; an alias that ends with `_bytes`
        gives `{"b64": "..."}`.

    Raises:
        InvalidRequestError: An output has no batch axis, batches differ, or a dtype
            has no JSON form.
    """
    batch_size: int | None = None
    for alias, array in outputs.items():
        if array.ndim == 0:
            raise InvalidRequestError(f"Tensor name: {alias} has no shape information ")
        if batch_size is not None and len(array) != batch_size:
            raise InvalidRequestError(
                f"Tensor name: {alias} has inconsistent batch size: {len(array)} "
                f"expecting: {batch_size}"
            )
        batch_size = len(array)
    columns = [_rows(array, alias) for alias, array in outputs.items()]
    if len(columns) == 1:
        return f'{{\n    "predictions": [{", ".join(columns[0])}\n    ]\n}}'
    keys = [_encode_text(alias) for alias in outputs]
    objects = ",".join(
        "\n        {\n            "
        + ",\n            ".join(
            f"{key}: {value}" for key, value in zip(keys, row, strict=True)
        )
        + "\n        }"
        for row in zip(*columns, strict=True)
    )
    return f'{{\n    "predictions": [{objects}\n    ]\n}}'


def outputs(outputs: Mapping[str, np.ndarray]) -> str:
    """Lays out the outputs of a predict request in columns, under `outputs`.

    Args:
        outputs: Alias to array of any shape.

    Returns:
        A value where there is one output, else an object of them; strings as
        `predictions` writes them.

    Raises:
        InvalidRequestError: A dtype has no JSON form.
    """
    if len(outputs) == 1:
        (value,) = (tensor(array, alias) for alias, array in outputs.items())
        return f'{{\n    "outputs": {value}\n}}'
    members = ",".join(
        f"\n        {_encode_text(alias)}: {tensor(array, alias)}"
        for alias, array in outputs.items()
    )
    return f'{{\n    "outputs": {{{members}\n    }}\n}}'


def tensor(array: np.ndarray, alias: str = "") -> str:
    """Writes an array of any shape as nested lists on one line.

    Args:
        array: Numbers, booleans, or strings (objects of bytes or str).
        alias: Strings are base64 objects where it ends with `_bytes`.

    Raises:
        InvalidRequestError: The dtype has no JSON form.
    """
    return nest(_tokens(array, alias), array.shape, 0)[0]


def classifications(results: Sequence[Sequence[tuple[str, float]]]) -> str:
    """Lays out [examples][classes] pairs of label and float32 score."""
    pairs = [pair for result in results for pair in result]
    scores = iter(_tokens(np.array([score for _, score in pairs], np.float32)))
    lines = [
        ", ".join(f"[{_encode_text(label)}, {next(scores)}]" for label, _ in result)
        for result in results
    ]
    text = ", ".join(f"[{line}]" for line in lines)
    return f'{{\n    "results": [{text}\n    ]\n}}'


def regressions(values: Sequence[float]) -> str:
    """Lays out one float32 value for each example."""
    return f'{{\n    "results": {tensor(np.array(values, np.float32))}\n}}'


def status(versions: Sequence[VersionStatus]) -> str:
    """Lays out the state of each version; version numbers are strings."""
    return _dump(status_document(versions))


def status_document(versions: Sequence[VersionStatus]) -> dict[str, Any]:
    """Returns what `status` lays out."""
    return {
        "model_version_status": [
            {
                "version": str(version.version),
                "state": version.state,
                "status": {
                    "error_code": version.error_code,
                    "error_message": version.error_message,
                },
            }
            for version in versions
        ]
    }


def metadata(name: str, version: int, signatures: Mapping[str, SignatureInfo]) -> str:
    """Lays out a version's signatures, as protobuf writes a SignatureDefMap."""
    definitions = get_model_metadata_pb2.SignatureDefMap()
    for signature_name, signature in signatures.items():
        definition = definitions.signature_def[signature_name]
        definition.CopyFrom(signature_def(signature))
    return _dump(
        {
            "model_spec": {
                "name": name,
                "signature_name": "",
                "version": str(version),
            },
            # Holds one more `signature_def`: the field of the map itself.
            "metadata": {
                "signature_def": json_format.MessageToDict(
                    definitions,
                    preserving_proto_field_name=True,
                    always_print_fields_with_no_presence=True,
                )
            },
        }
    )


def error(text: str) -> str:
    """Lays out an error text."""
    return json.dumps({"error": text}, indent=4, ensure_ascii=False)


def writes(dtype: np.dtype) -> bool:
    """Returns whether values of a dtype have a form in an answer."""
    return dtype in _FLOAT_DIGITS or dtype in _INTEGERS or dtype.kind in "bOSU"


def nest(tokens: list[str], shape: Sequence[int], axis: int) -> list[str]:
    """Joins the texts of single values into lists.

    Args:
        tokens: One for each value, in row-major order.
        shape: Of the array that they are the values of.
        axis: First axis that becomes lists: 0 gives one text, 1 one for each row.
    """
    for inner in range(len(shape) - 1, axis - 1, -1):
        size = shape[inner]
        tokens = [
            f"[{', '.join(tokens[row * size : (row + 1) * size])}]"
            for row in range(math.prod(shape[:inner]))
        ]
    return tokens


def _dump(value: Any) -> str:
    """Protobuf's layout: one space a level."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _rows(array: np.ndarray, alias: str) -> list[str]:
    """One text for each entry of axis 0."""
    return nest(_tokens(array, alias), array.shape, 1)


def _tokens(array: np.ndarray, alias: str = "") -> list[str]:
    """The text of each value, in row-major order."""
    values = array.reshape(-1)
    if values.dtype in _FLOAT_DIGITS:
        return _float_tokens(values)
    if values.dtype in _INTEGERS:
        return [str(value) for value in values.tolist()]
    if values.dtype == np.bool_:
        return ["true" if value else "false" for value in values.tolist()]
    if values.dtype.kind in "OSU":
        write = _base64 if alias.endswith("_bytes") else _text
        return [write(value) for value in values.tolist()]
    name = tensor_codec.short_name(values.dtype)
    raise InvalidRequestError(f"Failed to write JSON value for tensor type: {name}")


def _float_tokens(values: np.ndarray) -> list[str]:
    numbers = values.tolist()
    short = ("%g " * len(numbers) % tuple(numbers)).split()
    with np.errstate(over="ignore"):  # 6 digits may round the largest up to infinity
        read_back = np.array(list(map(float, short)), values.dtype).tolist()
    long = f"%.{_FLOAT_DIGITS[values.dtype]}g"
    tokens = [
        token if again == number else long % number
        for token, again, number in zip(short, read_back, numbers, strict=True)
    ]
    return [
        token if "." in token or "e" in token else _WORDS.get(token) or f"{token}.0"
        for token in tokens
    ]


def _text(value: bytes | str) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return _encode_text(value)


def _base64(value: bytes | str) -> str:
    if isinstance(value, str):
        value = value.encode()
    return f'{{"b64": "{base64.b64encode(value).decode()}"}}'
