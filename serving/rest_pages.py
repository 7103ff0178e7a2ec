"""The paths beside the APIs: health, metrics, and the description of it all."""

import http
import json
from collections.abc import Callable, Mapping
from typing import Any

from serving import openapi, rest_overview
from serving.predictor import Predictor
from serving.rest_http import Response, json_response


class Pages:
    """Answers `/healthz`, `/readyz`, `/openapi.json` and the path of the metrics."""

    def __init__(
        self,
        predictor: Predictor,
        ready: Callable[[], bool],
        readiness: Callable[[], Mapping[str, Any]],
        metrics: Callable[[], str],
        metrics_path: str,
    ) -> None:
        """Makes the pages; the arguments are those of `rest_server.make_app`."""
        self._predictor = predictor
        self._ready = ready
        self._told_beside = readiness
        self._metrics = metrics
        self._metrics_path = metrics_path

    async def answer(self, method: str, path: str) -> Response | None:
        """Returns the page of a path; None where it is none of these."""
        if method == "GET" and path == self._metrics_path and (text := self._metrics()):
            return Response(http.HTTPStatus.OK, text.encode(), b"text/plain")
        if method not in ("GET", "HEAD"):
            return None
        if path == "/healthz":
            return json_response(json.dumps({"status": "alive"}))
        if path == "/readyz":
            return await self._readiness()
        if path == "/openapi.json":
            metrics_path = self._metrics_path if self._metrics() else ""
            return json_response(await openapi.document(self._predictor, metrics_path))
        return None

    async def _readiness(self) -> Response:
        is_ready = self._ready()
        text = await rest_overview.readiness(
            self._predictor, is_ready, self._told_beside()
        )
        if is_ready:
            return json_response(text)
        return json_response(text, http.HTTPStatus.SERVICE_UNAVAILABLE)
