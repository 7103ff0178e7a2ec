"""The REST API with its calls counted, as TF Serving counts them."""

import re
import time
import urllib.parse
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from serving.errors import ServingError
from serving.rest_http import ClientGoneError, Receive, Response, Scope
from serving.server_metrics import ServerMetrics

Answer = Callable[[Scope, Receive], Awaitable[Response]]

_ENTRYPOINT = "REST"
# The model's name, and what is to be done with it, if it is to run.
_CALL = re.compile(
    r"/v\d/models/([^/:]+)(?:.*[:/](classify|regress|predict|infer))?", re.IGNORECASE
)
# Not the probes of `/v2/health`, which would outnumber everything.
_API = re.compile(r"/v1/|/v2/models/", re.IGNORECASE)


def observed(answer: Answer, metrics: ServerMetrics | None) -> Answer:
    """Returns `answer` with every call of an API counted, by how it ended.

    Args:
        answer: Returns the response to a request, or raises a `ServingError`.
        metrics: Where they are counted; None to count nothing.
    """
    if metrics is None:
        return answer

    async def counted(scope: Scope, receive: Receive) -> Response:
        path: str = scope["path"]
        if not _API.match(path):
            return await answer(scope, receive)
        raw_path: bytes = scope.get("raw_path") or path.encode()
        call = _CALL.match(raw_path.decode("latin-1"))
        model = urllib.parse.unquote(call[1]) if call else ""
        began = time.perf_counter()

        async def received() -> MutableMapping[str, Any]:
            # As in TF Serving, the time that a client takes to send is not counted.
            nonlocal began
            message = await receive()
            began = time.perf_counter()
            return message

        status = "CANCELLED"  # unless something else ends the call
        try:
            response = await answer(scope, received)
            status = "OK"
        except ServingError as error:
            status = error.grpc_code.name
            raise
        except ClientGoneError:
            raise
        except Exception:
            status = "INTERNAL"
            raise
        finally:
            if status != "OK" or not call or not call[2]:
                metrics.ended(model, status)
        if call and call[2]:
            seconds = time.perf_counter() - began
            metrics.answered(model, call[2].lower(), _ENTRYPOINT, seconds)
        return response

    return counted
