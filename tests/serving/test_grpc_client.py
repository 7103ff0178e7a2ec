"""What only the gRPC client promises: large messages, raw bytes, a plain server's."""

import concurrent.futures

import grpc
import numpy as np
import pytest
from numpy_predictor import NumpyPredictor, running_grpc

from savedmodels.protos import predict_pb2, types_pb2
from serving.errors import (
    FailedPreconditionError,
    ResourceExhaustedError,
    ServingError,
    UnimplementedError,
)
from serving.grpc_client import GrpcClient


@pytest.fixture
def plain_server():
    """A grpc server without any code of ours, which answers as it is told.

    Gives the client, the requests so far, and what to do with the next one.
    """
    requests, answers = [], []

    def predict(request, context):
        requests.append(request)
        answer = answers.pop()
        if isinstance(answer, grpc.StatusCode):
            context.abort(answer, "words of the server")
        return answer

    handler = grpc.unary_unary_rpc_method_handler(
        predict,
        request_deserializer=predict_pb2.PredictRequest.FromString,
        response_serializer=predict_pb2.PredictResponse.SerializeToString,
    )
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(
                "tensorflow.serving.PredictionService", {"Predict": handler}
            )
        ]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with GrpcClient(f"127.0.0.1:{port}") as client:
        yield client, requests, answers
    server.stop(None)


def test_the_request_is_tf_servings_with_raw_bytes(plain_server):
    client, requests, answers = plain_server
    response = predict_pb2.PredictResponse()
    y = response.outputs["y"]
    y.dtype = types_pb2.DT_FLOAT
    y.tensor_shape.dim.add(size=3)
    y.float_val.append(2.5)  # one value stands for all
    answers.append(response)
    x = np.array([[1, 2], [3, 4]], np.float32)
    outputs = client.predict(
        "m", {"x": x}, version=7, signature_name="s", output_filter=["y"]
    )
    assert outputs["y"].tolist() == [2.5, 2.5, 2.5]
    (request,) = requests
    assert (request.model_spec.name, request.model_spec.version.value) == ("m", 7)
    assert request.model_spec.signature_name == "s"
    assert list(request.output_filter) == ["y"]
    assert request.inputs["x"].dtype == types_pb2.DT_FLOAT
    assert [dim.size for dim in request.inputs["x"].tensor_shape.dim] == [2, 2]
    assert request.inputs["x"].tensor_content == x.tobytes()


def test_the_latest_version_is_asked_for_by_naming_none(plain_server):
    client, requests, answers = plain_server
    answers.append(predict_pb2.PredictResponse())
    assert client.predict("m", {}) == {}
    assert not requests[0].model_spec.HasField("version")


@pytest.mark.parametrize(
    ("code", "error_class"),
    [
        (grpc.StatusCode.FAILED_PRECONDITION, FailedPreconditionError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ResourceExhaustedError),
        (grpc.StatusCode.UNIMPLEMENTED, UnimplementedError),
        (grpc.StatusCode.DATA_LOSS, ServingError),
    ],
)
def test_a_status_becomes_the_error_of_that_status(plain_server, code, error_class):
    client, _, answers = plain_server
    answers.append(code)
    with pytest.raises(ServingError, match="^words of the server$") as caught:
        client.predict("m", {})
    assert type(caught.value) is error_class


def test_a_broken_answer_is_an_error(plain_server):
    client, _, answers = plain_server
    response = predict_pb2.PredictResponse()
    response.outputs["y"].dtype = types_pb2.DT_FLOAT
    response.outputs["y"].tensor_shape.dim.add(size=2)
    response.outputs["y"].tensor_content = b"123"
    answers.append(response)
    with pytest.raises(ServingError, match="The server's answer is broken"):
        client.predict("m", {})


def test_messages_far_beyond_grpcs_own_limit_pass_both_ways():
    x = np.arange(2_000_000, dtype=np.float32)  # 8 MB, the limit is 4 MiB
    with (
        running_grpc(NumpyPredictor()) as port,
        GrpcClient(f"127.0.0.1:{port}") as client,
    ):
        y = client.predict("half_plus_two", {"x": x})["y"]
    np.testing.assert_array_equal(y, x / 2 + 2)
