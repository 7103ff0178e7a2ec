"""The REST API over HTTP, asked as any client would ask it."""

import base64
import gzip
import http.client
import json
import random
import socket
import time
import zlib

import numpy as np
import pytest
from numpy_predictor import NumpyPredictor, ask, running

from serving import rest_http

HALF = "/v1/models/half_plus_two"


@pytest.fixture(scope="module")
def port():
    with running(NumpyPredictor()) as port:
        yield port


@pytest.fixture
def predictor():
    return NumpyPredictor()


def error(answer):
    """The status and text of an answer that must be an error."""
    status, headers, body = answer
    assert headers["Content-Type"] == "application/json"
    document = json.loads(body)
    assert list(document) == ["error"]
    return status, document["error"]


@pytest.mark.parametrize(
    ("path", "request_", "expected"),
    [
        (HALF, {"instances": [1, 2, 5]}, {"predictions": [2.5, 3.0, 4.5]}),
        (HALF, {"inputs": [1, 2, 5]}, {"outputs": [2.5, 3.0, 4.5]}),
        (f"{HALF}/versions/1", {"instances": [1]}, {"predictions": [2.5]}),
        (f"{HALF}/labels/stable", {"instances": [1]}, {"predictions": [2.5]}),
        (
            HALF,
            {"signature_name": "serving_default", "instances": [{"x": 1}]},
            {"predictions": [2.5]},
        ),
        (
            "/v1/models/multi_io",
            {"instances": [{"a": [1, 2], "b": 3}]},
            {"predictions": [{"total": 3.0, "scaled": [3.0, 6.0]}]},
        ),
        (
            "/v1/models/multi_io",
            {"inputs": {"a": [[1, 2]], "b": [3]}},
            {"outputs": {"total": [3.0], "scaled": [[3.0, 6.0]]}},
        ),
        (
            "/v1/models/echo",
            {"instances": ["é", {"b64": "YQ=="}]},
            {
                "predictions": [
                    {"text": "é", "text_bytes": {"b64": "w6k="}},
                    {"text": "a", "text_bytes": {"b64": "YQ=="}},
                ]
            },
        ),
    ],
)
def test_predict_answers_rows_with_rows_and_columns_with_columns(
    port, path, request_, expected
):
    status, headers, body = ask(port, "POST", f"{path}:predict", request_)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == expected


def test_paths_may_be_in_any_case_and_names_percent_encoded(port):
    path = "/V1/Models/half%5Fplus_two:Predict?key=ignored"
    assert ask(port, "POST", path, {"instances": [1]})[0] == 200


EXAMPLES = {"examples": [{"x": 0.25}, {"x": 1.0}]}


def test_classify_and_regress_take_json_examples(port):
    _, _, classified = ask(port, "POST", f"{HALF}:classify", EXAMPLES)
    assert json.loads(classified) == {
        "results": [[["low", 0.75], ["high", 0.25]], [["low", 0.0], ["high", 1.0]]]
    }
    _, _, regressed = ask(port, "POST", f"{HALF}:regress", EXAMPLES)
    assert json.loads(regressed) == {"results": [2.125, 2.5]}


def test_status_lists_every_version_or_the_one_that_is_named(port):
    def versions(path):
        _, _, body = ask(port, "GET", path)
        return [v["version"] for v in json.loads(body)["model_version_status"]]

    assert versions(HALF) == ["2", "1"]
    assert versions(f"{HALF}/versions/1") == ["1"]
    assert versions(f"{HALF}/labels/of_no_version") == ["2", "1"]


