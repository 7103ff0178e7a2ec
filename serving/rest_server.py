"""TF Serving's REST API over a `Predictor`, as one ASGI application.

POST /v1/models/NAME[/versions/N | /labels/L]:predict | :classify | :regress
GET  /v1/models/NAME[/versions/N | /labels/L][/metadata]
GET  /v1/models  every model and the state of its versions; TF Serving has no such list
GET  /healthz   200 while the process lives
GET  /readyz    200 while every model can be asked, else 503
GET  /monitoring/prometheus/metrics
/v2/...             the Open Inference Protocol, of `v2_rest`
GET  /openapi.json  all of this for the models that are loaded

It only decodes, calls and encodes; paths, order of checks, texts and layout are those
of `tensorflow_model_server`. Large bodies are read and written in threads, so that
other requests go on meanwhile. What still stops them all: a body of nothing but numbers
is read at once (5 ms/MB); others are read element by element of their outermost list
(40 ms/MB of each), and made into an array at once (10 ms/MB).
"""

import asyncio
import http
import re
from collections.abc import Callable, Mapping
from typing import Any

from serving import (
    json_encode,
    monitoring_config,
    rest_body,
    rest_errors,
    rest_http,
    rest_overview,
    rest_paths,
    v2_rest,
)
from serving.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    ServingError,
)
from serving.predictor import ModelSpec, Predictor
from serving.rest_http import (
    App,
    Headers,
    Receive,
    Response,
    Scope,
    Send,
    json_response,
)
from serving.rest_observed import observed
from serving.rest_pages import Pages
from serving.server_metrics import ServerMetrics
from serving.v2_rest import V2

_CORS_HEADERS = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
)
_NOT_FOUND = Response(
    http.HTTPStatus.NOT_FOUND,
    b"<html><head><title>404 Not Found</title></head>"
    b"<body><h1>Not Found</h1></body></html>\n",
    b"text/html",
)


def make_app(
    predictor: Predictor,
    *,
    ready: Callable[[], bool],
    timeout_s: float = 30.0,
    cors: bool = False,
    readiness: Callable[[], Mapping[str, Any]] = dict,
    metrics: Callable[[], str] = str,
    metrics_path: str = monitoring_config.DEFAULT_PATH,
    counters: ServerMetrics | None = None,
) -> App:
    """Returns the ASGI application that answers from `predictor`.

    Args:
        predictor: Called on the event loop that runs the application.
        ready: Whether the server takes requests, for `/readyz`.
        timeout_s: Seconds a request's body may take to arrive, and again its answer
            once the body is here; then it ends with 504. The default is TF Serving's.
        cors: Whether pages of other origins may call, as
            `--rest_api_enable_cors_support`.
        readiness: What `/readyz` tells beside the models.
        metrics: The text of `metrics_path`; "" for no such path.
        metrics_path: Where it is read.
        counters: Where calls are counted, if anywhere.
    """
    pages = Pages(predictor, ready, readiness, metrics, metrics_path)
    v2 = V2(predictor, ready, timeout_s)
    api = _Api(predictor, pages, v2, timeout_s)
    answer = observed(api.answer, counters)
    more = headers(cors=cors)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await rest_http.live(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"Expected HTTP. Received: {scope['type']}.")
        try:
            response = await answer(scope, receive)
        except rest_http.ClientGoneError:
            return
        # Cancelled by uvicorn, where the drain takes too long.
        except (Exception, asyncio.CancelledError) as error:
            response = rest_errors.response(error)
        response = rest_http.finished(response, more)
        await rest_http.send(scope, send, response)

    return app


def headers(*, cors: bool) -> Headers:
    """Returns the headers of every response; `cors` is as for `make_app`."""
    return _CORS_HEADERS if cors else ()


