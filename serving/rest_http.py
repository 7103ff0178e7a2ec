"""HTTP as bare ASGI: a request's body in, one whole response out, gzip both ways."""

import asyncio
import dataclasses
import gzip
import http
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from serving.errors import DeadlineExceededError, InvalidRequestError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]  # names in lower case

MAX_BODY_BYTES = 100_000_000  # TF Serving's limit on inflated gzip; here on both
# What the listener says in a scope's `extensions` once all of a request is there.
IS_COMPLETE: dict[str, dict[object, object]] = {"maaskit.request.complete": {}}
_MIN_GZIP_BYTES = 1024  # below, the header eats what compression saves
LARGE_BYTES = 256 * 1024  # above, the event loop would wait for milliseconds
_GZIP_WINDOW = zlib.MAX_WBITS | 16
_VARY = b"Accept-Encoding"


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


@dataclasses.dataclass(frozen=True, slots=True)
class Response:
    """A whole answer.

    Attributes:
        status: HTTP status.
        body: Bytes as the content type says.
        content_type: Value of that header.
        headers: More headers.
    """

    status: int
    body: bytes
    content_type: bytes = b"application/json"
    headers: Headers = ()


def json_response(text: str, status: int = http.HTTPStatus.OK) -> Response:
    """Returns a response of JSON text."""
    # What a client sent may hold lone surrogates, and error texts quote it.
    return Response(status, text.encode("utf-8", "replace"))


def header(scope: Scope, name: bytes) -> str:
    """Returns all values of a request header, joined by commas; "" without any."""
    values = [value for key, value in scope["headers"] if key == name]
    return b",".join(values).decode("latin-1")


async def off_loop(size: int, function: Callable[..., Any], *args: Any) -> Any:
    """Calls `function`, in a thread where `size` bytes would hold up the event loop."""
    if size > LARGE_BYTES:
        return await asyncio.to_thread(function, *args)
    return function(*args)


async def read_body(scope: Scope, receive: Receive, timeout_s: float) -> bytes:
    """Returns the request's body, inflated where it was sent as gzip.

    Raises:
        ClientGoneError: The client left before the end of it.
        DeadlineExceededError: It was not here within `timeout_s` seconds.
        InvalidRequestError: It is no gzip, or larger than 100 MB, as sent or inflated.
    """
    try:
        # A timer would take longer than to read what is there already.
        is_complete = scope.get("extensions") is IS_COMPLETE
        async with asyncio.timeout(None if is_complete else timeout_s):
            body = await _received(receive)
    except TimeoutError as error:
        raise DeadlineExceededError(
            f"Timed out: the request's body did not arrive within {timeout_s:g} s."
        ) from error
    if "gzip" in header(scope, b"content-encoding").lower():
        # In a thread at any size: a few bytes may inflate to the limit.
        return await asyncio.to_thread(inflate, body)
    return body


async def _received(receive: Receive) -> bytes:
    """All that the client sends as the request's body."""
    parts = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part = message.get("body", b"")
        size += len(part)
        # Read to the end even so: clients look for an answer only after it.
        if size <= MAX_BODY_BYTES:
            parts.append(part)
        more = message.get("more_body", False)
    if size > MAX_BODY_BYTES:
        raise InvalidRequestError(
            f"The request's body is too large. Expected at most {MAX_BODY_BYTES} "
            f"bytes. Received: {size}."
        )
    return b"".join(parts)


def inflate(body: bytes) -> bytes:
    """Returns what a gzip file of one or more members holds.

    Raises:
        InvalidRequestError: `body` is no gzip, or holds more than 100 MB.
    """
    parts: list[bytes] = []
    size = 0
    while body or not parts:
        inflater = zlib.decompressobj(_GZIP_WINDOW)
        try:
            part = inflater.decompress(body, MAX_BODY_BYTES + 1 - size)
        except zlib.error as error:
            raise InvalidRequestError(
                f"The request's body is not gzip, as Content-Encoding says: {error}."
            ) from error
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise InvalidRequestError(
                "The request's body is too large when inflated. "
                f"Expected at most {MAX_BODY_BYTES} bytes."
            )
        if not inflater.eof:
            raise InvalidRequestError("The request's gzip body ends too early.")
        parts.append(part)
        body = inflater.unused_data
    return b"".join(parts)


def accepts_gzip(scope: Scope) -> bool:
    """Returns whether the client takes a gzip body."""
    for offer in header(scope, b"accept-encoding").lower().split(","):
        coding, _, parameters = offer.partition(";")
        if coding.strip() == "gzip":
            _, _, quality = parameters.replace(" ", "").partition("q=")
            return quality.strip("0.") != "" if quality else True
    return False


def finished(response: Response, more: Headers = ()) -> Response:
    """Returns a response with what every one of a server has.

    Args:
        response: What was answered.
        more: Headers of all responses.
    """
    if response.status == http.HTTPStatus.GATEWAY_TIMEOUT:
        # What is left of a late body would be taken for the next request.
        more = (*more, (b"connection", b"close"))
    headers = (*more, *response.headers)
    return Response(response.status, response.body, response.content_type, headers)


def is_worth_gzip(response: Response) -> bool:
    """Whether a response is sent as gzip to clients that take it."""
    return len(response.body) >= _MIN_GZIP_BYTES


async def compressed(response: Response) -> Response:
    """Returns a response as gzip."""
    # Level 1: three quarters of the saving at a fraction of the time.
    body = await off_loop(len(response.body), gzip.compress, response.body, 1)
    headers = (*response.headers, (b"vary", _VARY), (b"content-encoding", b"gzip"))
    return Response(response.status, body, response.content_type, headers)


def head(response: Response) -> list[tuple[bytes, bytes]]:
    """Returns all headers of a response."""
    body = response.body
    headers = [(b"content-type", response.content_type), *response.headers]
    if is_worth_gzip(response) and (b"vary", _VARY) not in headers:
        headers.append((b"vary", _VARY))
    headers.append((b"content-length", b"%d" % len(body)))
    return headers


async def send(scope: Scope, send: Send, response: Response) -> None:
    """Sends `response`, as gzip where the client takes it and it is worth it."""
    if is_worth_gzip(response) and accepts_gzip(scope):
        response = await compressed(response)
    await send(
        {
            "type": "http.response.start",
            "status": int(response.status),
            "headers": head(response),
        }
    )
    await send({"type": "http.response.body", "body": response.body})


async def live(receive: Receive, send: Send) -> None:
    """Tells the ASGI server that there is nothing to start or to stop here."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
