"""Versions that LiteRT answers, as an export leaves them."""

import pathlib
from typing import Any

from savedmodels import parity, provenance


def add_litert(tf: Any, path: pathlib.Path, name: str = "serving_default") -> None:
    """Adds what an export adds to a version: `model.tflite`, and that it was compared.

    Args:
        tf: The real TensorFlow.
        path: Folder of the version.
        name: The signature to convert.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(path), signature_keys=[name]
    )
    model = converter.convert()
    (path / "model.tflite").write_bytes(model)
    record = parity.record(model, {name: 0.0}, {})
    provenance.write(path, {"check": {"litert": record}})
