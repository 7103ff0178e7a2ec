"""What the gRPC server makes of calls that no client library would send."""

import logging

import grpc
import pytest
from grpc_running import running
from numpy_predictor import NumpyPredictor

METHODS = [
    "PredictionService/Predict",
    "PredictionService/Classify",
    "PredictionService/Regress",
    "PredictionService/GetModelMetadata",
    "ModelService/GetModelStatus",
]
NO_MESSAGE = b"\xff" * 9  # a tag that never ends


@pytest.fixture(scope="module")
def server(grpc_engine):
    with running(NumpyPredictor(), engine=grpc_engine) as server:
        yield server


@pytest.mark.parametrize("method", METHODS)
def test_bytes_that_are_no_message_are_refused_in_a_sentence(server, method, caplog):
    caplog.set_level(logging.WARNING)
    call = server.channel.unary_unary(f"/tensorflow.serving.{method}")
    with pytest.raises(grpc.RpcError) as caught:
        call(NO_MESSAGE, timeout=10)
    assert caught.value.code() == grpc.StatusCode.INTERNAL
    assert caught.value.details().startswith("The request cannot be parsed. Expected ")
    assert not caplog.records