def test_all_models_are_listed_with_the_state_of_their_versions(port):
    status, _, body = ask(port, "GET", "/v1/models")
    assert status == 200
    models = {model["name"]: model for model in json.loads(body)["models"]}
    assert set(models) == {"half_plus_two", "multi_io", "echo", "whole_batch"}
    assert models["echo"]["model_version_status"] == [
        {
            "version": number,
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
        for number in ("2", "1")
    ]


def test_where_no_model_can_be_listed_a_name_is_asked_for():
    class Unknown(NumpyPredictor):
        def models(self):
            return {}

    with running(Unknown()) as port:
        status, _, body = ask(port, "GET", "/v1/models")
    assert status == 400
    assert json.loads(body) == {"error": "Missing model name in request."}


def test_metadata_names_the_version_and_its_signatures(port):
    _, _, body = ask(port, "GET", f"{HALF}/labels/stable/metadata")
    document = json.loads(body)
    assert document["model_spec"]["version"] == "1"
    signatures = document["metadata"]["signature_def"]["signature_def"]
    assert signatures["serving_default"]["inputs"]["x"]["dtype"] == "DT_FLOAT"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("GET", "/v1/foo", None, 400, "Malformed request: GET /v1/foo"),
        ("GET", "/v1/models/", None, 400, "Malformed request: GET /v1/models/"),
        ("PUT", HALF, b"", 400, f"Malformed request: PUT {HALF}"),
        ("DELETE", HALF, None, 400, f"Malformed request: DELETE {HALF}"),
        ("GET", f"{HALF}:predict", None, 400, f"Malformed request: GET {HALF}:predict"),
        ("POST", f"{HALF}:explain", b"{}", 400, f"Malformed request: POST {HALF}:ex"),
        ("GET", "/v1/models/versions/1", None, 400, "Missing model name in request."),
        ("GET", "/v1/models/metadata", None, 404, "Could not find any versions of"),
        (
            "GET",
            f"{HALF}/versions/18446744073709551615",
            None,
            400,
            "Failed to convert version: 18446744073709551615 to numeric.",
        ),
        ("GET", "/v1/models/nope", None, 404, "Could not find any versions of model"),
        ("GET", f"{HALF}/versions/9", None, 404, "Could not find version 9 of model"),
        ("GET", f"{HALF}/labels/no/metadata", None, 400, "Unrecognized servable"),
        (
            "POST",
            "/v1/models/nope:predict",
            {"instances": [1]},
            404,
            "Servable not found for request: Latest(nope)",
        ),
        (
            "POST",
            f"{HALF}/versions/9:predict",
            {"instances": [1]},
            404,
            "Servable not found for request: Specific(half_plus_two, 9)",
        ),
        # The order of checks: JSON, then signature_name, model, signature, inputs.
        ("POST", "/v1/models/nope:predict", b"{", 400, "JSON Parse error: Missing a"),
        (
            "POST",
            "/v1/models/nope:predict",
            {"signature_name": 1},
            400,
            "'signature_name' key must be a string value.",
        ),
        ("POST", "/v1/models/nope:predict", {}, 404, "Servable not found"),
        (
            "POST",
            f"{HALF}:predict",
            {"signature_name": "no"},
            400,
            'Serving signature name: "no" not found in signature def',
        ),
        ("POST", f"{HALF}:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        ("POST", f"{HALF}:predict", b"", 400, "JSON Parse error: The document is em"),
        ("POST", f"{HALF}:classify", {}, 400, "key 'examples' is expected and was not"),
        (
            "POST",
            "/v1/models/whole_batch:predict",
            {"instances": [1]},
            400,
            "Tensor name: y has no shape information ",
        ),
        ("OPTIONS", HALF, None, 400, "An OPTIONS request needs an Origin"),
    ],
)
def test_a_request_that_is_refused_gets_the_status_and_text(
    port, method, path, body, status, text
):
    answer = error(ask(port, method, path, body))
    assert answer[0] == status
    assert text in answer[1]


@pytest.mark.parametrize("path", ["/", "/v1", "/v3/models/x", "/favicon.ico"])
def test_a_path_outside_v1_is_not_found_as_html(port, path):
    status, headers, body = ask(port, "GET", path)
    assert (status, headers["Content-Type"]) == (404, "text/html")
    assert b"Not Found" in body


