"""A gRPC client of TF Serving's API: numpy in, numpy out, no TensorFlow."""

import time
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

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
from serving import _client, errors, example_codec, tensor_codec
from serving.errors import ServingError
from serving.predictor import VersionStatus
from serving.signatures import SignatureInfo, from_definitions

_OPTIONS = [
    # gRPC's own limit is 4 MiB, which a batch of images exceeds.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # So that the attempts of `_client.connect_waits` are real ones.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
# gRPC says so where no connection came about, so nothing was sent.
_NOT_CONNECTED = "failed to connect to all addresses"


class GrpcClient:
    """Asks one server. Thread-safe; use it as a context manager, or `close` it.

    Every method takes `timeout_s`, seconds until it gives up, and raises the
    `ServingError` that the server answered with, its text unchanged. A call is
    repeated only where no connection came about; then `UnavailableError` is raised.
    """

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
        if credentials is None:
            self._channel = grpc.insecure_channel(address, _OPTIONS)
        else:
            self._channel = grpc.secure_channel(address, credentials, _OPTIONS)
        self._timeout_s = timeout_s
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(
            self._channel
        )
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls under way end with an error."""
        self._channel.close()

    def predict(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        version: int | None = None,
        signature_name: str = "",
        output_filter: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs one signature on one batch.

        Args:
            model: Model name.
            inputs: Alias to array, or to nested lists; strings as bytes or str. The
                dtypes must be the signature's.
            version: Version number; None for the latest.
            signature_name: "" for `serving_default`.
            output_filter: Aliases to return; empty for all.
            timeout_s: Seconds; None for the client's own.

        Returns:
            Alias to array; strings are object arrays of bytes.
        """
        request = predict_pb2.PredictRequest(
            model_spec=_spec(model, version, signature_name),
            output_filter=output_filter,
        )
        for alias, value in inputs.items():
            tensor_codec.encode_into(
                request.inputs[alias], _client.as_array(alias, value), as_content=True
            )
        response = self._call(self._predictions.Predict, request, timeout_s)
        try:
            return {
                alias: tensor_codec.decode(response.outputs[alias])
                for alias in sorted(response.outputs)
            }
        except ValueError as error:
            raise ServingError(f"The server's answer is broken: {error}.") from error

    def classify(
        self,
        model: str,
        examples: Sequence[Mapping[str, Any] | bytes],
        *,
        version: int | None = None,
        signature_name: str = "",
        timeout_s: float | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Classifies examples.

        Args:
            model: Model name.
            examples: Each a dict of features as `example_codec.encode` takes it, or a
                serialized tf.Example.
            version: Version number; None for the latest.
            signature_name: "" for `serving_default`.
            timeout_s: Seconds; None for the client's own.

        Returns:
            Per example, (label, score) pairs in the signature's order of classes.
        """
        request = classification_pb2.ClassificationRequest(
            model_spec=_spec(model, version, signature_name), input=_input(examples)
        )
        response = self._call(self._predictions.Classify, request, timeout_s)
        return [
            [(pair.label, pair.score) for pair in classification.classes]
            for classification in response.result.classifications
        ]

    def regress(
        self,
        model: str,
        examples: Sequence[Mapping[str, Any] | bytes],
        *,
        version: int | None = None,
        signature_name: str = "",
        timeout_s: float | None = None,
    ) -> np.ndarray:
        """Returns one value for each example, [examples] float32. See `classify`."""
        request = regression_pb2.RegressionRequest(
            model_spec=_spec(model, version, signature_name), input=_input(examples)
        )
        response = self._call(self._predictions.Regress, request, timeout_s)
        values = [regression.value for regression in response.result.regressions]
        return np.array(values, np.float32)

    def metadata(
        self, model: str, *, version: int | None = None, timeout_s: float | None = None
    ) -> dict[str, SignatureInfo]:
        """Returns a version's signatures, by name."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=_spec(model, version), metadata_field=["signature_def"]
        )
        response = self._call(self._predictions.GetModelMetadata, request, timeout_s)
        definitions = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(definitions)
        return from_definitions(definitions.signature_def)

    def status(
        self, model: str, *, version: int | None = None, timeout_s: float | None = None
    ) -> list[VersionStatus]:
        """Returns the state of all versions of a model, or of one."""
        request = get_model_status_pb2.GetModelStatusRequest(
            model_spec=_spec(model, version)
        )
        response = self._call(self._models.GetModelStatus, request, timeout_s)
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

    def _call(
        self, method: Callable[..., Any], request: Any, timeout_s: float | None
    ) -> Any:
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        deadline = time.monotonic() + timeout_s
        for again in _client.connect_waits(deadline):
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


def _spec(
    model: str, version: int | None, signature_name: str = ""
) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=model, signature_name=signature_name)
    if version is not None:
        spec.version.value = version
    return spec


def _input(examples: Sequence[Mapping[str, Any] | bytes]) -> input_pb2.Input:
    request = input_pb2.Input()
    # A message even without examples, so that the server can say that it is empty.
    request.example_list.SetInParent()
    for example in examples:
        if not isinstance(example, bytes):
            example = example_codec.encode(example)
        request.example_list.examples.add().MergeFromString(example)
    return request
