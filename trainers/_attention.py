"""A decoder that looks back at every token of the source, and the search that uses it.

Bahdanau, Cho and Bengio 2015, "Neural Machine Translation by Jointly Learning to Align
and Translate", ICLR, with an LSTM in the place of the gated unit.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from trainers._token_ids import END, PADDING, START, UNKNOWN


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
        dropout: Share of features dropped before the logits, in training.
        seed: Seed of that.
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
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        layers = keras.layers
        self.embedding = layers.Embedding(vocabulary_size, embedding_units)
        self.first_state = layers.Dense(2 * units, activation="tanh")
        self.key = layers.Dense(attention_units)
        self.query = layers.Dense(attention_units, use_bias=False)
        self.energy = layers.Dense(1, use_bias=False)
        self.cell = layers.LSTMCell(units)
        self.readout = layers.Dense(units, activation="tanh")
        self.drop = layers.Dropout(dropout, seed=seed)
        # float32 in mixed precision too: the softmax needs the digits.
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
        states, contexts, _ = self.run(target_ids, self.source(memory, source_ids))
        return self._read(states, contexts, self.embedding(target_ids), training)

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
        states = self.start(source)
        nothing = (states, tf.zeros_like(source.memory[:, 0]), source.mask)
        outputs = tf.scan(
            lambda before, embedded: self.step(embedded, before[0], source),
            tf.transpose(self.embedding(target_ids), [1, 0, 2]),
            nothing,
        )
        by_row = (outputs[0][0], outputs[1], outputs[2])
        return tuple(tf.transpose(output, [1, 0, 2]) for output in by_row)

    def next_logits(
        self, token_ids: tf.Tensor, states: list[tf.Tensor], source: Source
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Returns logits [batch, vocabulary_size] after tokens [batch], and states."""
        embedded = self.embedding(token_ids)
        states, context, _ = self.step(embedded, states, source)
        return self._read(states[0], context, embedded, training=False), states

    def _read(
        self,
        states: tf.Tensor,
        contexts: tf.Tensor,
        embedded: tf.Tensor,
        training: bool,
    ) -> tf.Tensor:
        features = tf.concat([states, contexts, embedded], axis=-1)
        return self.logits(self.drop(self.readout(features), training=training))


def search(
    decoder: AttentionDecoder, source: Source, width: int, tokens: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Looks for the most likely targets.

    Of each row, the best `width` beginnings are kept from token to token, by the mean
    log-probability of their tokens; so ends compete with what goes on at any length. It
    stops when all that are kept have ended. Width 1 is greedy.

    Args:
        decoder: Gives the probabilities.
        source: [batch] of what is translated.
        width: Beginnings kept, 1 or more.
        tokens: The most tokens of a target, its end among them; the last is an end.

    Returns:
        target_ids [batch, tokens] int32 of the best, with its end, then padding; and
        the mean log-probability [batch] float32 of its tokens, nats.
    """
    batch = tf.shape(source.mask)[0]
    wide = Source(*(tf.repeat(tensor, width, axis=0) for tensor in source))
    never = _never(decoder.logits.units)
    only_padding, only_end = (
        tf.where(tf.range(decoder.logits.units) == id, 0.0, -math.inf)
        for id in (PADDING, END)
    )

    def flat(tensor: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tensor, [batch * width, *tensor.shape[2:]])

    def by_row(tensor: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tensor, [batch, width, *tensor.shape[1:]])

    def go_on(place, target_ids, totals, lengths, last, states):  # noqa: ANN001, ANN202
        logits, states = decoder.next_logits(flat(last), list(map(flat, states)), wide)
        gains = by_row(tf.nn.log_softmax(logits + never))
        gains += tf.where(place == tokens - 1, only_end, 0.0)
        ended = (last == END) | (last == PADDING)
        gains = tf.where(ended[..., tf.newaxis], only_padding, gains)
        lengths += tf.where(ended, 0.0, 1.0)
        totals = totals[..., tf.newaxis] + gains
        means = tf.reshape(totals / lengths[..., tf.newaxis], [batch, -1])
        chosen = tf.math.top_k(means, width).indices
        parent = chosen // decoder.logits.units
        last = chosen % decoder.logits.units
        totals = tf.gather(tf.reshape(totals, [batch, -1]), chosen, batch_dims=1)
        target_ids, lengths, *states = (
            tf.gather(tensor, parent, batch_dims=1)
            for tensor in (target_ids, lengths, *map(by_row, states))
        )
        here = tf.range(tokens) == place
        target_ids = tf.where(here, last[..., tf.newaxis], target_ids)
        return place + 1, target_ids, totals, lengths, last, states

    def unfinished(place, target_ids, totals, lengths, last, states):  # noqa: ANN001, ANN202
        del target_ids, totals, lengths, states
        return (place < tokens) & tf.reduce_any((last != END) & (last != PADDING))

    # All but the first beginning are impossible, else `width` times the same is kept.
    first = tf.where(tf.range(width) == 0, 0.0, -math.inf)
    _, target_ids, totals, lengths, _, _ = tf.while_loop(
        unfinished,
        go_on,
        [
            0,
            tf.fill([batch, width, tokens], PADDING),
            tf.tile(first[tf.newaxis], [batch, 1]),
            tf.zeros([batch, width]),
            tf.fill([batch, width], START),
            list(map(by_row, decoder.start(wide))),
        ],
        shape_invariants=[
            tf.TensorShape(shape)
            for shape in ([], [None, width, tokens], *3 * ([None, width],))
        ]
        + [2 * [tf.TensorShape([None, width, decoder.cell.units])]],
    )
    # The best comes first. Where there are no rows, no token was looked for.
    return target_ids[:, 0], totals[:, 0] / tf.maximum(lengths[:, 0], 1)


def _never(size: int) -> tf.Tensor:
    """Minus infinity for the ids that no target has, else 0; [size] float32."""
    ids = tf.range(size)
    wrong = (ids == PADDING) | (ids == START) | (ids == UNKNOWN)
    return tf.where(wrong, -math.inf, 0.0)
