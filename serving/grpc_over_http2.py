"""Unary gRPC calls as HTTP/2 has them: headers, a framed message, a status at the end.

The errors are those of grpc.aio, as all that is known of upstream servers is told by.
"""

import base64
import binascii
import functools
import struct
import urllib.parse

import grpc
import grpc.aio

from serving import hpack, http2_frames
from serving.hpack import Fields
from serving.http2_client import Answer, Lost
from serving.upstream_calls import Metadata

_CODE = grpc.StatusCode
_CODES = {code.value[0]: code for code in _CODE}
# What an answer without a gRPC status means, by its HTTP status; of gRPC's own table.
_HTTP_CODES = {
    "400": _CODE.INTERNAL,
    "401": _CODE.UNAUTHENTICATED,
    "403": _CODE.PERMISSION_DENIED,
    "404": _CODE.UNIMPLEMENTED,
    "429": _CODE.UNAVAILABLE,
    "502": _CODE.UNAVAILABLE,
    "503": _CODE.UNAVAILABLE,
    "504": _CODE.UNAVAILABLE,
}
# What a reset means that comes instead of a status; the same for all others.
_RESET_CODES = {
    http2_frames.REFUSED: _CODE.UNAVAILABLE,
    http2_frames.CANCEL: _CODE.CANCELLED,
    11: _CODE.RESOURCE_EXHAUSTED,
    12: _CODE.PERMISSION_DENIED,
}
_MOST_DIGITS = 10**8  # of a timeout
_BINARY = "-bin"


def request(
    path: str, authority: str, metadata: Metadata, timeout_s: float | None
) -> bytes:
    """Returns the headers of a call, by HPACK.

    Args:
        path: `/service/Method`.
        authority: What the server is called.
        metadata: Goes with it.
        timeout_s: Seconds that the server has; None for no limit.
    """
    head = _head(path, authority)
    if timeout_s is not None:
        head += hpack.encode([("grpc-timeout", _timeout(timeout_s))])
    if metadata:
        head += hpack.encode([(key, _text(value)) for key, value in metadata])
    return head


def framed(message: bytes) -> bytes:
    """Returns a message as a body."""
    return b"\0" + struct.pack(">I", len(message)) + message


def message(answer: Answer) -> bytes | None:
    """Returns the message of an answer whose status is OK; None for any other."""
    body = answer.body
    if _field(answer.trailers, "grpc-status") != "0" or len(body) < 5:
        return None
    is_whole = int.from_bytes(body[1:5]) == len(body) - 5
    return body[5:] if is_whole and not body[0] else None


def metadata(fields: Fields) -> Metadata:
    """Returns fields as gRPC gives them to who asked, HTTP's own among them."""
    return tuple(
        (name, _octets(value) if name.endswith(_BINARY) else value)
        for name, value in fields
    )


def failure(outcome: Answer | Lost) -> grpc.aio.AioRpcError:
    """Returns the error of a call that has no message, or did not come to its end."""
    if isinstance(outcome, Lost):
        code = _CODE.UNAVAILABLE
        if outcome.code is not None:
            code = _RESET_CODES.get(outcome.code, _CODE.INTERNAL)
        return _error(code, outcome.text)
    ending = outcome.trailers
    status = _field(ending, "grpc-status")
    if status == "0":
        text = "The answer is not one message, without compression."
        return _error(_CODE.INTERNAL, text)
    if status is None:
        http_status = _field(outcome.headers or ending, ":status") or "none"
        code = _HTTP_CODES.get(http_status, _CODE.UNKNOWN)
        text = f"The answer has no gRPC status. Received: HTTP status {http_status}"
        return _error(code, text)
    number = int(status) if status.isdecimal() else _CODE.UNKNOWN.value[0]
    text = urllib.parse.unquote(_field(ending, "grpc-message") or "", errors="replace")
    return grpc.aio.AioRpcError(
        _CODES.get(number, _CODE.UNKNOWN),
        grpc.aio.Metadata(*metadata(outcome.headers)),
        grpc.aio.Metadata(*metadata(ending)),
        text,
    )


@functools.lru_cache(maxsize=1024)
def _head(path: str, authority: str) -> bytes:
    return hpack.encode(
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
    )


def _timeout(seconds: float) -> str:
    micros = max(1, int(seconds * 1e6))
    for unit, size in (("u", 1), ("m", 1000), ("S", 10**6), ("H", 3600 * 10**6)):
        if micros // size < _MOST_DIGITS:
            return f"{micros // size}{unit}"
    return f"{_MOST_DIGITS - 1}H"


def _text(value: str | bytes) -> str:
    if isinstance(value, str):
        return value
    return base64.b64encode(value).rstrip(b"=").decode()


def _octets(value: str) -> str | bytes:
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return value  # It is not what its name says; passed on as it came.


def _field(fields: Fields, name: str) -> str | None:
    return next((value for key, value in fields if key == name), None)


def _error(code: grpc.StatusCode, text: str) -> grpc.aio.AioRpcError:
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, nothing, nothing, text)
