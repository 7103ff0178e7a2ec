"""Classify and Regress on top of Predict: which signatures serve them, what they mean.

A signature serves both by its aliases: `inputs` takes serialized tf.Examples; Classify
reads `classes` and `scores`, Regress reads `outputs`. The method name that TF 1 wrote
is not held against it, as TF Serving does by default. Texts are TF Serving's.
"""

from collections.abc import Mapping

import numpy as np

from serving import tensor_codec
from serving.errors import InvalidRequestError, ServingError
from serving.signatures import SignatureInfo

PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
INPUTS, CLASSES, SCORES, OUTPUTS = "inputs", "classes", "scores", "outputs"


def check_classify(signature: SignatureInfo) -> None:
    """Raises InvalidRequestError unless a signature can serve Classify."""
    _check_one_input(signature, "classification")
    count = len(signature.outputs)
    if count not in (1, 2):
        raise InvalidRequestError(f"Expected one or two output Tensors, found {count}")
    if not {CLASSES, SCORES} & set(signature.outputs):
        raise InvalidRequestError(
            "Expected classification signature outputs to contain at least one of "
            f'"{CLASSES}" or "{SCORES}". Signature was: {_shown(signature)}'
        )


def check_regress(signature: SignatureInfo) -> None:
    """Raises InvalidRequestError unless a signature can serve Regress."""
    _check_one_input(signature, "regression")
    count = len(signature.outputs)
    if count != 1:
        raise InvalidRequestError(f"Expected one output Tensor, found {count}")
    if OUTPUTS not in signature.outputs:
        raise InvalidRequestError(
            f"No regression outputs found in SignatureDef: {_shown(signature)}"
        )


def check_method_name(signature: SignatureInfo, method: str) -> None:
    """Holds the method name that a signature was exported with against it.

    Done only where `--enable_signature_method_name_check` asks for it: what TensorFlow
    2 exports is always meant for `PREDICT`.

    Args:
        signature: The signature.
        method: `PREDICT`, `CLASSIFY` or `REGRESS`: what is to be done with it.

    Raises:
        ServingError: It is not meant for that.
    """
    name = signature.method_name
    if method == PREDICT and name not in (PREDICT, CLASSIFY, REGRESS):
        raise ServingError(
            "Expected prediction signature method_name to be one of "
            f"{{{PREDICT}, {CLASSIFY}, {REGRESS}}}. Was: {name}"
        )
    if method in (CLASSIFY, REGRESS) and name != method:
        kind = "classification" if method == CLASSIFY else "regression"
        raise InvalidRequestError(
            f"Expected {kind} signature method_name to be {method}. Was: {name}"
        )


def classifications(
    outputs: Mapping[str, np.ndarray], num_examples: int
) -> list[list[tuple[str, float]]]:
    """Returns (label, score) pairs per example.

    Args:
        outputs: `classes` object [examples, classes] of bytes, or `scores` float32
            [examples, classes], or both.
        num_examples: How many examples went in.

    Raises:
        InvalidRequestError: An output is of another dtype or shape.
    """
    scores, classes = outputs.get(SCORES), outputs.get(CLASSES)
    if scores is not None:
        _check_output(SCORES, scores, np.float32, num_examples)
    if classes is not None:
        _check_output(CLASSES, classes, np.object_, num_examples)
    if scores is not None and classes is not None:
        if scores.shape[1] != classes.shape[1]:
            raise InvalidRequestError(
                "Tensors class and score should match in dim_size(1). "
                f"Got {classes.shape[1]} vs. {scores.shape[1]}"
            )
    either = scores if scores is not None else classes
    if either is None:
        return [[] for _ in range(num_examples)]
    width = either.shape[1]
    labels = [[""] * width] * num_examples if classes is None else _texts(classes)
    values = [[0.0] * width] * num_examples if scores is None else scores.tolist()
    return [list(zip(*row, strict=True)) for row in zip(labels, values, strict=True)]


def regressions(outputs: Mapping[str, np.ndarray], num_examples: int) -> list[float]:
    """Returns one value per example.

    Args:
        outputs: `outputs` float32 [examples] or [examples, 1].
        num_examples: How many examples went in.

    Raises:
        InvalidRequestError: The output is of another dtype or shape.
    """
    array = outputs[OUTPUTS]
    if not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
        raise InvalidRequestError(
            "Expected output Tensor shape to be either [batch_size] or "
            f"[batch_size, 1] but got {_shape(array)}"
        )
    _check_rows(array, num_examples)
    if array.dtype != np.float32:
        raise InvalidRequestError(
            "Expected output Tensor of DT_FLOAT.  "
            f"Got: {tensor_codec.dtype_name(array.dtype)}"
        )
    values: list[float] = array.reshape(-1).tolist()
    return values


def _check_one_input(signature: SignatureInfo, kind: str) -> None:
    if len(signature.inputs) != 1:
        raise InvalidRequestError("Expected one input Tensor.")
    if INPUTS not in signature.inputs:
        raise InvalidRequestError(
            f"No {kind} inputs found in SignatureDef: {_shown(signature)}"
        )


def _check_output(alias: str, array: np.ndarray, dtype: type, rows: int) -> None:
    if array.ndim != 2:
        raise InvalidRequestError(
            f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}"
        )
    if array.dtype != np.dtype(dtype):
        wanted = tensor_codec.dtype_name(np.dtype(dtype))
        raise InvalidRequestError(
            f"Expected {alias} Tensor of {wanted}. "
            f"Got: {tensor_codec.dtype_name(array.dtype)}"
        )
    _check_rows(array, rows)


def _check_rows(array: np.ndarray, rows: int) -> None:
    if len(array) != rows:
        raise InvalidRequestError(
            f"Input batch size did not match output batch size: {rows} vs. {len(array)}"
        )


def _texts(classes: np.ndarray) -> list[list[str]]:
    # A label that is no UTF-8 cannot be sent as the proto's string at all.
    return [[value.decode("utf-8", "replace") for value in row] for row in classes]


def _shape(array: np.ndarray) -> str:
    return "[" + ",".join(str(size) for size in array.shape) + "]"


def _shown(signature: SignatureInfo) -> str:
    return f"inputs {sorted(signature.inputs)}, outputs {sorted(signature.outputs)}"
