"""Held-out requests of a trained model, and its own answers to them.

Both go to the check before publishing; the requests become the warm-up requests too.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from savedmodels.errors import ExportError
from savedmodels.signature import Signatures, SignatureSpec

Arrays = Mapping[str, np.ndarray]


def requests(
    specs: Mapping[str, SignatureSpec], examples: Mapping[str, Arrays]
) -> dict[str, dict[str, np.ndarray]]:
    """Returns the examples as requests: checked, in the signatures' order of aliases.

    Args:
        specs: Signature name to what it takes and returns.
        examples: Signature name to alias to array [rows, ...], 2 rows or more.

    Raises:
        ExportError: They do not fit the signatures.
    """
    unknown = sorted(set(examples) - set(specs))
    if unknown:
        raise ExportError(
            f"There are examples for `{unknown[0]}`, which is no signature. "
            f"Expected: {', '.join(specs)}. Received: {', '.join(examples)}."
        )
    return {name: _request(name, spec, examples) for name, spec in specs.items()}


def answers(
    signatures: Signatures, requests: Mapping[str, Arrays]
) -> dict[str, dict[str, np.ndarray]]:
    """Returns the trained model's answer to the request of each signature.

    Args:
        signatures: Signature name to `tf.function`.
        requests: What `requests` returned.

    Returns:
        Signature name to alias to array; strings are object arrays of bytes.

    Raises:
        ExportError: A signature does not run, or answers NaN.
    """
    # TensorFloat-32 keeps 10 bits of a GPU's products: too few to compare with a CPU's.
    tensor_float_32 = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        return {
            name: _answer(name, signatures[name], request)
            for name, request in requests.items()
        }
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(tensor_float_32)


def _request(
    name: str, spec: SignatureSpec, examples: Mapping[str, Arrays]
) -> dict[str, np.ndarray]:
    """The examples of one signature, in its order and dtypes."""
    given = examples.get(name, {})
    if set(given) != set(spec.inputs):
        raise ExportError(
            f"The examples for signature `{name}` do not fit. "
            f"Expected the aliases {sorted(spec.inputs)}. Received: {sorted(given)}."
        )
    request = {}
    for alias, tensor in spec.inputs.items():
        array = np.asarray(given[alias])
        dtype = np.dtype(tensor.dtype.as_numpy_dtype)
        if dtype != np.object_ and array.dtype != dtype:
            raise ExportError(
                f"The examples for signature `{name}` do not fit: `{alias}` has "
                f"another dtype. Expected {dtype}. Received: {array.dtype}."
            )
        if not tensor.shape.is_compatible_with(array.shape):
            raise ExportError(
                f"The examples for signature `{name}` do not fit: `{alias}` has "
                f"another shape. Expected {tensor.shape}. Received: {array.shape}."
            )
        request[alias] = array.astype(dtype, copy=False)
    rows = {len(array) for array in request.values()}
    if len(rows) != 1 or min(rows) < 2:
        raise ExportError(
            f"The examples for signature `{name}` do not fit. Expected 2 rows or more, "
            f"the same for every alias. Received: {sorted(rows)} rows."
        )
    return request


def _answer(name: str, function: Any, request: Arrays) -> dict[str, np.ndarray]:
    """The trained model's own answer."""
    try:
        outputs = function(*(tf.constant(array) for array in request.values()))
    except tf.errors.OpError as error:
        raise ExportError(
            f"Signature `{name}` does not run on its examples. Expected an answer. "
            f"Received: {error.message}"
        ) from error
    answer = {alias: tensor.numpy() for alias, tensor in outputs.items()}
    for alias, array in answer.items():
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise ExportError(
                f"Signature `{name}` answers NaN in `{alias}`. Expected numbers on "
                f"held-out examples. Received: {int(np.isnan(array).sum())} NaN in "
                f"{array.size} values. The training probably diverged."
            )
    return answer
