"""A gRPC client of TF Serving's API: numpy in, numpy out, no TensorFlow."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
import numpy as np

from savedmodels.protos import (
    classification_pb2,
    error_codes_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    input_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)
from serving import errors, example_codec, tensor_codec
from serving.client import Client, Example, connect_waits
from serving.errors import ServingError
from serving.predictor import ModelSpec, VersionStatus
from serving.signatures import SignatureInfo, from_definitions

_OPTIONS = [
    # gRPC's own limit is 4 MiB, which a batch of images exceeds.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # So that the attempts of `connect_waits` are real ones.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
# gRPC says so where no connection came about, so nothing was sent.
_NOT_CONNECTED = "failed to connect to all addresses"


class GrpcClient(Client):
    """A `Client` that speaks gRPC."""

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float = 30.0,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        """Connects with the first call.

        Args:
            address: `host:port`, or `unix:path`.
            timeout_s: Seconds for a call that names no other.
            credentials: For TLS; None for a plain connection.
        """
        super().__init__(timeout_s)
        if credentials is None:
            self._channel = grpc.insecure_channel(address, _OPTIONS)
        else:
            self._channel = grpc.secure_channel(address, credentials, _OPTIONS)
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(
            self._channel
        )
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def close(self) -> None:
        """Closes the connection; calls under way end with an error."""
        self._channel.close()

    def _predict(
        self,
        spec: ModelSpec,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str],
        timeout_s: float,
    ) -> dict[str, np.ndarray]:
        request = predict_pb2.PredictRequest(
            model_spec=_spec(spec), output_filter=output_filter
        )
        for alias, array in inputs.items():
            tensor_codec.encode_into(request.inputs[alias], array, as_content=True)
        response = _call(self._predictions.Predict, request, timeout_s)
        try:
            return {
                alias: tensor_codec.decode(response.outputs[alias])
                for alias in sorted(response.outputs)
            }
        except ValueError as error:
            raise ServingError(f"The server's answer is broken: {error}.") from error

    def _classify(
        self, spec: ModelSpec, examples: Sequence[Example], timeout_s: float
    ) -> list[list[tuple[str, float]]]:
        request = classification_pb2.ClassificationRequest(
            model_spec=_spec(spec), input=_input(examples)
        )
        response = _call(self._predictions.Classify, request, timeout_s)
        return [
            [(pair.label, pair.score) for pair in classification.classes]
            for classification in response.result.classifications
        ]

    def _regress(
        self, spec: ModelSpec, examples: Sequence[Example], timeout_s: float
    ) -> list[float]:
        request = regression_pb2.RegressionRequest(
            model_spec=_spec(spec), input=_input(examples)
        )
        response = _call(self._predictions.Regress, request, timeout_s)
        return [regression.value for regression in response.result.regressions]

    def _metadata(self, spec: ModelSpec, timeout_s: float) -> dict[str, SignatureInfo]:
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=_spec(spec), metadata_field=["signature_def"]
        )
        response = _call(self._predictions.GetModelMetadata, request, timeout_s)
        definitions = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(definitions)
        return from_definitions(definitions.signature_def)

    def _status(self, spec: ModelSpec, timeout_s: float) -> list[VersionStatus]:
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=_spec(spec))
        response = _call(self._models.GetModelStatus, request, timeout_s)
        states = get_model_status_pb2.ModelVersionStatus.State
        return [
            VersionStatus(
                status.version,
                states.Name(status.state),
                error_codes_pb2.Code.Name(status.status.error_code),
                status.status.error_message,
            )
            for status in response.model_version_status
        ]


def _call(method: Callable[..., Any], request: Any, timeout_s: float) -> Any:
    deadline = time.monotonic() + timeout_s
    for again in connect_waits(deadline):
        try:
            return method(request, timeout=deadline - time.monotonic())
        except grpc.RpcError as error:
            code, text = error.code(), error.details() or ""
            never_sent = code == grpc.StatusCode.UNAVAILABLE and text.startswith(
                _NOT_CONNECTED
            )
            if not (again and never_sent):
                raise errors.of_grpc_code(code.value[0], text) from error
    raise AssertionError("the last attempt returns or raises")


def _spec(spec: ModelSpec) -> model_pb2.ModelSpec:
    proto = model_pb2.ModelSpec(name=spec.name, signature_name=spec.signature_name)
    if spec.version is not None:
        proto.version.value = spec.version
    return proto


def _input(examples: Sequence[Example]) -> input_pb2.Input:
    request = input_pb2.Input()
    # A message even without examples, so that the server can say that it is empty.
    request.example_list.SetInParent()
    for example in examples:
        if not isinstance(example, bytes):
            example = example_codec.encode(example)
        request.example_list.examples.add().MergeFromString(example)
    return request
