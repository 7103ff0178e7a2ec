"""TF Serving's messages as somebody who asks writes and reads them."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from savedmodels.protos import (
    classification_pb2,
    error_codes_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)
from serving import tensor_codec
from serving.errors import ServingError
from serving.predictor import ModelSpec, VersionStatus
from serving.signatures import SignatureInfo, from_definitions

_SIGNATURE_DEF = "signature_def"


def predict_request(
    spec: ModelSpec, inputs: Mapping[str, np.ndarray], output_filter: Sequence[str]
) -> predict_pb2.PredictRequest:
    """Returns a request to run one signature on one batch.

    Args:
        spec: The servable and signature.
        inputs: Alias to array; strings are object arrays of bytes.
        output_filter: Aliases to return; empty for all.
    """
    request = predict_pb2.PredictRequest(
        model_spec=_spec(spec), output_filter=output_filter
    )
    for alias, array in inputs.items():
        tensor_codec.encode_into(request.inputs[alias], array, as_content=True)
    return request


def outputs(response: predict_pb2.PredictResponse) -> dict[str, np.ndarray]:
    """Returns the arrays of an answer to Predict, by alias.

    Raises:
        ServingError: They cannot be read.
    """
    try:
        return {
            alias: tensor_codec.decode(response.outputs[alias])
            for alias in sorted(response.outputs)
        }
    except tensor_codec.TensorParseError as error:
        raise ServingError(f"The server's answer is broken: {error}.") from error


def classify_request(
    spec: ModelSpec, examples: Iterable[bytes]
) -> classification_pb2.ClassificationRequest:
    """Returns a request to classify serialized tf.Examples."""
    return classification_pb2.ClassificationRequest(
        model_spec=_spec(spec), input=_input(examples)
    )


def classifications(
    response: classification_pb2.ClassificationResponse,
) -> list[list[tuple[str, float]]]:
    """Returns (label, score) pairs per example."""
    return [
        [(pair.label, pair.score) for pair in classification.classes]
        for classification in response.result.classifications
    ]


def regress_request(
    spec: ModelSpec, examples: Iterable[bytes]
) -> regression_pb2.RegressionRequest:
    """Returns a request for one value to each serialized tf.Example."""
    return regression_pb2.RegressionRequest(
        model_spec=_spec(spec), input=_input(examples)
    )


def regressions(response: regression_pb2.RegressionResponse) -> list[float]:
    """Returns one value per example."""
    return [regression.value for regression in response.result.regressions]


def metadata_request(
    spec: ModelSpec,
) -> get_model_metadata_pb2.GetModelMetadataRequest:
    """Returns a request for a version's signatures."""
    return get_model_metadata_pb2.GetModelMetadataRequest(
        model_spec=_spec(spec), metadata_field=[_SIGNATURE_DEF]
    )


def signatures(
    response: get_model_metadata_pb2.GetModelMetadataResponse,
) -> dict[str, SignatureInfo]:
    """Returns the signatures by name."""
    definitions = get_model_metadata_pb2.SignatureDefMap()
    response.metadata[_SIGNATURE_DEF].Unpack(definitions)
    return from_definitions(definitions.signature_def)


def status_request(
    spec: ModelSpec,
) -> get_model_status_pb2.GetModelStatusRequest:
    """Returns a request for the state of all versions of a model, or of one."""
    return get_model_status_pb2.GetModelStatusRequest(model_spec=_spec(spec))


def statuses(
    response: get_model_status_pb2.GetModelStatusResponse,
) -> list[VersionStatus]:
    """Returns the state of each version, in the server's order."""
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


def _spec(spec: ModelSpec) -> model_pb2.ModelSpec:
    proto = model_pb2.ModelSpec(name=spec.name, signature_name=spec.signature_name)
    if spec.version is not None:
        proto.version.value = spec.version
    elif spec.label is not None:
        proto.version_label = spec.label
    return proto


def _input(examples: Iterable[bytes]) -> input_pb2.Input:
    request = input_pb2.Input()
    # A message even without examples, so that the server can say that it is empty.
    request.example_list.SetInParent()
    for example in examples:
        request.example_list.examples.add().MergeFromString(example)
    return request