class _Api:
    """What each path answers."""

    def __init__(
        self, predictor: Predictor, pages: Pages, v2: V2, timeout_s: float
    ) -> None:
        self._predictor = predictor
        self._pages = pages
        self._v2 = v2
        self._timeout_s = timeout_s

    async def answer(self, scope: Scope, receive: Receive) -> Response:
        """Finds what the path means. Raises a `ServingError` to refuse."""
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        path = raw_path.decode("latin-1")
        method = scope["method"]
        if v2_rest.PREFIX.match(path):
            return await self._v2.answer(path, scope, receive)
        if not path.lower().startswith("/v1/"):
            return await self._pages.answer(method, path) or _NOT_FOUND
        if method == "OPTIONS":
            return _options(scope)
        if method == "POST" and (call := rest_paths.CALL.fullmatch(path)):
            body = await rest_http.read_body(scope, receive, self._timeout_s)
            spec = rest_paths.model_spec(call)
            return await self._call(spec, call[4].lower(), body)
        if method == "GET" and (question := rest_paths.QUESTION.fullmatch(path)):
            # Where nothing can be listed the answer is TF Serving's: no name was given.
            if not any(question.groups()) and self._predictor.models():
                return json_response(await rest_overview.models(self._predictor))
            spec = rest_paths.model_spec(question)
            answer = self._metadata if question[4] else self._status
            return await answer(spec)
        raise InvalidRequestError(f"Malformed request: {method} {path}")

    async def _call(self, spec: ModelSpec, method: str, body: bytes) -> Response:
        answer = {
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
        }[method]
        try:
            async with asyncio.timeout(self._timeout_s):
                text = await answer(spec, body)
        except TimeoutError as error:
            raise DeadlineExceededError(
                f"Timed out: no answer within {self._timeout_s:g} s."
            ) from error
        return json_response(text)

    async def _predict(self, spec: ModelSpec, body: bytes) -> str:
        try:
            _, signatures = await self._predictor.signatures(spec)
            refusal = None
        except ServingError as error:  # told only after what is wrong with the JSON
            signatures, refusal = {}, error
        name, in_rows, inputs = await rest_http.off_loop(
            len(body), rest_body.predict_inputs, body, signatures, refusal
        )
        prediction = await self._predictor.predict(
            _with_signature(spec, name), inputs, timeout_s=self._timeout_s
        )
        outputs = prediction.outputs
        write = json_encode.predictions if in_rows else json_encode.outputs
        # A number takes about 8 bytes of text.
        text_size = 8 * sum(array.size for array in outputs.values())
        return str(await rest_http.off_loop(text_size, write, outputs))

    async def _classify(self, spec: ModelSpec, body: bytes) -> str:
        name, examples = await rest_http.off_loop(len(body), rest_body.examples, body)
        classification = await self._predictor.classify(
            _with_signature(spec, name), examples, timeout_s=self._timeout_s
        )
        return json_encode.classifications(classification.results)

    async def _regress(self, spec: ModelSpec, body: bytes) -> str:
        name, examples = await rest_http.off_loop(len(body), rest_body.examples, body)
        regression = await self._predictor.regress(
            _with_signature(spec, name), examples, timeout_s=self._timeout_s
        )
        return json_encode.regressions(regression.values)

    async def _status(self, spec: ModelSpec) -> Response:
        # A label is ignored, as TF Serving does: all versions are listed.
        versions = await self._predictor.status(spec.name, spec.version)
        return json_response(json_encode.status(versions))

    async def _metadata(self, spec: ModelSpec) -> Response:
        version, signatures = await self._predictor.signatures(spec)
        return json_response(json_encode.metadata(spec.name, version, signatures))


def _with_signature(spec: ModelSpec, name: str) -> ModelSpec:
    return ModelSpec(spec.name, spec.version, spec.label, name)


def _options(scope: Scope) -> Response:
    """Answers a browser that asks whether it may call."""
    if re.match("https?://", rest_http.header(scope, b"origin")):
        return Response(http.HTTPStatus.OK, b"")
    raise InvalidRequestError("An OPTIONS request needs an Origin of http or https.")
