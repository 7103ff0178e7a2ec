"""A gRPC client of TF Serving's API: numpy in, numpy out, no TensorFlow."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
import numpy as np

from savedmodels.protos import model_service_pb2_grpc, prediction_service_pb2_grpc
from serving import errors, example_codec, messages
from serving.client import Client, Example, connect_waits
from serving.predictor import ModelSpec, VersionStatus
from serving.signatures import SignatureInfo

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
        request = messages.predict_request(spec, inputs, output_filter)
        return messages.outputs(_call(self._predictions.Predict, request, timeout_s))

    def _classify(
        self, spec: ModelSpec, examples: Sequence[Example], timeout_s: float
    ) -> list[list[tuple[str, float]]]:
        request = messages.classify_request(spec, map(_serialized, examples))
        response = _call(self._predictions.Classify, request, timeout_s)
        return messages.classifications(response)

    def _regress(
        self, spec: ModelSpec, examples: Sequence[Example], timeout_s: float
    ) -> list[float]:
        request = messages.regress_request(spec, map(_serialized, examples))
        response = _call(self._predictions.Regress, request, timeout_s)
        return messages.regressions(response)

    def _metadata(self, spec: ModelSpec, timeout_s: float) -> dict[str, SignatureInfo]:
        request = messages.metadata_request(spec)
        response = _call(self._predictions.GetModelMetadata, request, timeout_s)
        return messages.signatures(response)

    def _status(self, spec: ModelSpec, timeout_s: float) -> list[VersionStatus]:
        request = messages.status_request(spec)
        response = _call(self._models.GetModelStatus, request, timeout_s)
        return messages.statuses(response)


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


def _serialized(example: Example) -> bytes:
    return example if isinstance(example, bytes) else example_codec.encode(example)
