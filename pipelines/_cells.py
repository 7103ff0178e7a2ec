"""Outputs of a model as text, an instance at a time, for JSON lines and CSV rows."""

import base64
import csv
import io
import json
import math
from collections.abc import Iterable, Sequence

import numpy as np

from serving.json_encode import nest
from serving.servable import TensorInfo

MAX_COLUMNS = 1000  # of one output; longer vectors are JSON text in one column
# Made once: `json.dumps` would make one for each text that is not ASCII's.
_encode = json.JSONEncoder(ensure_ascii=False).encode


def json_rows(alias: str, array: np.ndarray) -> list[str]:
    """Returns each instance's value as JSON.

    Args:
        alias: Its strings are base64 objects if it ends with `_bytes`.
        array: [instances, ...] numbers, booleans, or objects of bytes.
    """
    values = _as_json(array)
    if values.dtype.kind == "f" and values.ndim > 1 and values.size:
        from pipelines import _float_text  # it brings pyarrow

        rows = _float_text.lists(values.reshape(-1, values.shape[-1]))
        return nest(rows, values.shape[:-1], 1)
    return nest(_json_tokens(alias, values), values.shape, 1)


def column_names(alias: str, info: TensorInfo) -> list[str]:
    """Returns the names of an output's CSV columns, as in scores_0, scores_1."""
    size = _columns(info)
    return [alias] if size is None else [f"{alias}_{index}" for index in range(size)]


def csv_rows(alias: str, array: np.ndarray, info: TensorInfo) -> list[list[str]]:
    """Returns each instance's cells, one for each of `column_names`.

    Args:
        alias: As for `json_rows`.
        array: As for `json_rows`; fits `info`.
        info: The output.
    """
    size = _columns(info)
    if size is None and math.prod(array.shape[1:]) != 1:
        return [[text] for text in json_rows(alias, array)]
    if array.dtype == object:
        tokens = [text(alias, value) for value in array.reshape(-1).tolist()]
    else:
        tokens = _json_tokens(alias, _as_json(array))
    size = 1 if size is None else size
    return [tokens[row * size : (row + 1) * size] for row in range(len(array))]


def csv_lines(rows: Iterable[Sequence[object]]) -> str:
    """Returns CSV as spreadsheets read it: RFC 4180, but a bare newline ends a line."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def json_text(value: object) -> str:
    """Returns anything as JSON."""
    return str(value) if type(value) is int else _encode(value)


def _columns(info: TensorInfo) -> int | None:
    """The length of a vector that is worth a column each; None for one column."""
    if info.shape is None or len(info.shape) != 2:
        return None
    size = info.shape[1]
    return size if size is not None and 1 < size <= MAX_COLUMNS else None


def _as_json(array: np.ndarray) -> np.ndarray:
    """Floats that JSON's readers do not know, as bfloat16, in the next wider dtype."""
    known = array.dtype.kind in "biuOc" or array.dtype in (np.float32, np.float64)
    return array if known else array.astype(np.float32)


def _json_tokens(alias: str, array: np.ndarray) -> list[str]:
    values = array.reshape(-1)
    if values.dtype == object:
        return [_json_string(alias, value) for value in values.tolist()]
    if values.dtype == bool:
        return ["true" if value else "false" for value in values.tolist()]
    if values.dtype.kind in "iu":
        return [str(value) for value in values.tolist()]
    if values.dtype.kind == "c":
        return [f"[{value.real}, {value.imag}]" for value in values.tolist()]
    from pipelines import _float_text  # it brings pyarrow

    return _float_text.tokens(values)


def _json_string(alias: str, value: bytes) -> str:
    text = _utf8(alias, value)
    if text is None:
        return f'{{"b64": "{base64.b64encode(value).decode()}"}}'
    return _encode(text)


def text(alias: str, value: bytes) -> str:
    """Returns bytes as text, or as base64 where they are none."""
    text = _utf8(alias, value)
    return base64.b64encode(value).decode() if text is None else text


def _utf8(alias: str, value: bytes) -> str | None:
    """The bytes as text; None where they are not meant to be, or are none."""
    if alias.endswith("_bytes"):
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
