"""What the server says when it refuses a request.

ServingError                  INTERNAL             500
  UnknownError                UNKNOWN              500
  InvalidRequestError         INVALID_ARGUMENT     400
  FailedPreconditionError     FAILED_PRECONDITION  400
  ServableNotFoundError       NOT_FOUND            404
  UnimplementedError          UNIMPLEMENTED        501
  DeadlineExceededError       DEADLINE_EXCEEDED    504
  UnavailableError            UNAVAILABLE          503
  ResourceExhaustedError      RESOURCE_EXHAUSTED   429

Both protocols read the status off the class, so they cannot disagree. The clients
raise the same classes, so a caller handles one tree whichever protocol it speaks.
"""

import http
from collections.abc import Mapping

import grpc

# What a client is told where something is wrong that the code did not foresee.
BUG = "Internal error, logged by the server."


class ServingError(Exception):
    """A request the server refuses. `str(error)` is the text the client gets."""

    grpc_code = grpc.StatusCode.INTERNAL
    http_status: int = http.HTTPStatus.INTERNAL_SERVER_ERROR


class UnknownError(ServingError):
    """Something failed outside this request, and the text says what."""

    grpc_code = grpc.StatusCode.UNKNOWN
    http_status = http.HTTPStatus.INTERNAL_SERVER_ERROR


class InvalidRequestError(ServingError):
    """The request does not fit the signature it names."""

    grpc_code = grpc.StatusCode.INVALID_ARGUMENT
    http_status = http.HTTPStatus.BAD_REQUEST


class FailedPreconditionError(ServingError):
    """The request is well formed, but the servable cannot take it."""

    grpc_code = grpc.StatusCode.FAILED_PRECONDITION
    http_status = http.HTTPStatus.BAD_REQUEST


class ServableNotFoundError(ServingError):
    """No loaded servable has that name and version."""

    grpc_code = grpc.StatusCode.NOT_FOUND
    http_status = http.HTTPStatus.NOT_FOUND


class UnimplementedError(ServingError):
    """The protocol has it, this server or this dtype has not."""

    grpc_code = grpc.StatusCode.UNIMPLEMENTED
    http_status = http.HTTPStatus.NOT_IMPLEMENTED


class DeadlineExceededError(ServingError):
    """The client's time was up before the answer was there."""

    grpc_code = grpc.StatusCode.DEADLINE_EXCEEDED
    http_status = http.HTTPStatus.GATEWAY_TIMEOUT


class UnavailableError(ServingError):
    """The server is full, draining or not reachable: the same call may work later."""

    grpc_code = grpc.StatusCode.UNAVAILABLE
    http_status = http.HTTPStatus.SERVICE_UNAVAILABLE


class ResourceExhaustedError(ServingError):
    """The request or its answer is larger than a limit."""

    grpc_code = grpc.StatusCode.RESOURCE_EXHAUSTED
    http_status = http.HTTPStatus.TOO_MANY_REQUESTS


_CLASSES = (
    ServingError,  # before the other class whose HTTP status is 500
    UnknownError,
    InvalidRequestError,  # before the other class whose HTTP status is 400
    FailedPreconditionError,
    ServableNotFoundError,
    UnimplementedError,
    DeadlineExceededError,
    UnavailableError,
    ResourceExhaustedError,
)


# Statuses that only other servers give, and TF Serving's HTTP status for each.
_OTHERS: Mapping[grpc.StatusCode, int] = {
    grpc.StatusCode.CANCELLED: 499,  # nginx's number, which http.HTTPStatus lacks
    grpc.StatusCode.ALREADY_EXISTS: http.HTTPStatus.CONFLICT,
    grpc.StatusCode.PERMISSION_DENIED: http.HTTPStatus.FORBIDDEN,
    grpc.StatusCode.ABORTED: http.HTTPStatus.CONFLICT,
    grpc.StatusCode.OUT_OF_RANGE: http.HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.DATA_LOSS: http.HTTPStatus.INTERNAL_SERVER_ERROR,
    grpc.StatusCode.UNAUTHENTICATED: http.HTTPStatus.UNAUTHORIZED,
}


def of_grpc_code(code: int, text: str) -> ServingError:
    """Returns the error that a status stands for.

    Args:
        code: Number of the status, the same in gRPC and in TensorFlow: 3 is
            INVALID_ARGUMENT.
        text: What it says.
    """
    for kind in _CLASSES:
        if kind.grpc_code.value[0] == code:
            return kind(text)
    error = ServingError(text)
    for status, http_status in _OTHERS.items():
        if status.value[0] == code:
            error.grpc_code, error.http_status = status, http_status
    return error


def of_http_status(status: int, text: str) -> ServingError:
    """Returns the error that an HTTP status stands for; `text` is what it says."""
    for kind in _CLASSES:
        if kind.http_status == status:
            return kind(text)
    error = ServingError(text)
    for code, http_status in _OTHERS.items():
        if http_status == status:
            error.grpc_code, error.http_status = code, http_status
            break
    return error
