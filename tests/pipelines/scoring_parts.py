"""Signatures by hand, models whose answers numpy gives, and TFRecords by TensorFlow."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from savedmodels import parity, protos, provenance
from serving.errors import InvalidRequestError
from serving.servable import SignatureInfo, TensorInfo

_NUMPY = {
    "string": ("DT_STRING", object),
    "uint8": ("DT_UINT8", np.uint8),
    "int8": ("DT_INT8", np.int8),
    "int32": ("DT_INT32", np.int32),
    "int64": ("DT_INT64", np.int64),
    "float32": ("DT_FLOAT", np.float32),
    "float64": ("DT_DOUBLE", np.float64),
    "bool": ("DT_BOOL", np.bool_),
}


def info(dtype: str, *shape: int | None) -> TensorInfo:
    """A tensor; axis 0 is the batch."""
    dtype_name, numpy_type = _NUMPY[dtype]
    return TensorInfo("x:0", np.dtype(numpy_type), shape, dtype_name)


def signature(
    inputs: Mapping[str, TensorInfo],
    outputs: Mapping[str, TensorInfo] | None = None,
    defaults: Mapping[str, np.ndarray] | None = None,
) -> SignatureInfo:
    """A signature; without `outputs` it gives y, float32 [batch]."""
    return SignatureInfo(
        inputs,
        outputs or {"y": info("float32", None)},
        "tensorflow/serving/predict",
        defaults or {},
    )


class Sum:
    """Gives y, the sum of `x` over all but axis 0; refuses rows that hold a 13."""

    def __init__(self) -> None:
        self.sizes: list[int] = []  # of the batches that it was asked for

    def run(
        self, signature_name: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        x = inputs["x"]
        self.sizes.append(len(x))
        if (x == 13).any():
            raise InvalidRequestError("13 is bad luck")
        return {"y": x.reshape(len(x), -1).sum(axis=1).astype(np.float32)}


def example(**features: Sequence[int] | Sequence[float] | Sequence[bytes]) -> bytes:
    """A serialized tf.Example; the kind of a feature follows its values."""
    message = protos.example_pb2.Example()
    for name, values in features.items():
        feature = message.features.feature[name.replace("__", "/")]
        if isinstance(values[0], bytes):
            feature.bytes_list.value.extend(values)
        elif isinstance(values[0], int):
            feature.int64_list.value.extend(values)
        else:
            feature.float_list.value.extend(values)
    return message.SerializeToString()


def write_tfrecord(path: pathlib.Path, records: Sequence[bytes]) -> pathlib.Path:
    """Writes records with TensorFlow, whose format it is."""
    tf = protos.import_tensorflow()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path


def scores_of(images: np.ndarray) -> np.ndarray:
    """What `light` and `encoded` compute, [n, 2]: the shares of dark and of light."""
    light = images.reshape(len(images), -1).mean(axis=1) / 255
    return np.stack([1 - light, light], axis=1)


def write_store(folder: pathlib.Path, names: Sequence[str]) -> pathlib.Path:
    """Writes models as version 3, with `model.tflite` where there are no strings.

    `light`: image uint8 [batch, 2, 3, 1] -> scores, class_id. `encoded`: the same from
    a PNG. `pair`: a, b float32 [batch] -> total [batch] = a + b, both [batch, 2].
    `length`: text string [batch] -> scores, class_id and label, by its tenths of 10
    bytes: `long` from 6 bytes on.
    """
    tf = protos.import_tensorflow()

    def answer(image: Any) -> dict[str, Any]:
        light = tf.reduce_mean(tf.cast(image, tf.float32), axis=[1, 2, 3]) / 255
        scores = tf.stack([1 - light, light], axis=1)
        return {"scores": scores, "class_id": tf.argmax(scores, axis=-1)}

    @tf.function(input_signature=[tf.TensorSpec([None, 2, 3, 1], tf.uint8, "image")])
    def light(image: Any) -> dict[str, Any]:
        return answer(image)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "encoded")])
    def encoded(encoded: Any) -> dict[str, Any]:
        def decode(png: Any) -> Any:
            return tf.ensure_shape(tf.io.decode_png(png, channels=1), [2, 3, 1])

        return answer(tf.map_fn(decode, encoded, fn_output_signature=tf.uint8))

    number = tf.TensorSpec([None], tf.float32)

    @tf.function(input_signature=[number, number])
    def pair(a: Any, b: Any) -> dict[str, Any]:
        return {"total": a + b, "both": tf.stack([a, b], axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def length(text: Any) -> dict[str, Any]:
        share = tf.minimum(tf.cast(tf.strings.length(text), tf.float32) / 10, 1)
        scores = tf.stack([1 - share, share], axis=1)
        class_id = tf.argmax(scores, axis=-1)
        label = tf.gather(tf.constant(["short", "long"]), class_id)
        return {"scores": scores, "class_id": class_id, "label": label}

    functions = {"light": light, "encoded": encoded, "pair": pair, "length": length}
    for name in names:
        _save(
            functions[name], folder / name / "3", with_litert=name in ("light", "pair")
        )
    return folder


def _save(function: Callable[..., Any], path: pathlib.Path, with_litert: bool) -> None:
    tf = protos.import_tensorflow()
    module = tf.Module()
    module.function = function
    tf.saved_model.save(module, str(path), signatures={"serving_default": function})
    if with_litert:
        loaded = tf.saved_model.load(str(path))
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [loaded.signatures["serving_default"]], loaded
        )
        model = converter.convert()
        (path / "model.tflite").write_bytes(model)
        record = parity.record(model, {"serving_default": 0.0}, {})
        provenance.write(path, {"check": {"litert": record}})
