"""A tiny classifier with two signatures, and its export."""

import io

import numpy as np
import PIL.Image
import tensorflow as tf

from savedmodels.export import export
from savedmodels.signature import parse_encoded_images

SHAPE = (4, 4, 1)


WEIGHTS = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)


NAMES = np.array([b"low", b"middle", b"high"], object)


IMAGES = np.random.default_rng(1).integers(0, 256, (8, *SHAPE), dtype=np.uint8)


class Classifier(tf.Module):
    """One dense layer on 4 x 4 grey images, with a table from class to name."""

    def __init__(self):
        super().__init__(name="classifier")
        self.weights = tf.Variable(WEIGHTS)
        self.unused = tf.Variable(tf.zeros([1000, 1000]))  # as an optimizer's would be
        self.names = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.range(3, dtype=tf.int64), tf.constant(NAMES)
            ),
            default_value="",
        )

    def scores(self, image):
        flat = tf.reshape(tf.cast(image, tf.float32) / 255.0, [-1, 16])
        return tf.nn.softmax(flat @ self.weights)

    @tf.function(input_signature=[tf.TensorSpec([None, *SHAPE], tf.uint8, "image")])
    def predict(self, image):
        scores = self.scores(image)
        return {"scores": scores, "class_id": tf.argmax(scores, axis=-1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def classify(self, inputs):
        scores = self.predict(parse_encoded_images(inputs, SHAPE))["scores"]
        ranks = tf.repeat(tf.range(3, dtype=tf.int64)[tf.newaxis], len(scores), axis=0)
        return {"scores": scores, "classes": self.names.lookup(ranks)}

    def signatures(self):
        return {"serving_default": self.predict, "classify": self.classify}


def serialized(images):
    """tf.Examples of PNG images, as a client would make them."""
    examples = np.empty(len(images), object)
    for row, image in enumerate(images):
        png = io.BytesIO()
        PIL.Image.fromarray(image[..., 0]).save(png, "PNG")
        feature = tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[png.getvalue()])
        )
        features = tf.train.Features(feature={"image/encoded": feature})
        examples[row] = tf.train.Example(features=features).SerializeToString()
    return examples


EXAMPLES = {
    "serving_default": {"image": IMAGES},
    "classify": {"inputs": serialized(IMAGES)},
}


FACTS = {"config": {"epochs": 2, "filters": (4, 8)}, "metrics": {"accuracy": 0.5}}


def run_export(base_path, model=None, **overrides):
    model = model or Classifier()
    arguments = {
        "signatures": overrides.get("signatures") or model.signatures(),
        "base_path": base_path,
        "examples": EXAMPLES,
        "provenance": FACTS,
    }
    return export(model, **(arguments | overrides))


def names(folder):
    return sorted(path.name for path in folder.iterdir())
