"""A decoder that looks back at every token of the source.

Bahdanau, Cho and Bengio 2015, "Neural Machine Translation by Jointly Learning to Align
and Translate", ICLR, with an LSTM in the place of the gated unit.
"""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from trainers._token_ids import PADDING


class Source(NamedTuple):
    """What the decoder looks back at.

    Attributes:
        memory: States of the encoder [batch, source, units].
        keys: What the attention compares [batch, source, attention_units].
        mask: 1 for tokens, 0 for padding [batch, source].
    """

    memory: tf.Tensor
    keys: tf.Tensor
    mask: tf.Tensor


class AttentionDecoder(keras.layers.Layer):
    """Gives, for each target token, the logits of the one after it.

    Args:
        vocabulary_size: Target tokens there are.
        embedding_units: Numbers that stand for a token.
        units: Numbers in the state.
        attention_units: Numbers that state and source are compared in.
        dropout: Share of features dropped before the logits, in training; where the
            weights are tied, after the embedding too.
        seed: Seed of that.
        tied: Whether a token's logit is the product with its embedding, which then is
            the only matrix of the vocabulary's size. Source: Press and Wolf 2017,
            "Using the Output Embedding to Improve Language Models", EACL.
    """

    supports_masking = True

    def __init__(
        self,
        vocabulary_size: int,
        embedding_units: int,
        units: int,
        attention_units: int,
        dropout: float,
        seed: int,
        *,
        tied: bool = False,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        layers = keras.layers
        self.vocabulary_size = vocabulary_size
        self.tied = tied
        # float32 in mixed precision too: the softmax needs the digits.
        self.embedding = layers.ReversibleEmbedding(
            vocabulary_size, embedding_units, reverse_dtype="float32"
        )
        self.first_state = layers.Dense(2 * units, activation="tanh")
        self.key = layers.Dense(attention_units)
        self.query = layers.Dense(attention_units, use_bias=False)
        self.energy = layers.Dense(1, use_bias=False)
        self.cell = layers.LSTMCell(units)
        read_units = embedding_units if tied else units
        self.readout = layers.Dense(read_units, activation="tanh")
        self.drop = layers.Dropout(dropout, seed=seed)
        if not tied:
            self.logits = layers.Dense(vocabulary_size, dtype="float32")

    def build(self, input_shape: Sequence[tuple]) -> None:
        """Makes the weights.

        Args:
            input_shape: Those of `call`'s three inputs.
        """
        memory = input_shape[1][-1]
        embedded, units = self.embedding.output_dim, self.cell.units
        self.embedding.build((None, None))
        self.first_state.build((None, memory))
        self.key.build((None, None, memory))
        self.query.build((None, units))
        self.energy.build((None, None, self.key.units))
        self.cell.build((None, embedded + memory))
        self.readout.build((None, None, units + memory + embedded))
        if not self.tied:
            self.logits.build((None, None, units))

    def call(
        self, inputs: tuple[tf.Tensor, tf.Tensor, tf.Tensor], training: bool = False
    ) -> tf.Tensor:
        """Runs over whole targets: teacher forcing.

        Args:
            inputs: target_ids [batch, target], `START` first; memory [batch, source,
                units]; source_ids [batch, source], whose padding is not looked at.
            training: Whether dropout drops.

        Returns:
            Logits [batch, target, vocabulary_size] float32.
        """
        target_ids, memory, source_ids = inputs
        embedded = self.embedding(target_ids)
        if self.tied:
            embedded = self.drop(embedded, training=training)
        states, contexts, _ = self._run(embedded, self.source(memory, source_ids))
        return self._read(states, contexts, embedded, training)

    def compute_mask(self, inputs: object, previous_mask: object = None) -> None:
        """Returns nothing: the loss has weights."""

    def source(self, memory: tf.Tensor, source_ids: tf.Tensor) -> Source:
        """Returns what is the same for all steps."""
        mask = tf.cast(source_ids != PADDING, self.compute_dtype)
        return Source(memory, self.key(memory), mask)

    def start(self, source: Source) -> list[tf.Tensor]:
        """Returns the states [batch, units] before the first token."""
        # The first state of the backward encoder has read everything, and so has the
        # last of the forward one; the mean of all is simpler, and as good.
        words = tf.reduce_sum(source.mask, axis=1, keepdims=True)
        total = tf.einsum("bs,bsm->bm", source.mask, source.memory)
        first = self.first_state(total / tf.maximum(words, 1))
        return tf.split(first, 2, axis=-1)

    def step(
        self, embedded: tf.Tensor, states: list[tf.Tensor], source: Source
    ) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        """Goes on by one token.

        Args:
            embedded: The token [batch, embedding_units].
            states: Before it, two of [batch, units].
            source: What it looks back at.

        Returns:
            States after it; the context [batch, units], which is the mean of the memory
            by attention; the attention [batch, source], which sums to 1 unless there
            are no tokens.
        """
        compared = tf.tanh(source.keys + self.query(states[0])[:, tf.newaxis])
        energies = self.energy(compared)[..., 0]
        hidden = (1 - source.mask) * (1e4 if energies.dtype == tf.float16 else 1e9)
        attention = tf.nn.softmax(energies - hidden) * source.mask
        context = tf.einsum("bs,bsm->bm", attention, source.memory)
        _, states = self.cell(tf.concat([embedded, context], axis=-1), states)
        return states, context, attention

    def run(
        self, target_ids: tf.Tensor, source: Source
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Runs over whole targets.

        Returns:
            States [batch, target, units], contexts [batch, target, units] and attention
            [batch, target, source].
        """
        return self._run(self.embedding(target_ids), source)

    def next_logits(
        self, token_ids: tf.Tensor, states: list[tf.Tensor], source: Source
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Returns logits [batch, vocabulary_size] after tokens [batch], and states."""
        embedded = self.embedding(token_ids)
        states, context, _ = self.step(embedded, states, source)
        return self._read(states[0], context, embedded, training=False), states

    def _run(
        self, embedded: tf.Tensor, source: Source
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        states = self.start(source)
        nothing = (states, tf.zeros_like(source.memory[:, 0]), source.mask)
        outputs = tf.scan(
            lambda before, token: self.step(token, before[0], source),
            tf.transpose(embedded, [1, 0, 2]),
            nothing,
        )
        by_row = (outputs[0][0], outputs[1], outputs[2])
        return tuple(tf.transpose(output, [1, 0, 2]) for output in by_row)

    def _read(
        self,
        states: tf.Tensor,
        contexts: tf.Tensor,
        embedded: tf.Tensor,
        training: bool,
    ) -> tf.Tensor:
        features = tf.concat([states, contexts, embedded], axis=-1)
        read = self.drop(self.readout(features), training=training)
        return self.embedding(read, reverse=True) if self.tied else self.logits(read)
