"""A version's `model.tflite`: the signatures that LiteRT answers as TensorFlow does.

On CPUs LiteRT runs float32 graphs several times faster than TensorFlow. TF Serving
looks for the same file in the same place.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from savedmodels import compare

# Held-out examples may differ by this much, so that nobody need know who answered.
TOLERANCE = compare.Tolerance(relative=1e-5, absolute=1e-5)

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """A request and its right answer, alias to array [rows, ...]."""

    inputs: Arrays
    outputs: Arrays

    @property
    def rows(self) -> int:
        """How many instances the request carries."""
        return len(next(iter(self.inputs.values())))


@dataclasses.dataclass(frozen=True, slots=True)
class Conversion:
    """What became of the signatures.

    Attributes:
        model: Content of `model.tflite`; None where no signature converts.
        differences: Signature to its largest difference from the right answers.
        left_out: Signature to why it is not in the model.
    """

    model: bytes | None
    differences: Mapping[str, float]
    left_out: Mapping[str, str]


def convert(
    version_path: pathlib.Path, batches: Mapping[str, Sequence[Batch]]
) -> Conversion:
    """Converts the signatures whose answers stay right.

    Args:
        version_path: Folder of the SavedModel.
        batches: Signature name to requests of different numbers of rows.
    """
    models: dict[str, bytes] = {}
    differences: dict[str, float] = {}
    left_out: dict[str, str] = {}
    for name, requests in batches.items():
        try:
            _refuse_strings(requests)
            models[name] = _convert(version_path, [name])
            differences[name] = _check(models[name], name, requests)
        except _NotConvertibleError as error:
            left_out[name] = str(error)
    names = list(differences)
    if not names:
        return Conversion(None, {}, left_out)
    if len(names) == 1:
        return Conversion(models[names[0]], differences, left_out)
    try:
        model = _convert(version_path, names)
        differences = {name: _check(model, name, batches[name]) for name in names}
    except _NotConvertibleError as error:
        reason = f"converts on its own, but not beside the others: {error}"
        return Conversion(None, {}, left_out | dict.fromkeys(names, reason))
    return Conversion(model, differences, left_out)


def convert_unchecked(version_path: pathlib.Path, names: Sequence[str]) -> bytes | None:
    """Converts those signatures that convert, whatever their model answers then.

    Args:
        version_path: Folder of the SavedModel.
        names: The signatures to try.

    Returns:
        Content of a `model.tflite`; None where none converts.
    """
    try:
        return _convert(version_path, names)
    except _NotConvertibleError:
        alone = _alone(version_path, names) if len(names) > 1 else []
    with contextlib.suppress(_NotConvertibleError):
        return _convert(version_path, alone) if alone else None
    return None


def _alone(version_path: pathlib.Path, names: Sequence[str]) -> list[str]:
    """Those signatures that convert without the others."""
    found = []
    for name in names:
        with contextlib.suppress(_NotConvertibleError):
            _convert(version_path, [name])
            found.append(name)
    return found


class _NotConvertibleError(Exception):
    """Why a signature stays with TensorFlow."""


def _refuse_strings(batches: Sequence[Batch]) -> None:
    """LiteRT has hardly an op for strings: not worth a try that takes seconds."""
    for batch in batches:
        for array in (*batch.inputs.values(), *batch.outputs.values()):
            if array.dtype == np.object_:
                raise _NotConvertibleError("takes or returns strings")


def _convert(version_path: pathlib.Path, names: Sequence[str]) -> bytes:
    """The LiteRT model of some signatures."""
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(version_path), signature_keys=list(names)
    )
    try:
        model: bytes = converter.convert()
    except Exception as error:  # the converter's own errors have no common base
        first_line = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise _NotConvertibleError(f"does not convert: {first_line[0]}") from error
    return model


def _check(model: bytes, name: str, batches: Sequence[Batch]) -> float:
    """The largest difference from the right answers."""
    worst = 0.0
    for batch in batches:
        try:
            runner = Interpreter(model_content=model).get_signature_runner(name)
            received = runner(**batch.inputs)
        except (RuntimeError, ValueError) as error:
            raise _NotConvertibleError(f"does not run: {error}") from error
        try:
            difference = compare.max_difference(batch.outputs, received, TOLERANCE)
        except ValueError as error:
            raise _NotConvertibleError(f"answers otherwise: {error}") from error
        worst = max(worst, difference)
    return worst
