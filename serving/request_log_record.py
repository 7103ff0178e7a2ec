"""Requests and answers as the PredictionLogs of a request log."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from savedmodels.protos import prediction_log_pb2
from serving import messages, prediction_service, tensor_codec
from serving.predictor import Classification, ModelSpec, Prediction, Regression


def of_messages(kind: str, request: Any, response: Any) -> Any:
    """Returns the record of a call over gRPC.

    Args:
        kind: The field of PredictionLog, as in `predict_log`.
        request: Its message.
        response: Likewise.
    """
    log = prediction_log_pb2.PredictionLog()
    both = getattr(log, kind)
    both.request.CopyFrom(request)
    both.response.CopyFrom(response)
    answered = response.results[0] if kind == "multi_inference_log" else response
    log.log_metadata.model_spec.CopyFrom(answered.model_spec)
    return log


def of_prediction(
    spec: ModelSpec,
    inputs: Mapping[str, np.ndarray],
    output_filter: Sequence[str],
    answer: Prediction,
) -> Any:
    """Returns the record of a call to Predict that came without messages."""
    log = prediction_log_pb2.PredictionLog()
    both = log.predict_log
    both.request.CopyFrom(messages.predict_request(spec, inputs, output_filter))
    for alias, array in answer.outputs.items():
        tensor_codec.encode_into(both.response.outputs[alias], array)
    return _with_specs(log, both, spec, answer)


def of_classification(
    spec: ModelSpec, examples: Sequence[bytes], answer: Classification
) -> Any:
    """Returns the record of a call to Classify that came without messages."""
    log = prediction_log_pb2.PredictionLog()
    both = log.classify_log
    both.request.CopyFrom(messages.classify_request(spec, examples))
    prediction_service.fill_classifications(both.response.result, answer)
    return _with_specs(log, both, spec, answer)


def of_regression(
    spec: ModelSpec, examples: Sequence[bytes], answer: Regression
) -> Any:
    """Returns the record of a call to Regress that came without messages."""
    log = prediction_log_pb2.PredictionLog()
    both = log.regress_log
    both.request.CopyFrom(messages.regress_request(spec, examples))
    prediction_service.fill_regressions(both.response.result, answer)
    return _with_specs(log, both, spec, answer)


def size(arrays: Mapping[str, np.ndarray]) -> int:
    """Returns about how many bytes arrays hold."""
    total = 0
    for array in arrays.values():
        total += array.nbytes
        if array.dtype == np.object_:
            total += sum(len(value) for value in array.flat)
    return total


def _with_specs(
    log: Any,
    both: Any,
    spec: ModelSpec,
    answer: Prediction | Classification | Regression,
) -> Any:
    prediction_service.fill_spec(
        both.response.model_spec, spec, answer.version, answer.signature_name
    )
    log.log_metadata.model_spec.CopyFrom(both.response.model_spec)
    return log
