"""The bytes of a REST request as a JSON object, read as TF Serving reads them.

Python's parser and TF Serving's agree on most documents. Where they do not, this
module sides with TF Serving: text after the first document is ignored, `Inf` and
`-NaN` are numbers, bytes that are not UTF-8 may stand in strings, and errors have its
words and a byte offset.
"""

import contextlib
import gc
import json
import re
import threading
from collections.abc import Iterator
from json.decoder import JSONArray  # type: ignore[attr-defined]
from json.scanner import py_make_scanner  # type: ignore[attr-defined]
from typing import Any

from serving.errors import InvalidRequestError

MAX_DEBUG_BYTES = 256  # of a JSON value, in an error text

_STRING = r'"(?:[^"\\]|\\.)*+"'
_STRING_OR_NUMBER = re.compile(rf"{_STRING}|-?\bInf(?:inity)?\b|-NaN\b", re.DOTALL)
_SPACE = " \t\n\r"
LARGE_BYTES = 256 * 1024  # above, parsing would hold up other threads
_decoder = json.JSONDecoder()
_large = threading.Lock()
_debug_encoder = json.JSONEncoder(indent=4, ensure_ascii=False)

# Python's words to TF Serving's, by how the message begins.
_TEXTS = {
    "Expecting value": "Invalid value.",
    "Expecting property name": "Missing a name for object member.",
    "Expecting ':'": "Missing a colon after a name of object member.",
    "Unterminated string": "Missing a closing quotation mark in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\u": "Incorrect hex digit after \\u escape in string.",
    "Invalid control character": "Invalid encoding in string.",
}
_TYPE_NAMES = {
    type(None): "Null",
    dict: "Object",
    list: "Array",
    str: "String",
    int: "Number",
    float: "Number",
}


def parse(body: bytes) -> dict[str, Any]:
    """Reads the first JSON document in `body`, which must be an object.

    Args:
        body: UTF-8, with or without a byte order mark.

    Returns:
        The object. Bytes that are not UTF-8 are lone surrogates in its strings, as
        `surrogateescape` makes them; `to_bytes` turns them back.

    Raises:
        InvalidRequestError: `body` is empty, not JSON, nested too deep, or no object.
    """
    if not body:
        raise InvalidRequestError("JSON Parse error: The document is empty")
    text = body.decode("utf-8-sig", "surrogateescape")
    document = _parse_text(text)
    if not isinstance(document, dict):
        raise InvalidRequestError(f"JSON Value: {debug_string(document)} Is not object")
    return document


def one_large_at_a_time(body: bytes) -> contextlib.AbstractContextManager[object]:
    """Returns what keeps the memory for large bodies to that for one of them."""
    return _large if len(body) > LARGE_BYTES else contextlib.nullcontext()


@contextlib.contextmanager
def reading(body: bytes) -> Iterator[dict[str, Any]]:
    """Gives what `parse` returns, and takes it apart at the end.

    While a large document lives, the garbage collector rests: it would go through
    millions of lists again and again, which takes four times as long as parsing them.
    """
    if len(body) <= LARGE_BYTES:
        yield parse(body)
        return
    with _large:
        collects = gc.isenabled()
        gc.disable()
        document: dict[str, Any] = {}
        try:
            document = parse(body)
            yield document
        finally:
            _take_apart(document)
            if collects:
                gc.enable()


def signature_name(document: dict[str, Any]) -> str:
    """Returns the signature that a request names, "" where it names none.

    Raises:
        InvalidRequestError: The name is not a string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise InvalidRequestError(
            f"JSON Value: {debug_string(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return name


def to_bytes(text: str) -> bytes:
    """Returns the bytes of a JSON string, as the client sent them.

    Raises:
        InvalidRequestError: The string holds half of a surrogate pair.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            "JSON Parse error: The surrogate pair in string is invalid."
        ) from error


def debug_string(value: Any) -> str:
    """Returns `value` as JSON for an error text, cut at 256 bytes."""
    text = ""
    # Piece by piece: the value may be a whole request of megabytes.
    for piece in _debug_encoder.iterencode(value):
        text += piece
        if len(text) >= MAX_DEBUG_BYTES:
            break
    return text.encode("utf-8", "replace")[:MAX_DEBUG_BYTES].decode("utf-8", "ignore")


def type_name(value: Any) -> str:
    """Returns TF Serving's name of a JSON value's type, as in `Number`."""
    if isinstance(value, bool):
        return str(value)
    return _TYPE_NAMES[type(value)]


def _parse_text(text: str) -> Any:
    """The first JSON value in `text`."""
    start = len(text) - len(text.lstrip(_SPACE))
    try:
        return _decoder_for(text).raw_decode(text, start)[0]
    except json.JSONDecodeError as error:
        if text.startswith(("Inf", "-Inf", "-NaN"), error.pos):
            spelt_out = _STRING_OR_NUMBER.sub(_spell_out, text)
            if spelt_out != text:
                return _parse_text(spelt_out)
        raise InvalidRequestError(_error_text(error)) from error
    except RecursionError as error:
        raise InvalidRequestError(
            "JSON Parse error: The document is nested too deep."
        ) from error
    except ValueError as error:  # an integer of thousands of digits
        raise InvalidRequestError(
            "JSON Parse error: Number too big to be stored."
        ) from error


def _sliced_decoder() -> json.JSONDecoder:
    """A decoder with the outermost lists in Python, and what they hold in C.

    Other threads run between two elements; in C alone, only after the last.
    """
    decoder: Any = json.JSONDecoder()  # typeshed knows no parts of it
    scan_element = decoder.scan_once
    decoder.parse_array = lambda start, _: JSONArray(start, scan_element)
    decoder.scan_once = py_make_scanner(decoder)
    sliced: json.JSONDecoder = decoder
    return sliced


_decoder_of_large = _sliced_decoder()


def _decoder_for(text: str) -> json.JSONDecoder:
    return _decoder_of_large if len(text) > LARGE_BYTES else _decoder


def _take_apart(value: Any) -> None:
    """Frees a document element by element: other threads run in between."""
    if isinstance(value, dict):
        for item in value.values():
            _take_apart(item)
    elif isinstance(value, list):
        while value:
            value.pop()


def _spell_out(match: re.Match[str]) -> str:
    """A number that only TF Serving reads, as Python reads it; strings as they are."""
    token = match[0]
    if token == "-NaN":
        return "NaN"
    return token + "inity" if token.endswith("Inf") else token


def _error_text(error: json.JSONDecodeError) -> str:
    """What TF Serving says to the error that Python found."""
    before = error.doc[: error.pos]
    offset = len(before.encode("utf-8", "surrogateescape"))
    if not error.doc.strip(_SPACE):
        text = "The document is empty."
    elif error.msg.startswith("Expecting ','"):
        text = _missing_comma(before)
    else:
        text = next(
            (ours for theirs, ours in _TEXTS.items() if error.msg.startswith(theirs)),
            f"{error.msg}.",
        )
    return f"JSON Parse error: {text} at offset: {offset}"


def _missing_comma(before: str) -> str:
    """Names what the list or object that `before` leaves open lacks."""
    closed = before + "]"
    start = len(closed) - len(closed.lstrip(_SPACE))
    try:
        _decoder_for(closed).raw_decode(closed, start)
        in_list = True
    except json.JSONDecodeError as error:
        in_list = error.pos > len(before)
    if in_list:
        return "Missing a comma or ] after an array element."
    return "Missing a comma or } after an object member."