def test_a_head_request_has_no_body(port):
    assert ask(port, "HEAD", HALF)[::2] == (400, b"")
    assert ask(port, "HEAD", "/healthz")[::2] == (200, b"")


def test_a_large_body_is_answered_like_a_small_one(port):
    values = np.arange(200_000, dtype=np.float32)
    body = {"instances": values.tolist()}
    assert len(json.dumps(body)) > 1_000_000
    _, _, answer = ask(port, "POST", f"{HALF}:predict", body)
    np.testing.assert_array_equal(json.loads(answer)["predictions"], values / 2 + 2)


@pytest.mark.parametrize("members", [1, 3])
def test_a_gzip_request_is_inflated(port, members):
    text = json.dumps({"instances": [1]}).encode()
    cut = len(text) // members
    parts = [text[i : i + cut] for i in range(0, len(text), cut)]
    body = b"".join(map(gzip.compress, parts))
    headers = {"Content-Encoding": "gzip"}
    assert ask(port, "POST", f"{HALF}:predict", body, headers)[0] == 200


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"instances": [1]}', "body is not gzip"),
        (b"", "gzip body ends too early"),
        (
            gzip.compress(b'{"instances": [1]}', mtime=0)[:-9],
            "gzip body ends too early",
        ),
    ],
)
def test_a_broken_gzip_request_is_refused(port, body, text):
    headers = {"Content-Encoding": "gzip"}
    answer = error(ask(port, "POST", f"{HALF}:predict", body, headers))
    assert answer[0] == 400
    assert text in answer[1]


def test_a_body_that_inflates_beyond_the_limit_is_refused(port):
    deflater = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    megabyte = bytes(1_000_000)
    parts = [deflater.compress(megabyte) for _ in range(101)] + [deflater.flush()]
    headers = {"Content-Encoding": "gzip"}
    answer = error(ask(port, "POST", f"{HALF}:predict", b"".join(parts), headers))
    assert answer[0] == 400
    assert str(rest_http.MAX_BODY_BYTES) in answer[1]


def test_a_plain_body_beyond_the_limit_is_refused(port, monkeypatch):
    monkeypatch.setattr(rest_http, "MAX_BODY_BYTES", 1_000_000)
    body = b" " * 999_982 + b'{"instances": [1]}'
    assert ask(port, "POST", f"{HALF}:predict", body)[0] == 200
    assert error(ask(port, "POST", f"{HALF}:predict", b" " + body)) == (
        400,
        "The request's body is too large. Expected at most 1000000 bytes. "
        "Received: 1000001.",
    )


@pytest.mark.parametrize(
    ("accept", "zipped"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0", False),
        ("identity", False),
        (None, False),
    ],
)
def test_a_long_answer_is_zipped_where_the_client_takes_it(port, accept, zipped):
    headers = {"Accept-Encoding": accept} if accept else {}
    request = {"instances": [1.0] * 1000}
    _, received, body = ask(port, "POST", f"{HALF}:predict", request, headers)
    assert received["Vary"] == "Accept-Encoding"
    assert (received["Content-Encoding"] == "gzip") is zipped
    text = gzip.decompress(body) if zipped else body
    assert json.loads(text) == {"predictions": [2.5] * 1000}


def test_a_short_answer_is_never_zipped(port):
    headers = {"Accept-Encoding": "gzip"}
    _, received, _ = ask(port, "GET", HALF, None, headers)
    assert received["Content-Encoding"] is None


def test_pages_of_other_origins_may_call_only_where_that_is_on(port, predictor):
    origin = {"Origin": "https://example.org"}
    status, headers, body = ask(port, "OPTIONS", f"{HALF}:predict", None, origin)
    assert (status, body) == (200, b"")
    assert headers["Access-Control-Allow-Origin"] is None
    with running(predictor, cors=True) as port_with_cors:
        for method in ("OPTIONS", "GET", "PUT"):
            _, headers, _ = ask(port_with_cors, method, HALF, None, origin)
            assert headers["Access-Control-Allow-Origin"] == "*"
            assert headers["Access-Control-Allow-Methods"] == "POST, GET"
            assert headers["Access-Control-Allow-Headers"] == "Content-Type"


