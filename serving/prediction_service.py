"""`tensorflow.serving.PredictionService`: decodes, asks a `Predictor`, encodes.

Free of any gRPC engine: each method takes a message and returns one, or raises a
`ServingError`. Lookups come in TF Serving's order, so that a request with two faults is
refused for the same one.
"""

from collections.abc import Mapping

import numpy as np

from savedmodels.protos import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    meta_graph_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
    types_pb2,
)
from serving import multi_inference, tensor_codec
from serving.errors import FailedPreconditionError, InvalidRequestError
from serving.example_input import serialized_examples
from serving.multi_inference import Task
from serving.predictor import Classification, ModelSpec, Predictor, Regression
from serving.servable import DEFAULT_SIGNATURE
from serving.signatures import SignatureInfo, TensorInfo, check_aliases

_SIGNATURE_DEF = "signature_def"


class PredictionService:
    """Answers the calls of the service from a `Predictor`."""

    def __init__(self, predictor: Predictor, *, as_content: bool = False) -> None:
        """Makes the service.

        Args:
            predictor: Computes the answers.
            as_content: Whether outputs are sent as `tensor_content` in place of typed
                fields, as `--enable_serialization_as_tensor_content`.
        """
        self._predictor = predictor
        self._as_content = as_content

    async def predict(
        self, request: predict_pb2.PredictRequest, timeout_s: float | None
    ) -> predict_pb2.PredictResponse:
        """Runs one signature on one batch."""
        spec = model_spec(request)
        prediction = await self._predictor.predict(
            spec,
            await self._inputs(spec, request),
            output_filter=list(request.output_filter),
            timeout_s=timeout_s,
        )
        return predict_response(
            spec,
            prediction.outputs,
            prediction.version,
            prediction.signature_name,
            as_content=self._as_content,
        )

    async def classify(
        self,
        request: classification_pb2.ClassificationRequest,
        timeout_s: float | None,
    ) -> classification_pb2.ClassificationResponse:
        """Classifies tf.Examples."""
        spec = model_spec(request)
        answer = await self._predictor.classify(
            spec, serialized_examples(request.input), timeout_s=timeout_s
        )
        response = classification_pb2.ClassificationResponse()
        fill_spec(response.model_spec, spec, answer.version, answer.signature_name)
        fill_classifications(response.result, answer)
        return response

    async def regress(
        self, request: regression_pb2.RegressionRequest, timeout_s: float | None
    ) -> regression_pb2.RegressionResponse:
        """Gives one value to each tf.Example."""
        spec = model_spec(request)
        answer = await self._predictor.regress(
            spec, serialized_examples(request.input), timeout_s=timeout_s
        )
        response = regression_pb2.RegressionResponse()
        fill_spec(response.model_spec, spec, answer.version, answer.signature_name)
        fill_regressions(response.result, answer)
        return response

    async def multi_inference(
        self, request: inference_pb2.MultiInferenceRequest, timeout_s: float | None
    ) -> inference_pb2.MultiInferenceResponse:
        """Runs several signatures on the same tf.Examples."""
        tasks = [
            Task(_spec(task.model_spec), task.method_name) for task in request.tasks
        ]
        answers = await multi_inference.run(
            self._predictor, tasks, serialized_examples(request.input), timeout_s
        )
        response = inference_pb2.MultiInferenceResponse()
        for task, answer in zip(tasks, answers, strict=True):
            result = response.results.add()
            name = answer.signature_name
            fill_spec(result.model_spec, task.spec, answer.version, name)
            if isinstance(answer, Classification):
                result.classification_result.SetInParent()
                fill_classifications(result.classification_result, answer)
            else:
                result.regression_result.SetInParent()
                fill_regressions(result.regression_result, answer)
        return response

    async def get_model_metadata(
        self,
        request: get_model_metadata_pb2.GetModelMetadataRequest,
        timeout_s: float | None,
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Tells a model's signatures."""
        del timeout_s  # Nothing is run.
        spec = model_spec(request)
        if not request.metadata_field:
            raise InvalidRequestError(
                "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise InvalidRequestError(f"Metadata field {field} is not supported")
        version, signatures = await self._predictor.signatures(spec)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = version
        definitions = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in signatures.items():
            definitions.signature_def[name].CopyFrom(signature_def(signature))
        response.metadata[_SIGNATURE_DEF].Pack(definitions)
        return response

    async def _inputs(
        self, spec: ModelSpec, request: predict_pb2.PredictRequest
    ) -> dict[str, np.ndarray]:
        inputs = {}
        for alias, proto in request.inputs.items():
            try:
                inputs[alias] = tensor_codec.decode(proto)
            except tensor_codec.TensorParseError as error:
                await self._refuse_what_comes_first(spec, request)
                raise InvalidRequestError(
                    f"tensor parsing error: {alias}: {error}"
                ) from error
        return inputs

    async def _refuse_what_comes_first(
        self, spec: ModelSpec, request: predict_pb2.PredictRequest
    ) -> None:
        """Raises for an unknown servable, signature or alias, as TF Serving does."""
        _, signatures = await self._predictor.signatures(spec)
        name = spec.signature_name or DEFAULT_SIGNATURE
        if name not in signatures:
            raise FailedPreconditionError(f'Serving signature key "{name}" not found.')
        check_aliases(signatures[name], list(request.inputs))


def model_spec(
    request: predict_pb2.PredictRequest
    | classification_pb2.ClassificationRequest
    | regression_pb2.RegressionRequest
    | get_model_metadata_pb2.GetModelMetadataRequest,
) -> ModelSpec:
    """Returns which servable and signature a request means.

    Raises:
        InvalidRequestError: It names none.
    """
    if not request.HasField("model_spec"):
        raise InvalidRequestError("Missing ModelSpec")
    if not request.model_spec.name:
        raise InvalidRequestError("ModelSpec has no name specified.")
    return _spec(request.model_spec)


def _spec(proto: model_pb2.ModelSpec) -> ModelSpec:
    choice = proto.WhichOneof("version_choice")
    return ModelSpec(
        name=proto.name,
        version=proto.version.value if choice == "version" else None,
        label=proto.version_label if choice == "version_label" else None,
        signature_name=proto.signature_name,
    )


def predict_response(
    spec: ModelSpec,
    outputs: Mapping[str, np.ndarray],
    version: int,
    signature_name: str,
    *,
    as_content: bool,
) -> predict_pb2.PredictResponse:
    """Returns the answer to a Predict request.

    Args:
        spec: What the request named.
        outputs: Those that it asked for, by alias.
        version: The version that answered.
        signature_name: The signature that answered.
        as_content: See `PredictionService`.

    Raises:
        UnimplementedError: An output cannot be sent.
    """
    response = predict_pb2.PredictResponse()
    fill_spec(response.model_spec, spec, version, signature_name)
    for alias, array in outputs.items():
        tensor_codec.encode_into(response.outputs[alias], array, as_content=as_content)
    return response


def signature_def(signature: SignatureInfo) -> meta_graph_pb2.SignatureDef:
    """Returns a signature as the proto that a SavedModel holds."""
    proto = meta_graph_pb2.SignatureDef(method_name=signature.method_name)
    for alias, info in signature.inputs.items():
        _fill_info(proto.inputs[alias], info)
    for alias, info in signature.outputs.items():
        _fill_info(proto.outputs[alias], info)
    for alias, array in signature.defaults.items():
        tensor_codec.encode_into(proto.defaults[alias], array)
    return proto


def _fill_info(proto: meta_graph_pb2.TensorInfo, info: TensorInfo) -> None:
    proto.name = info.name
    proto.dtype = types_pb2.DataType.Value(info.dtype_name)
    if info.shape is None:
        proto.tensor_shape.unknown_rank = True
        return
    proto.tensor_shape.SetInParent()
    for size in info.shape:
        proto.tensor_shape.dim.add(size=-1 if size is None else size)


def fill_classifications(
    proto: classification_pb2.ClassificationResult, answer: Classification
) -> None:
    """Puts an answer into a message that is empty."""
    for pairs in answer.results:
        classes = proto.classifications.add().classes
        for label, score in pairs:
            classes.add(label=label, score=score)


def fill_regressions(
    proto: regression_pb2.RegressionResult, answer: Regression
) -> None:
    """Puts an answer into a message that is empty."""
    for value in answer.values:
        proto.regressions.add(value=value)


def fill_spec(
    proto: model_pb2.ModelSpec, spec: ModelSpec, version: int, signature_name: str
) -> None:
    """Says in an answer which version and signature gave it."""
    proto.name = spec.name
    # The version that answered, which the client may have left open.
    proto.version.value = version
    proto.signature_name = signature_name
