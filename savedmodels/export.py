"""Trained model to a version on disk, checked before anybody can see it.

    signatures -> saved aside -> reloaded in a fresh process, answers compared
    -> model.tflite where LiteRT answers alike -> warm-up requests and provenance added
    -> renamed to its number

Whatever goes wrong on the way, the store is as it was.
"""

import dataclasses
import logging
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from savedmodels import (
    fresh_process,
    held_out,
    prediction_log,
    signature,
    staging,
    warmup,
)
from savedmodels import provenance as provenance_file
from savedmodels.errors import ExportError
from savedmodels.signature import Signatures

logger = logging.getLogger(__name__)

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, slots=True)
class ExportedVersion:
    """A version that was checked and published.

    Attributes:
        path: `<store>/<model>/<version>`.
        version: Its number.
        max_difference: Signature to the largest difference between its answers and the
            trained model's.
        litert: Likewise, of the signatures that `model.tflite` carries.
        left_out: Signature to why `model.tflite` does not carry it.
    """

    path: pathlib.Path
    version: int
    max_difference: Mapping[str, float]
    litert: Mapping[str, float]
    left_out: Mapping[str, str]


def export(
    model: Any,
    signatures: Signatures,
    base_path: pathlib.Path,
    *,
    examples: Mapping[str, Arrays],
    provenance: Mapping[str, Any],
    version: int | None = None,
) -> ExportedVersion:
    """Writes a trained model as a new version.

    The version appears in one rename after a fresh process, which knows neither Keras
    nor the model's code, gave the same answers to `examples`: within 1e-4 of the value
    + 1e-5 for float32 (1e-2 where the graph computes in half, 5e-2 in bfloat16), and
    equal for everything that is no float.

    Args:
        model: Keras model or tf.Module. Its lookup tables are saved; of its variables
            those that the signatures read, so no optimizer's.
        signatures: As `signature.check` wants them.
        base_path: `<store>/<model name>`; made if missing.
        examples: Signature name to held-out requests, alias to array [rows, ...] with 2
            rows or more; strings are object arrays of bytes. They also become the
            warm-up requests.
        provenance: What `savedmodels.provenance.collect` returned.
        version: Positive number; None for one above the highest there is.

    Returns:
        The version. Its folder holds `saved_model.pb`, `variables/`, `assets/`,
        `assets.extra/`, and `model.tflite` where a signature allows.

    Raises:
        SignatureError: The signatures break the contract.
        ExportError: The version exists, could not be written, or failed its check.
    """
    specs = signature.check(signatures)
    if version is not None:
        staging.check_free(base_path, version)
    requests = held_out.requests(specs, examples)
    staging.check_writable(base_path, _weight_bytes(signatures))
    answers = held_out.answers(signatures, requests)
    logs = [
        prediction_log.predict(base_path.name, name, requests[name], answers[name])
        for name in specs
    ]
    with staging.as_export_error(base_path), staging.folder(base_path) as aside:
        written = aside / "version"
        _save(model, signatures, written)
        prediction_log.write(aside / fresh_process.ANSWERS, logs)
        report = fresh_process.check(written, aside)
        warmup.write(written, base_path.name, requests)
        provenance_file.write(written, {**provenance, "check": report})
        path = staging.publish(written, base_path, version)
    return _exported(path, report)


def _exported(path: pathlib.Path, report: Mapping[str, Any]) -> ExportedVersion:
    """What the caller gets to know, and the log what it may want to."""
    litert = report["litert"]
    for name, reason in litert["left_out"].items():
        logger.info("`%s` stays with TensorFlow on CPUs: it %s", name, reason)
    return ExportedVersion(
        path=path,
        version=int(path.name),
        max_difference=report["max_difference"],
        litert=litert["max_difference"],
        left_out=litert["left_out"],
    )


def _save(model: Any, signatures: Signatures, path: pathlib.Path) -> None:
    """Writes the SavedModel, with no more than the signatures need."""
    root = tf.Module()
    root.captured_variables = _variables(signatures)
    root.resources = list(_resources(model))
    tensorflow_logger = tf.get_logger()
    level = tensorflow_logger.level
    # It would tell the user of a folder that is gone a moment later.
    tensorflow_logger.setLevel(logging.WARNING)
    try:
        tf.saved_model.save(root, str(path), signatures=dict(signatures))
    except (AssertionError, ValueError) as error:
        # TensorFlow's answer to state that nobody holds: a table outside the model.
        raise ExportError(
            f"The signatures use state that cannot be saved. Expected every lookup "
            f"table to be an attribute of the model. Received: {error}"
        ) from error
    except tf.errors.OpError as error:
        raise OSError(error.message) from error
    finally:
        tensorflow_logger.setLevel(level)


def _variables(signatures: Signatures) -> list[Any]:
    """The variables that the signatures read, each once."""
    found = {}
    for function in signatures.values():
        for variable in function.get_concrete_function().variables:  # type: ignore[attr-defined]
            found[id(variable)] = variable
    return list(found.values())


def _resources(model: Any) -> Iterator[Any]:
    """The lookup tables and the like inside a model, at any depth."""
    for child in tf.train.TrackableView(model).descendants():
        if isinstance(child, tf.saved_model.experimental.TrackableResource):
            yield child


def _weight_bytes(signatures: Signatures) -> int:
    """Size of all variables."""
    return sum(
        (variable.shape.num_elements() or 0) * variable.dtype.size
        for variable in _variables(signatures)
    )
