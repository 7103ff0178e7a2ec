"""Requests on disk: TFRecords of `PredictionLog`, TF Serving's own format for them.

The same records are the warm-up requests inside a version and, with answers, what the
export check replays. Needs TensorFlow, which every caller here has loaded anyway.
"""

import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from savedmodels.protos import example_pb2, prediction_log_pb2

Arrays = Mapping[str, np.ndarray]


def predict(model: str, signature_name: str, inputs: Arrays, outputs: Arrays) -> Any:
    """Returns the PredictionLog of one Predict call.

    Args:
        model: Model name.
        signature_name: Signature.
        inputs: Alias to array; strings are object arrays of bytes.
        outputs: Likewise; empty where there is no answer to keep.
    """
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = model
    request.model_spec.signature_name = signature_name
    for alias, array in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(array))
    for alias, array in outputs.items():
        log.predict_log.response.outputs[alias].CopyFrom(tf.make_tensor_proto(array))
    return log


def classify(model: str, signature_name: str, examples: Iterable[bytes]) -> Any:
    """Returns the PredictionLog of one Classify call.

    Args:
        model: Model name.
        signature_name: Signature.
        examples: Serialized tf.Examples.
    """
    log = prediction_log_pb2.PredictionLog()
    _fill(log.classify_log.request, model, signature_name, examples)
    return log


def regress(model: str, signature_name: str, examples: Iterable[bytes]) -> Any:
    """Returns the PredictionLog of one Regress call; arguments as for `classify`."""
    log = prediction_log_pb2.PredictionLog()
    _fill(log.regress_log.request, model, signature_name, examples)
    return log


def write(path: pathlib.Path, logs: Iterable[Any]) -> None:
    """Writes PredictionLogs as TFRecords.

    Raises:
        OSError: The file could not be written.
    """
    try:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for log in logs:
                writer.write(log.SerializeToString())
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


def read(path: pathlib.Path) -> list[Any]:
    """Returns the PredictionLogs of a file that `write` wrote."""
    records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    return [prediction_log_pb2.PredictionLog.FromString(record) for record in records]


def arrays(tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns a map of TensorProtos as arrays; strings are object arrays of bytes."""
    return {alias: tf.make_ndarray(tensors[alias]) for alias in tensors}


def _fill(request: Any, model: str, signature_name: str, data: Iterable[bytes]) -> None:
    request.model_spec.name = model
    request.model_spec.signature_name = signature_name
    request.input.example_list.examples.extend(
        example_pb2.Example.FromString(item) for item in data
    )
