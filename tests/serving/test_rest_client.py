"""What only the REST client promises: URLs, connections, dtypes from metadata."""

import http.server
import json
import threading

import numpy as np
import pytest
from numpy_predictor import free_port

from serving import json_encode
from serving.errors import InvalidRequestError, ServingError, UnavailableError
from serving.rest_client import RestClient
from serving.servable import SignatureInfo, TensorInfo


@pytest.fixture
def plain_server():
    """An HTTP server of the standard library, which answers as it is told.

    Gives its URL, the requests so far (method, path, body), and the answers by path:
    a status and a body.
    """
    requests, answers = [], {}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):  # noqa: N802 -- the base class names it
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            requests.append((self.command, self.path, body))
            status, text = answers[self.path]
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET  # noqa: N815

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}", requests, answers
        server.shutdown()


def metadata(dtype, dtype_name):
    y = TensorInfo("y:0", np.dtype(dtype), (None,), dtype_name)
    signature = SignatureInfo({"x": y}, {"y": y}, "tensorflow/serving/predict")
    return 200, json_encode.metadata("m", 1, {"serving_default": signature})


def test_the_request_is_columnar_json_that_any_server_reads(plain_server):
    url, requests, answers = plain_server
    answers["/some/where/v1/models/a%20b/versions/3:predict"] = 200, '{"outputs": [1]}'
    answers["/some/where/v1/models/a%20b/versions/3/metadata"] = metadata(
        np.int64, "DT_INT64"
    )
    with RestClient(f"{url}/some/where/") as client:
        outputs = client.predict(
            "a b",
            {"x": np.array([[0.1, 2]], np.float32), "s": ["é"]},
            version=3,
            signature_name="",
        )
    assert (outputs["y"].dtype, outputs["y"].tolist()) == (np.int64, [1])
    assert json.loads(requests[0][2]) == {
        "signature_name": "",
        "inputs": {"x": [[0.1, 2.0]], "s": [{"b64": "w6k="}]},
    }


def test_metadata_are_asked_for_once_and_again_when_the_answer_does_not_fit(
    plain_server,
):
    url, requests, answers = plain_server
    answers["/v1/models/m:predict"] = 200, '{"outputs": [1]}'
    answers["/v1/models/m/metadata"] = metadata(np.int32, "DT_INT32")
    with RestClient(url) as client:
        for _ in range(3):
            assert client.predict("m", {"x": [1]})["y"].dtype == np.int32
        assert [method for method, _, _ in requests] == ["POST", "GET", "POST", "POST"]
        # A new version, whose output is a float.
        answers["/v1/models/m:predict"] = 200, '{"outputs": [1.5]}'
        answers["/v1/models/m/metadata"] = metadata(np.float32, "DT_FLOAT")
        assert client.predict("m", {"x": [1]})["y"].tolist() == [1.5]


@pytest.mark.parametrize(
    "answer",
    [
        (200, "<html>hello</html>"),
        (200, "[]"),
        (200, "{}"),
        (404, "<html>Not Found</html>"),
        (502, "Bad Gateway"),
    ],
)
def test_a_server_that_is_not_tf_serving_is_named(plain_server, answer):
    url, _, answers = plain_server
    answers["/v1/models/m"] = answer
    with RestClient(url) as client, pytest.raises(ServingError) as caught:
        client.status("m")
    text = str(caught.value)
    assert f"{url}/v1/models/m did not answer as TF Serving does" in text
    assert f"HTTP {answer[0]}" in text


def test_an_answer_without_the_outputs_of_its_metadata_is_an_error(plain_server):
    url, _, answers = plain_server
    answers["/v1/models/m:predict"] = 200, '{"outputs": {"z": 1}}'
    answers["/v1/models/m/metadata"] = metadata(np.int32, "DT_INT32")
    with RestClient(url) as client, pytest.raises(ServingError):
        client.predict("m", {"x": [1]})


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8501", "ftp://host", "http://", "", "http://host:notaport"]
)
def test_what_is_no_url_of_a_server_is_refused(url):
    with pytest.raises(InvalidRequestError, match="The URL does not name a server"):
        RestClient(url)


def test_the_error_of_no_server_names_the_url():
    url = f"http://127.0.0.1:{free_port()}"
    with RestClient(url) as client, pytest.raises(UnavailableError, match=url):
        client.status("m")


def test_a_dtype_without_a_json_form_is_refused_before_it_is_sent(plain_server):
    url, requests, _ = plain_server
    with RestClient(url) as client, pytest.raises(InvalidRequestError, match="half"):
        client.predict("m", {"x": np.zeros(1, np.float16)})
    assert requests == []
