"""The check before a version is published: a fresh process that answers from it.

`python -m savedmodels.verify VERSION_FOLDER CHECK_FOLDER` reloads the version without
Keras, and without anything else of the process that wrote it, and replays
`CHECK_FOLDER/answers.tfrecord`, the requests with the trained model's answers. Every
signature has to have their aliases and dtypes and a free batch axis, and has to give
the same answers for all rows at once and for the first row alone. Then the signatures
that LiteRT answers alike are written to `VERSION_FOLDER/model.tflite`.

What came out stands in `CHECK_FOLDER/report.json`; the exit code is 1 where the version
must not be published.
"""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from savedmodels import (
    compare,
    fresh_process,
    litert,
    parity,
    prediction_log,
    saved_model,
    stock_server,
    store,
)
from savedmodels.errors import ExportError, MaaskitError
from savedmodels.protos import types_pb2

Arrays = Mapping[str, np.ndarray]

# The trained model may have answered from a GPU, this process answers from the CPU: so
# the room is what the graph's narrowest float leaves, some hundred times its precision.
_TOLERANCES = {
    types_pb2.DT_BFLOAT16: compare.Tolerance(relative=5e-2, absolute=5e-2),
    types_pb2.DT_HALF: compare.Tolerance(relative=1e-2, absolute=1e-2),
}
_FLOAT32_TOLERANCE = compare.Tolerance(relative=1e-4, absolute=1e-5)


def main(argv: Sequence[str] | None = None) -> int:
    """Checks one version, as the module's docstring says.

    Returns:
        The exit code.
    """
    arguments = sys.argv[1:] if argv is None else argv
    version_path, check_path = map(pathlib.Path, arguments)
    # Whatever imports Keras from here on fails: a version has to load without it.
    sys.modules.update(dict.fromkeys(("keras", "tf_keras")))  # type: ignore[arg-type]
    try:
        report = verify(version_path, check_path / fresh_process.ANSWERS)
    except MaaskitError as error:
        report = {"error": str(error)}
    (check_path / fresh_process.REPORT).write_text(json.dumps(report, allow_nan=False))
    return 1 if "error" in report else 0


def verify(version_path: pathlib.Path, answers: pathlib.Path) -> dict[str, Any]:
    """Checks one version and writes its `model.tflite`.

    Args:
        version_path: Folder of the SavedModel.
        answers: TFRecords of PredictionLogs: one Predict call with its answer for each
            signature.

    Returns:
        JSON-able: `rows` and `max_difference` by signature, their `tolerance`, `litert`
        (see `savedmodels.parity`), and `ops_not_in_stock_server`.

    Raises:
        ExportError: The version does not load, or does not answer as it should.
    """
    meta_graph = saved_model.read(version_path)
    # Before the version is loaded: it registers ops of tensorflow_text.
    lacking = stock_server.lacks(saved_model.ops(meta_graph))
    tolerance = _tolerance(meta_graph)
    signatures = _load(version_path)
    definitions = saved_model.signature_defs(meta_graph)
    batches = {name: _batches(log) for name, log in _by_signature(answers).items()}
    differences = {}
    for name, (batch, first_row) in batches.items():
        _check_declared(name, definitions.get(name), batch)
        differences[name] = max(
            _difference(name, signatures[name], batch, tolerance),
            _difference(name, signatures[name], first_row, tolerance),
        )
    conversion = litert.convert(version_path, batches)
    if conversion.model is not None:
        (version_path / store.LITERT_MODEL).write_bytes(conversion.model)
    return {
        "rows": {name: batch.rows for name, (batch, _) in batches.items()},
        "max_difference": differences,
        "tolerance": dataclasses.asdict(tolerance),
        "litert": parity.record(
            conversion.model, conversion.differences, conversion.left_out
        ),
        "ops_not_in_stock_server": lacking,
    }


