"""Every gRPC status has TF Serving's HTTP status and its own text, shim or not."""

import json

import pytest
from numpy_predictor import ask
from scripted_upstream import Backend, refusing
from server_process import serving

from serving import errors

REGRESS = "/tensorflow.serving.PredictionService/Regress"
STATUSES = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
TEXT = 'A "text" with é, \u2028, a tab\tand\na line'


@pytest.fixture(scope="module")
def backend():
    backend = Backend()
    yield backend
    backend.stop()


@pytest.fixture(scope="module")
def shim(backend):
    with serving(f"--upstream={backend.address}") as shim:
        yield shim
        assert shim.end() == 0
        assert "Traceback" not in shim.stderr


@pytest.mark.parametrize("code", STATUSES)
def test_a_status_from_upstream_keeps_its_meaning_and_text_over_rest(
    backend, shim, code
):
    backend.answers[REGRESS] = refusing(code, TEXT)
    body = {"examples": [{"x": 1.0}]}
    path = "/v1/models/m:regress"
    status, headers, text = ask(int(shim.rest_port), "POST", path, body)
    assert status == STATUSES[code]
    assert headers["Content-Type"] == "application/json"
    assert TEXT in json.loads(text)["error"]


def test_a_client_understands_a_status_that_python_has_no_name_for():
    error = errors.of_http_status(499, "gone")
    assert error.grpc_code.name == "CANCELLED"
    assert str(error) == "gone"
