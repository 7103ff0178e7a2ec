"""A real server, asked over both protocols by our clients and by those of others."""

import http.client
import json
import time

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from savedmodels.protos import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    types_pb2,
)
from serving.errors import (
    FailedPreconditionError,
    InvalidRequestError,
    ServableNotFoundError,
    ServingError,
)
from serving.grpc_client import GrpcClient
from serving.rest_client import RestClient

MODELS = ["digits", "digits_litert", "echo", "examples", "half_plus_two", "multi_io"]


@pytest.fixture(scope="module")
def clients(ports, grpc_port):
    with (
        GrpcClient(f"127.0.0.1:{grpc_port}") as grpc_client,
        RestClient(f"http://127.0.0.1:{ports[1]}") as rest_client,
    ):
        yield grpc_client, rest_client


@pytest.fixture(scope="module")
def channel(grpc_port):
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        yield channel


@pytest.fixture
def ask(ports):
    """Sends bytes over HTTP and returns (status, body)."""

    def ask(method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", ports[1], timeout=30)
        connection.request(method, path, body)
        response = connection.getresponse()
        answer = response.status, response.read()
        connection.close()
        return answer

    return ask


def digit_images(rows):
    """Images whose row r is lit in the stripe of class r % 10."""
    images = np.zeros((rows, 28 * 28), np.uint8)
    for row in range(rows):
        images[row, 79 * (row % 10) : 79 * (row % 10 + 1)] = 255
    return images.reshape(rows, 28, 28, 1)


def digit_scores(images):
    """The fixture's arithmetic in numpy: softmax of 8 x the share lit per stripe."""
    lit = images.reshape(len(images), -1) / 255
    votes = np.eye(10)[np.arange(28 * 28) // 79] / 79
    odds = np.exp(8 * lit @ votes)
    return odds / odds.sum(axis=1, keepdims=True)


IMAGES = digit_images(13)
DIGITS = {"scores": digit_scores(IMAGES), "class_id": np.arange(13) % 10}
A = np.array([[1, 2], [0.1, -4]], np.float32)
B = np.array([3, -1], np.int32)
TEXT = np.array([b"a", "é".encode(), b""], object)
MANY = np.arange(5000, dtype=np.float32)


@pytest.mark.parametrize(
    ("model", "inputs", "expected"),
    [
        ("half_plus_two", {"x": np.float32([1, 2, 5])}, {"y": [2.5, 3, 4.5]}),
        ("half_plus_two", {"x": MANY}, {"y": MANY / 2 + 2}),
        ("half_plus_two", {"x": MANY[:0]}, {"y": []}),
        ("examples", {"x": np.float32([1, np.nan])}, {"y": [2.5, np.nan]}),
        (
            "multi_io",
            {"a": A, "b": B},
            {"total": A.sum(axis=1), "scaled": A * B[:, np.newaxis]},
        ),
        ("echo", {"text": TEXT}, {"text": TEXT, "text_bytes": TEXT}),
        ("digits", {"image": IMAGES}, DIGITS),
        ("digits_litert", {"image": IMAGES}, DIGITS),
        (
            "digits",
            {"image": IMAGES[:0]},
            {"scores": np.zeros((0, 10)), "class_id": []},
        ),
        (
            "digits_litert",
            {"image": IMAGES[:0]},
            {"scores": np.zeros((0, 10)), "class_id": []},
        ),
    ],
)
def test_every_model_answers_alike_over_both(clients, model, inputs, expected):
    by_grpc, by_rest = (client.predict(model, inputs) for client in clients)
    assert by_grpc.keys() == by_rest.keys() == expected.keys()
    for alias, values in expected.items():
        assert by_grpc[alias].dtype == by_rest[alias].dtype
        assert by_grpc[alias].shape == by_rest[alias].shape == np.shape(values)
        # The same bits: REST writes as many digits as the dtype needs.
        np.testing.assert_array_equal(by_grpc[alias], by_rest[alias])
        if by_grpc[alias].dtype == object:
            assert by_grpc[alias].tolist() == list(values)
        else:
            np.testing.assert_allclose(by_grpc[alias], values, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("signature_name", "expected"),
    [
        ("classify", [[("low", 0.75), ("high", 0.25)], [("low", 0.0), ("high", 1.0)]]),
        ("classify_scores", [[("", 0.75), ("", 0.25)], [("", 0.0), ("", 1.0)]]),
        ("classify_classes", [[("low", 0.0), ("high", 0.0)]] * 2),
    ],
)
def test_classify_answers_alike_over_both(clients, signature_name, expected):
    for client in clients:
        answer = client.classify(
            "examples", [{"x": 0.25}, {"x": 1.0}], signature_name=signature_name
        )
        assert answer == expected


def test_regress_answers_alike_over_both(clients):
    for client in clients:
        answer = client.regress(
            "examples", [{"x": 0.25}, {"x": 1.0}], signature_name="regress"
        )
        assert answer.tolist() == [2.125, 2.5]


@pytest.mark.parametrize("model", MODELS)
def test_metadata_and_status_are_alike_over_both(clients, model):
    by_grpc, by_rest = (client.metadata(model) for client in clients)
    assert by_grpc == by_rest
    assert "serving_default" in by_grpc
    by_grpc, by_rest = (client.status(model) for client in clients)
    assert by_grpc == by_rest
    assert [(s.version, s.state) for s in by_grpc] == [(1, "AVAILABLE")]


BAD_IMAGE = np.zeros((1, 27, 28, 1), np.uint8)


@pytest.mark.parametrize(
    ("call", "error_class"),
    [
        (lambda c: c.predict("nope", {"x": [1.0]}), ServableNotFoundError),
        (lambda c: c.predict("echo", {"text": []}, version=9), ServableNotFoundError),
        (lambda c: c.metadata("nope"), ServableNotFoundError),
        (lambda c: c.metadata("echo", version=9), ServableNotFoundError),
        (lambda c: c.status("nope"), ServableNotFoundError),
        (lambda c: c.status("echo", version=9), ServableNotFoundError),
        (lambda c: c.classify("nope", [{"x": 1.0}]), ServableNotFoundError),
        (
            lambda c: c.classify("examples", [{"x": 1.0}], signature_name="nope"),
            InvalidRequestError,
        ),
        (
            lambda c: c.classify("examples", [{}], signature_name="classify"),
            InvalidRequestError,
        ),
        (
            lambda c: c.classify("examples", [{"x": 1}], signature_name="classify"),
            InvalidRequestError,
        ),
        (lambda c: c.classify("multi_io", [{"x": 1.0}]), InvalidRequestError),
        (lambda c: c.predict("digits", {"image": BAD_IMAGE}), InvalidRequestError),
    ],
)
def test_a_refusal_has_the_same_class_and_text_over_both(clients, call, error_class):
    errors = []
    for client in clients:
        with pytest.raises(ServingError) as caught:
            call(client)
        errors.append(caught.value)
    assert [type(error) for error in errors] == [error_class] * 2
    # gRPC cuts a text at 1024 characters.
    assert str(errors[0])[:1024] == str(errors[1])[:1024]


@pytest.mark.parametrize(
    "inputs",
    [
        {"x": ["text"]},
        {"x": np.array([True])},
        {"y": np.ones(1, np.float32)},
        {},
    ],
)
def test_inputs_that_do_not_fit_are_invalid_over_both(clients, inputs):
    for client in clients:
        with pytest.raises(InvalidRequestError):
            client.predict("half_plus_two", inputs)


def test_an_unknown_signature_has_the_code_of_its_protocol(clients):
    grpc_client, rest_client = clients
    with pytest.raises(FailedPreconditionError) as by_grpc:
        grpc_client.predict("echo", {"text": ["a"]}, signature_name="s")
    assert str(by_grpc.value) == 'Serving signature key "s" not found.'
    with pytest.raises(InvalidRequestError) as by_rest:
        rest_client.predict("echo", {"text": ["a"]}, signature_name="s")
    text = 'Serving signature name: "s" not found in signature def'
    assert str(by_rest.value) == text


def test_a_plain_stub_gets_typed_values_and_the_version_that_answered(channel):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half_plus_two"
    x = request.inputs["x"]
    x.dtype = types_pb2.DT_FLOAT
    x.tensor_shape.dim.add(size=3)
    x.float_val.extend([1.0, 2.0, 5.0])
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    response = stub.Predict(request, timeout=10)
    assert response.model_spec.name == "half_plus_two"
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"
    assert list(response.outputs) == ["y"]
    assert list(response.outputs["y"].float_val) == [2.5, 3.0, 4.5]


def test_a_plain_stub_gets_the_code_and_text_of_a_refusal(channel):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "nope"
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetModelStatus(request, timeout=10)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "Could not find any versions of model nope"


def test_hand_written_json_gets_tf_servings_bytes(ask):
    path = "/v1/models/half_plus_two/versions/1:predict"
    assert ask("POST", path, b'{"instances": [1.0, 2.0, 5.0]}') == (
        200,
        b'{\n    "predictions": [2.5, 3.0, 4.5\n    ]\n}',
    )
    assert ask("POST", path, b'{"inputs": {"x": [1.0]}}') == (
        200,
        b'{\n    "outputs": [2.5]\n}',
    )
    status, body = ask("POST", path, b'{"instances": ["x"]}')
    assert status == 400
    assert json.loads(body)["error"] == (
        "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
        'JSON Value: "x" Type: String is not of expected type: float'
    )
    status, body = ask("GET", "/v1/models/half_plus_two")
    assert status == 200
    assert json.loads(body) == {
        "model_version_status": [
            {
                "version": "1",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }


def test_health_checks_of_both_protocols_say_that_it_serves(ask, ports):
    assert ask("GET", "/healthz")[0] == 200
    assert ask("GET", "/readyz")[0] == 200
    with grpc.insecure_channel(f"127.0.0.1:{ports[0]}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", "PredictionService", "echo"):
            request = health_pb2.HealthCheckRequest(service=name)
            response = stub.Check(request, timeout=10)
            assert response.status == health_pb2.HealthCheckResponse.SERVING


def test_a_large_request_does_not_hold_up_a_small_one(ports, ask):
    large = json.dumps({"instances": digit_images(600).tolist()}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", ports[1], timeout=60)
    start = time.monotonic()
    connection.request("POST", "/v1/models/digits_litert:predict", large)
    waits = []
    for _ in range(20):
        before = time.monotonic()
        assert ask("GET", "/healthz")[0] == 200
        waits.append(time.monotonic() - before)
    assert connection.getresponse().status == 200
    total = time.monotonic() - start
    connection.close()
    # Parsing takes longer than any small request had to wait for it.
    assert sorted(waits)[10] < max(0.05, total / 4)