def _load(version_path: pathlib.Path) -> Mapping[str, Any]:
    """The signatures of the version, as functions."""
    try:
        loaded = tf.saved_model.load(str(version_path))
    except Exception as error:  # whatever stops it here would stop a server
        raise ExportError(
            f"The version does not load in a fresh process. Expected a SavedModel that "
            f"needs TensorFlow and tensorflow_text alone. "
            f"Received: {type(error).__name__}: {error}"
        ) from error
    signatures: Mapping[str, Any] = loaded.signatures
    return signatures


def _by_signature(answers: pathlib.Path) -> dict[str, Any]:
    """Signature name to its PredictLog."""
    logs = [log.predict_log for log in prediction_log.read(answers)]
    return {log.request.model_spec.signature_name: log for log in logs}


def _batches(log: Any) -> tuple[litert.Batch, litert.Batch]:
    """The request with its answer, and the first row of both."""
    inputs = prediction_log.arrays(log.request.inputs)
    outputs = prediction_log.arrays(log.response.outputs)
    return litert.Batch(inputs, outputs), litert.Batch(
        {alias: array[:1] for alias, array in inputs.items()},
        {alias: array[:1] for alias, array in outputs.items()},
    )


def _check_declared(name: str, definition: Any, batch: litert.Batch) -> None:
    """Holds what `saved_model.pb` declares against what the trained model has."""
    if definition is None:
        raise ExportError(
            f"Signature `{name}` is not in the version. Expected every signature of "
            f"the trained model. Received: none of that name."
        )
    _check_tensors(name, "inputs", definition.inputs, batch.inputs)
    _check_tensors(name, "outputs", definition.outputs, batch.outputs)


def _check_tensors(
    name: str, kind: str, declared: Mapping[str, Any], arrays: Arrays
) -> None:
    """Checks aliases, dtypes and batch axes of the inputs or the outputs."""
    found = {alias: tf.as_dtype(declared[alias].dtype) for alias in declared}
    wanted = {alias: tf.as_dtype(array.dtype) for alias, array in arrays.items()}
    if found != wanted:
        raise ExportError(
            f"Signature `{name}` has other {kind} in the version. "
            f"Expected {_named(wanted)}. Received: {_named(found)}."
        )
    for alias in found:
        sizes = [dim.size for dim in declared[alias].tensor_shape.dim]
        if sizes[:1] != [-1]:
            raise ExportError(
                f"Signature `{name}`: the batch axis of `{alias}` is fixed in the "
                f"version. Expected axis 0 to be free (-1). Received: {sizes}."
            )


def _difference(
    name: str, signature: Any, batch: litert.Batch, tolerance: compare.Tolerance
) -> float:
    """The largest difference between the version's answer and the trained model's."""
    tensors = {alias: tf.constant(array) for alias, array in batch.inputs.items()}
    try:
        answer = signature(**tensors)
    except tf.errors.OpError as error:
        raise ExportError(
            f"Signature `{name}` does not run for {batch.rows} rows in a fresh "
            f"process. Expected an answer. Received: {error.message}"
        ) from error
    received = {alias: tensor.numpy() for alias, tensor in answer.items()}
    try:
        return compare.max_difference(batch.outputs, received, tolerance)
    except ValueError as error:
        raise ExportError(
            f"Signature `{name}` answers otherwise in a fresh process. Expected the "
            f"trained model's answers. Received: for {batch.rows} rows, {error}."
        ) from error


def _tolerance(meta_graph: Any) -> compare.Tolerance:
    """The room that the narrowest float in the graph leaves."""
    dtypes = {
        value.type
        for node in saved_model.nodes(meta_graph)
        for value in node.attr.values()
    }
    for dtype, tolerance in _TOLERANCES.items():
        if dtype in dtypes:
            return tolerance
    return _FLOAT32_TOLERANCE


def _named(dtypes: Mapping[str, Any]) -> str:
    return ", ".join(f"`{alias}` {dtypes[alias].name}" for alias in sorted(dtypes))


if __name__ == "__main__":
    sys.exit(main())
