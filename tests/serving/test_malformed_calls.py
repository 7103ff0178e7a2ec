"""Thousands of wrong calls: none is a bug's 500, and afterwards right ones work."""

import contextlib
import functools
import http.client
import json
import random
import socket

import grpc
import mutations
import numpy as np
import pytest
from grpc_running import Running, running
from server_process import serving

from savedmodels.protos import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)
from serving import tensor_codec, v2_protos
from serving.config_reloader import ConfigReloader
from serving.served_models import ServedModels

CALLS = 150  # of each kind
PREDICTION = "/tensorflow.serving.PredictionService/"
MODEL = "/tensorflow.serving.ModelService/"
INFER = "/inference.GRPCInferenceService/ModelInfer"
BUG = "Internal error, logged by the server."


@contextlib.contextmanager
def unharmed(store):
    """A server whose log shows at the end that nothing has hurt it."""
    flags = [f"--store={store}", "--rest_api_timeout_in_ms=5000"]
    with serving(*flags) as server:
        yield server
        assert server.end() == 0
        assert "Traceback" not in server.stderr
        assert "Unexpected error" not in server.stderr
        assert "Invalid HTTP" not in server.stderr  # clients do not fill the log


@pytest.fixture(scope="module")
def server(store):
    with unharmed(store) as server:
        yield server


@pytest.fixture(scope="module")
def grpc_server(request, grpc_engine):
    if grpc_engine == "native":
        yield request.getfixturevalue("server")
        return
    # The models are in this process anyway; another process would take seconds.
    predictor = request.getfixturevalue("embedded")
    reloader = ConfigReloader(ServedModels(), predictor.versions)
    with running(predictor, grpc_engine, reloader=reloader) as server:
        yield server


def named(request, model):
    request.model_spec.name = model
    return request


def predict_request(model, **inputs):
    request = named(predict_pb2.PredictRequest(), model)
    for alias, value in inputs.items():
        as_content = value.dtype != np.object_
        tensor = tensor_codec.encode(value, as_content=as_content)
        request.inputs[alias].CopyFrom(tensor)
    return request


def with_examples(request, signature):
    named(request, "examples").model_spec.signature_name = signature
    for _ in range(2):
        example = request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(0.5)
    return request


def multi_inference():
    request = inference_pb2.MultiInferenceRequest()
    with_input = with_examples(classification_pb2.ClassificationRequest(), "classify")
    request.input.CopyFrom(with_input.input)
    task = request.tasks.add(method_name="tensorflow/serving/classify")
    named(task, "examples").model_spec.signature_name = "classify"
    return request


def metadata_request():
    request = named(get_model_metadata_pb2.GetModelMetadataRequest(), "multi_io")
    request.metadata_field.append("signature_def")
    return request


def infer_request(is_raw):
    request = v2_protos.ModelInferRequest(model_name="multi_io", id="1")
    a = request.inputs.add(name="a", datatype="FP32", shape=[1, 2])
    b = request.inputs.add(name="b", datatype="INT32", shape=[1])
    if is_raw:
        request.raw_input_contents.extend([bytes(8), bytes(4)])
    else:
        a.contents.fp32_contents.extend([1, 2])
        b.contents.int_contents.append(3)
    return request


X = np.float32([1, 2, 5])
IMAGE = np.zeros((2, 28, 28, 1), np.uint8)
TEXT = np.array([b"a", b"\xff"], np.object_)
RIGHT = [
    (f"{PREDICTION}Predict", predict_request("half_plus_two", x=X)),
    (
        f"{PREDICTION}Predict",
        predict_request("multi_io", a=np.ones((2, 2), np.float32), b=np.int32([1, 2])),
    ),
    (f"{PREDICTION}Predict", predict_request("digits", image=IMAGE)),
    (f"{PREDICTION}Predict", predict_request("digits_litert", image=IMAGE)),
    (f"{PREDICTION}Predict", predict_request("echo", text=TEXT)),
    (
        f"{PREDICTION}Classify",
        with_examples(classification_pb2.ClassificationRequest(), "classify"),
    ),
    (
        f"{PREDICTION}Regress",
        with_examples(regression_pb2.RegressionRequest(), "regress"),
    ),
    (f"{PREDICTION}MultiInference", multi_inference()),
    (f"{PREDICTION}GetModelMetadata", metadata_request()),
    (
        f"{MODEL}GetModelStatus",
        named(get_model_status_pb2.GetModelStatusRequest(), "echo"),
    ),
    (
        f"{MODEL}HandleReloadConfigRequest",
        model_management_pb2.ReloadConfigRequest(),
    ),
    (INFER, infer_request(is_raw=False)),
    (INFER, infer_request(is_raw=True)),
]


