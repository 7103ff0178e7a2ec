"""From texts to token ids and back to one state, as graph code.

Training and serving share it, so they read words alike.
"""

import collections

import keras
import numpy as np
import tensorflow as tf

PADDING = 0
UNKNOWN = 1
FIRST_WORD = 2

# A run of letters, digits and apostrophes between them; or one sign.
_TOKEN = r"[\pL\pM\pN_]+(?:'[\pL\pM\pN_]+)*|[^\s\pL\pM\pN_]"
# Only so many bytes of a text are looked at for each token that is read: a huge one
# costs no more than a long one.
_BYTES_PER_TOKEN = 64


def split(texts: tf.Tensor) -> tf.RaggedTensor:
    """Returns the lower-cased words and signs of each text.

    Args:
        texts: [batch] string. Bytes that are not UTF-8 count as an unknown sign.

    Returns:
        [batch, (words)] string.
    """
    valid = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    lowered = tf.strings.lower(valid, encoding="utf-8")
    lowered = tf.strings.regex_replace(lowered, "’", "'")
    # Each token between spaces, then cut at the spaces.
    spaced = tf.strings.regex_replace(lowered, f"({_TOKEN})", r" \1 ")
    return tf.strings.split(spaced)


def most_frequent(texts: np.ndarray, size: int) -> list[str]:
    """Returns the words that occur most, at most `size`; ties in the alphabet's order.

    Args:
        texts: [texts] object, bytes of UTF-8.
        size: How many words.
    """
    words = split(tf.constant(texts)).flat_values.numpy()
    counts = collections.Counter(words.tolist())
    order = sorted(counts, key=lambda word: (-counts[word], word))
    return [word.decode() for word in order[:size]]


def make_table(vocabulary: list[str]) -> tf.lookup.StaticHashTable:
    """Returns word to token id, from `FIRST_WORD` upwards; `UNKNOWN` for all others."""
    ids = tf.range(FIRST_WORD, FIRST_WORD + len(vocabulary), dtype=tf.int32)
    words = tf.lookup.KeyValueTensorInitializer(tf.constant(vocabulary), ids)
    return tf.lookup.StaticHashTable(words, UNKNOWN)


def token_ids(
    texts: tf.Tensor, table: tf.lookup.StaticHashTable, tokens: int
) -> tf.Tensor:
    """Returns the ids of each text's first words, padded at the end.

    Args:
        texts: [batch] string.
        table: From `make_table`.
        tokens: Words of a text that are read.

    Returns:
        [batch, tokens] int32.
    """
    start = tf.strings.substr(tf.strings.strip(texts), 0, tokens * _BYTES_PER_TOKEN)
    ids = tf.ragged.map_flat_values(table.lookup, split(start)[:, :tokens])
    return ids.to_tensor(PADDING, shape=[None, tokens])


class PoolOverWords(keras.layers.Layer):
    """Mean and maximum of each feature over the words; 0 where there are none."""

    supports_masking = True

    def call(self, x: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Returns [batch, 2 features] for `x` [batch, words, features]."""
        if mask is None:
            mask = tf.ones_like(x[..., 0], tf.bool)
        is_word = tf.cast(mask, x.dtype)[..., tf.newaxis]
        # At least 1, and not minus infinity: else a text without words answers NaN.
        words = tf.maximum(tf.reduce_sum(is_word, axis=1), 1)
        mean = tf.reduce_sum(x * is_word, axis=1) / words
        # -1 is below whatever tanh gives.
        highest = tf.reduce_max(x * is_word - (1 - is_word), axis=1)
        return tf.concat([mean, highest * is_word[:, 0]], axis=-1)

    def compute_mask(self, x: tf.Tensor, mask: tf.Tensor | None = None) -> None:
        """Returns nothing: no axis of words is left."""

    def compute_output_shape(self, shape: tuple) -> tuple:
        """Returns the shape without the words."""
        return (shape[0], 2 * shape[2])
