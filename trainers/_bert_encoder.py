"""The encoder of tf-models-official, and weights of Hugging Face's layout."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from official.nlp.modeling import networks

from trainers._bert_start import Sizes, Start, wrong

_ACTIVATIONS = {
    "gelu": tf_keras.activations.gelu,  # the exact one: official's own default is not
    "gelu_tanh": lambda x: tf_keras.activations.gelu(x, approximate=True),
    "relu": tf_keras.activations.relu,
}
# Name in the encoder to name in the file; `#` is the number of the layer.
_NAMES = {
    "word_embeddings/embeddings": "embeddings.word_embeddings.weight",
    "position_embedding/embeddings": "embeddings.position_embeddings.weight",
    "type_embeddings/embeddings": "embeddings.token_type_embeddings.weight",
    "embeddings/layer_norm": "embeddings.LayerNorm",
    "self_attention/query": "encoder.layer.#.attention.self.query",
    "self_attention/key": "encoder.layer.#.attention.self.key",
    "self_attention/value": "encoder.layer.#.attention.self.value",
    "self_attention/attention_output": "encoder.layer.#.attention.output.dense",
    "self_attention_layer_norm": "encoder.layer.#.attention.output.LayerNorm",
    "intermediate": "encoder.layer.#.intermediate.dense",
    "output": "encoder.layer.#.output.dense",
    "output_layer_norm": "encoder.layer.#.output.LayerNorm",
    "pooler_transform": "pooler.dense",
}
_PARTS = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
# As TensorFlow 1 wrote them, and weights converted from it still are.
_OLD_PARTS = {"gamma": "gamma", "beta": "beta"}
_LAYER = re.compile(r"transformer/layer_(\d+)/")


class SentenceEncoder(tf_keras.layers.Layer):
    """BERT, and the mean of its last states over the tokens of each text.

    Attributes:
        encoder: Its layers; random until `load`.
    """

    def __init__(self, sizes: Sizes, padding: int, dropout: float, name: str) -> None:
        """Makes the layers.

        Args:
            sizes: Of the encoder.
            padding: Token id that does not count.
            dropout: Share of numbers dropped after each part of a layer, in training.
            name: Of this layer.
        """
        super().__init__(name=name)
        self._made_of = {
            "sizes": dataclasses.asdict(sizes),
            "padding": padding,
            "dropout": dropout,
        }
        self._padding = padding
        self.encoder = networks.BertEncoderV2(
            vocab_size=sizes.vocabulary,
            hidden_size=sizes.hidden_units,
            num_layers=sizes.layers,
            num_attention_heads=sizes.heads,
            inner_dim=sizes.inner_units,
            inner_activation=_ACTIVATIONS[sizes.activation],
            max_sequence_length=sizes.positions,
            type_vocab_size=sizes.segments,
            output_dropout=dropout,
            attention_dropout=dropout,
            name="encoder",
        )
        # The mean takes its place, and it would get no gradient.
        self.encoder.pooler_layer.trainable = False

    def get_config(self) -> dict[str, Any]:
        """Returns what it was made of, for TensorBoard's graph."""
        return {**super().get_config(), **self._made_of}

    def call(self, token_ids: tf.Tensor) -> tf.Tensor:
        """Returns [batch, hidden] for token ids [batch, tokens], one or more each."""
        is_token = token_ids != self._padding
        states = self.encoder(
            {
                "input_word_ids": token_ids,
                "input_mask": tf.cast(is_token, tf.int32),
                "input_type_ids": tf.zeros_like(token_ids),
            }
        )["sequence_output"]
        counts = tf.cast(is_token, states.dtype)[..., tf.newaxis]
        return tf.reduce_sum(states * counts, axis=1) / tf.reduce_sum(counts, axis=1)


def load(encoder: networks.BertEncoderV2, start: Start) -> None:
    """Puts weights into an encoder of their sizes.

    Args:
        encoder: Of a `SentenceEncoder` that was called, so that it has its variables.
        start: With weights. A pooler may be missing: few models of today use it.

    Raises:
        UsageError: A tensor is missing, or has another shape. The encoder is as it
            was.
    """
    tensors = start.tensors()
    values = []
    for variable in encoder.weights:
        name = variable.name.rpartition("encoder/")[2].removesuffix(":0")
        value = _value(name, tuple(variable.shape), tensors, start.name)
        values.append((variable, value))
    for variable, value in values:
        if value is not None:
            variable.assign(value)


def _value(
    name: str, shape: tuple[int, ...], tensors: dict[str, np.ndarray], start: str
) -> np.ndarray | None:
    """The value of one variable; None for a pooler that is not there."""
    wanted = _name_of(name, tensors)
    if wanted not in tensors:
        if wanted.startswith("pooler."):
            return None
        expected = f"a tensor `{wanted}` in `model.safetensors`"
        raise wrong(start, expected, f"{len(tensors)} tensors without it")
    tensor = tensors[wanted]
    stored, change = _layout(name, shape)
    if tensor.shape != stored:
        expected = f"the shape {list(stored)} of `{wanted}`, as `config.json` has it"
        raise wrong(start, expected, str(list(tensor.shape)))
    return change(tensor)


def _name_of(name: str, tensors: dict[str, np.ndarray]) -> str:
    """The name in the file of the variable `name`."""
    layer = _LAYER.match(name)
    name = _LAYER.sub("", name)
    if name not in _NAMES:  # those with a kernel and a bias
        name, _, part = name.rpartition("/")
        found = f"{_NAMES[name]}.{_PARTS[part]}"
        old = f"{_NAMES[name]}.{_OLD_PARTS.get(part, part)}"
    else:
        found = old = _NAMES[name]
    if layer:
        found, old = (each.replace("#", layer[1]) for each in (found, old))
    return old if old in tensors and found not in tensors else found


def _layout(
    name: str, shape: tuple[int, ...]
) -> tuple[tuple[int, ...], Callable[[np.ndarray], np.ndarray]]:
    """The shape in the file of a variable, and how it is brought into its own.

    The file has matrices as [out, in], and all heads side by side.
    """
    if name.endswith("attention_output/kernel"):
        heads, size, out = shape
        return (out, heads * size), lambda tensor: tensor.T.reshape(shape)
    if name.endswith("kernel"):
        into, *out = shape
        return (int(np.prod(out)), into), lambda tensor: tensor.T.reshape(shape)
    if "self_attention/" in name and len(shape) == 2:  # biases by head
        return (shape[0] * shape[1],), lambda tensor: tensor.reshape(shape)
    return shape, lambda tensor: tensor