def is_harmless(kind, data):
    """Whether a message leaves the models as they are, for those that come after."""
    if kind is not model_management_pb2.ReloadConfigRequest:
        return True
    with contextlib.suppress(Exception):
        return not kind.FromString(data).config.HasField("model_config_list")
    return True


@pytest.mark.parametrize("number", range(len(RIGHT)))
def test_a_malformed_message_is_refused_or_answered(grpc_server, number, caplog):
    path, request = RIGHT[number]
    kind = type(request)
    dice = random.Random(number)
    call = grpc_server.channel.unary_unary(path)
    if kind is not model_management_pb2.ReloadConfigRequest:
        call(request.SerializeToString(), timeout=10)
    for _ in range(CALLS):
        data = mutations.message(dice, kind, request)
        if not is_harmless(kind, data):
            continue
        try:
            call(data, timeout=10)
        except grpc.RpcError as error:
            code, text = error.code().name, error.details()
            assert text != BUG, data
            assert code not in ("UNKNOWN", "DEADLINE_EXCEEDED", "UNAVAILABLE"), (
                data,
                text,
            )
            assert code != "INTERNAL" or "cannot be parsed" in text, (data, text)
    assert "Unexpected error" not in caplog.text
    right_calls_work(grpc_server)


DOCUMENTS = {
    "/v1/models/half_plus_two:predict": {"instances": [1.0, 2.0, 5.0]},
    "/v1/models/multi_io:predict": {"instances": [{"a": [1, 2], "b": 3}] * 2},
    "/v1/models/multi_io/versions/1:predict": {
        "signature_name": "serving_default",
        "inputs": {"a": [[1, 2]], "b": [3]},
    },
    "/v1/models/digits:predict": {"instances": [[[[0]] * 28] * 28]},
    "/v1/models/digits_litert:predict": {"inputs": [[[[0]] * 28] * 28]},
    "/v1/models/echo:predict": {"instances": ["a", {"b64": "YQ=="}]},
    "/v1/models/examples:classify": {
        "signature_name": "classify",
        "context": {"c": 1},
        "examples": [{"x": 0.5}, {"x": 1.0}],
    },
    "/v1/models/examples:regress": {
        "signature_name": "regress",
        "examples": [{"x": 0.5}],
    },
}


def post(connection, path, body, **headers):
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.mark.parametrize("path", DOCUMENTS)
def test_a_malformed_document_is_refused_or_answered(server, path):
    dice = random.Random(path)
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=10)
    with contextlib.closing(connection):
        right = json.dumps(DOCUMENTS[path]).encode()
        assert post(connection, path, right)[0] == 200
        for _ in range(CALLS):
            body = mutations.document(dice, DOCUMENTS[path])
            status, text = post(connection, path, body)
            assert status in (200, 400, 404, 501), (body[:2000], text)
            answer = json.loads(text)
            assert (status == 200) != ("error" in answer)
    right_calls_work(server)


@pytest.mark.parametrize("number", range(3))
def test_a_malformed_http_request_is_refused_or_answered(server, number):
    body = b'{"instances": [1]}'
    path = random.Random(number).choice([*DOCUMENTS, "/v1/models/echo/metadata"])
    right = [
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 18\r\n\r\n".encode()
        + body,
        f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n".encode(),
        b"POST /v1/models/half_plus_two:predict HTTP/1.1\r\nHost: x\r\n"
        b"Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n"
        b"12\r\n" + body + b"\r\n0\r\n\r\n",
    ][number]
    dice = random.Random(number)
    for _ in range(CALLS // 2):
        with socket.create_connection(("127.0.0.1", int(server.rest_port))) as client:
            client.settimeout(10)
            client.sendall(mutations.octets(dice, right))
            client.shutdown(socket.SHUT_WR)
            parts = iter(functools.partial(client.recv, 65536), b"")
            with contextlib.suppress(ConnectionError):
                assert b" 500 " not in b"".join(parts)[:20]
    right_calls_work(server)


def right_calls_work(server):
    for path, request in RIGHT[:3]:
        call = server.channel.unary_unary(path)
        response = predict_pb2.PredictResponse.FromString(
            call(request.SerializeToString(), timeout=10)
        )
        if request.model_spec.name == "half_plus_two":
            y = tensor_codec.decode(response.outputs["y"])
            np.testing.assert_array_equal(y, X / 2 + 2)
    if isinstance(server, Running):  # it speaks gRPC alone
        return
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=10)
    with contextlib.closing(connection):
        body = json.dumps({"instances": [1, 2]}).encode()
        answer = post(connection, "/v1/models/half_plus_two:predict", body)
    assert answer[0] == 200
    assert json.loads(answer[1]) == {"predictions": [2.5, 3.0]}