def test_the_server_is_healthy_while_it_is_not_ready(predictor):
    is_ready = False
    with running(predictor, ready=lambda: is_ready) as port:
        assert ask(port, "GET", "/healthz")[0] == 200
        status, _, body = ask(port, "GET", "/readyz")
        assert status == 503
        document = json.loads(body)
        assert document["ready"] is False
        assert document["models"]["echo"] == {
            "available": True,
            "versions": {"2": "AVAILABLE", "1": "AVAILABLE"},
        }
        is_ready = True
        assert ask(port, "GET", "/readyz")[0] == 200


def test_an_answer_that_takes_too_long_is_a_504(predictor):
    predictor.delay_s = 5
    with running(predictor, timeout_s=0.1) as port:
        start = time.monotonic()
        answer = ask(port, "POST", f"{HALF}:predict", {"instances": [1]})
        assert time.monotonic() - start < 2
        assert error(answer) == (504, "Timed out: no answer within 0.1 s.")


HALF_SENT = (
    f"POST {HALF}:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
    '{"instances": ['
).encode()


def test_a_body_that_never_arrives_is_a_504_and_a_closed_connection(predictor):
    with (
        running(predictor, timeout_s=0.1) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as client,
    ):
        client.sendall(HALF_SENT)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        expected = "Timed out: the request's body did not arrive within 0.1 s."
        received = answer.status, answer.headers, answer.read()
        assert error(received) == (504, expected)
        assert client.recv(1) == b""


def test_a_client_that_leaves_in_mid_request_is_no_error(predictor, caplog):
    with running(predictor) as port:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(HALF_SENT)
        assert ask(port, "GET", "/healthz")[0] == 200
    assert not caplog.records


def test_a_full_server_is_a_503(predictor):
    predictor.full = True
    with running(predictor) as port:
        answer = ask(port, "POST", f"{HALF}:predict", {"instances": [1]})
        assert error(answer) == (503, "The batch scheduling queue is full")


def test_a_bug_is_a_500_that_tells_nothing(predictor, caplog):
    predictor.broken = True
    with running(predictor) as port:
        answer = ask(port, "POST", f"{HALF}:predict", {"instances": [1]})
    assert error(answer) == (500, "Internal error, logged by the server.")
    assert "secret of the server" in caplog.text


def test_any_bytes_are_answered_and_never_with_a_500(port):
    generator = random.Random(1)
    seeds = [
        b'{"signature_name": "", "instances": [{"a": [1, 2.5], "b": 3}]}',
        b'{"inputs": {"a": [[1e5, NaN]], "b": [-3]}}',
        b'{"instances": [{"b64": "' + base64.b64encode(b"\xff\0") + b'"}, "\xc3\xa9"]}',
        b'{"context": {"y": true}, "examples": [{"x": [1.0]}, {"x": {"b64": "YQ"}}]}',
    ]
    methods = ("predict", "classify", "regress")
    paths = [
        f"/v1/models/{model}:{method}"
        for model in ("half_plus_two", "multi_io", "echo")
        for method in methods[: 1 if model != "half_plus_two" else 3]
    ]
    for _ in range(1500):
        body = bytearray(generator.choice(seeds))
        for _ in range(generator.randrange(1, 6)):
            place = generator.randrange(len(body))
            if generator.random() < 0.5:
                body[place] = generator.choice(b'{}[]",:019.-eEnull\\u\x00\xff tbN6')
            else:
                end = generator.randrange(place, len(body))
                body[place:place] = body[place:end]
        answer = ask(port, "POST", generator.choice(paths), bytes(body))
        if answer[0] != 200:
            status, text = error(answer)
            assert (status, bool(text)) == (400, True), bytes(body)
