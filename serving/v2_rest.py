"""The Open Inference Protocol over REST, as clients of KServe and Triton speak it.

GET  /v2                                      the server
GET  /v2/health/live, /v2/health/ready
GET  /v2/models                               names of the models, as KServe tells them
GET  /v2/models/NAME[/versions/N]             what a model takes and returns
GET  /v2/models/NAME[/versions/N]/ready
POST /v2/models/NAME[/versions/N]/infer

Refusals are `{"error": text}`. The protocol knows one way to call a model: that is
`serving_default`, unless the request's parameters have another `signature_name`.
"""

import asyncio
import http
import json
import re
import urllib.parse
from collections.abc import Callable

from serving import rest_http, v2_json, v2_model
from serving.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    ServableNotFoundError,
)
from serving.predictor import ModelSpec, Predictor
from serving.rest_http import Receive, Response, Scope, json_response

PREFIX = re.compile(r"/v2(?:/|$)")
_MODEL = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(?:/(ready|infer))?")
_JSON_SIZE = b"inference-header-content-length"


class V2:
    """Answers the paths of the protocol."""

    def __init__(
        self, predictor: Predictor, ready: Callable[[], bool], timeout_s: float
    ) -> None:
        """Makes the protocol's side of a server.

        Args:
            predictor: Computes the answers.
            ready: Whether the server takes requests.
            timeout_s: Seconds for a body to arrive, and again for its answer.
        """
        self._predictor = predictor
        self._ready = ready
        self._timeout_s = timeout_s

    async def answer(self, path: str, scope: Scope, receive: Receive) -> Response:
        """Answers a request whose path `PREFIX` matches.

        Raises:
            ServingError: It is refused.
        """
        method = scope["method"]
        found = _MODEL.fullmatch(path)
        if found is None:
            return self._of_the_server(method, path)
        spec = v2_model.model_spec(
            urllib.parse.unquote(found[1]), urllib.parse.unquote(found[2] or "")
        )
        if method == "POST" and found[3] == "infer":
            body = await rest_http.read_body(scope, receive, self._timeout_s)
            return await self._infer(spec, body, _json_size(scope, body))
        if method == "GET" and found[3] == "ready":
            is_ready = await v2_model.is_ready(self._predictor, spec)
            return _probe({"name": spec.name, "ready": is_ready}, is_ready)
        if method == "GET" and not found[3]:
            told = await v2_model.metadata(self._predictor, spec)
            return json_response(json.dumps(told))
        raise _not_found(method, path)

    def _of_the_server(self, method: str, path: str) -> Response:
        told: dict[str, object]
        is_ready = self._ready()
        if path == "/v2/health/ready" and method in ("GET", "HEAD"):
            return _probe({"live": True, "ready": is_ready}, is_ready)
        if path == "/v2/health/live" and method in ("GET", "HEAD"):
            told = {"live": True}
        elif path.rstrip("/") == "/v2" and method == "GET":
            told = v2_model.server_metadata()
        elif path == "/v2/models" and method == "GET":
            told = {"models": list(self._predictor.models())}
        else:
            raise _not_found(method, path)
        return json_response(json.dumps(told))

    async def _infer(
        self, spec: ModelSpec, body: bytes, json_size: int | None
    ) -> Response:
        try:
            async with asyncio.timeout(self._timeout_s):
                text, size = await self._inferred(spec, body, json_size)
        except TimeoutError as error:
            raise DeadlineExceededError(
                f"Timed out: no answer within {self._timeout_s:g} s."
            ) from error
        if size is None:
            return Response(http.HTTPStatus.OK, text)
        length = (_JSON_SIZE, str(size).encode())
        return Response(
            http.HTTPStatus.OK, text, b"application/octet-stream", (length,)
        )

    async def _inferred(
        self, spec: ModelSpec, body: bytes, json_size: int | None
    ) -> tuple[bytes, int | None]:
        off_loop = rest_http.off_loop
        _, signatures = await self._predictor.signatures(spec)
        request: v2_json.InferRequest = await off_loop(
            len(body), v2_json.read, body, json_size, signatures
        )
        answer = await self._predictor.predict(
            ModelSpec(spec.name, spec.version, signature_name=request.signature_name),
            request.inputs,
            output_filter=list(request.outputs),
            timeout_s=self._timeout_s,
        )
        text_size = 8 * sum(array.size for array in answer.outputs.values())
        written: tuple[bytes, int | None] = await off_loop(
            text_size, v2_json.write, request, spec.name, answer
        )
        return written


def _json_size(scope: Scope, body: bytes) -> int | None:
    """How many bytes of a body are JSON, where a header says so."""
    value = rest_http.header(scope, _JSON_SIZE)
    if not value:
        return None
    if not value.isdecimal() or len(value) > 12 or int(value) > len(body):
        raise InvalidRequestError(
            "Inference-Header-Content-Length must be a part of the body's "
            f"{len(body)} bytes. Received: {value}."
        )
    return int(value)


def _probe(told: dict[str, object], is_good: bool) -> Response:
    status = http.HTTPStatus.OK if is_good else http.HTTPStatus.SERVICE_UNAVAILABLE
    return json_response(json.dumps(told), status)


def _not_found(method: str, path: str) -> ServableNotFoundError:
    return ServableNotFoundError(f"There is no such request: {method} {path}")
