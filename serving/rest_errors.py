"""What a REST request is answered that has failed, and what it is counted as."""

import asyncio
import http
import logging

from serving import json_encode
from serving.errors import ServingError, UnavailableError
from serving.rest_http import Response, json_response

logger = logging.getLogger(__name__)


def response(error: BaseException) -> Response:
    """Returns the answer for what was raised; a bug is logged, and not told."""
    if isinstance(error, asyncio.CancelledError):  # where the drain takes too long
        error = UnavailableError("The server is shutting down.")
    if isinstance(error, ServingError):
        return json_response(json_encode.error(str(error)), error.http_status)
    logger.error("Unexpected error while answering a REST request", exc_info=error)
    return json_response(
        json_encode.error("Internal error, logged by the server."),
        http.HTTPStatus.INTERNAL_SERVER_ERROR,
    )


def status(error: BaseException) -> str:
    """Returns the gRPC status that a request is counted with for what was raised."""
    if isinstance(error, asyncio.CancelledError):
        return "CANCELLED"
    return error.grpc_code.name if isinstance(error, ServingError) else "INTERNAL"
