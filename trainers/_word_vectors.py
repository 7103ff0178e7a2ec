"""Words and their vectors, as a servable holds them: graph code for signatures."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


class WordVectors(tf.Module):
    """Words and their vectors, as a servable holds them.

    Attributes:
        words: In the order of the rows of `vectors`.
        table: From a word to its row; -1 for an unknown one.
        names: `words` as a tensor [words] string.
        vectors: [words, dimensions] float32, as they were trained.
        unit: The same at length 1, float64: in float32 neighbours whose cosines are
            alike to six digits would change places with the size of the batch.
    """

    def __init__(self, words: Sequence[str], vectors: np.ndarray) -> None:
        super().__init__(name="word_vectors")
        self.words = tuple(words)
        self.names = tf.constant(self.words)
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                self.names, tf.range(len(words), dtype=tf.int32)
            ),
            default_value=-1,
        )
        self.vectors = tf.Variable(vectors, trainable=False, name="vectors")
        self.unit = tf.Variable(_unit(vectors), trainable=False, name="unit")

    def update(self, vectors: np.ndarray) -> None:
        """Takes over vectors [words, dimensions] of the same words."""
        self.vectors.assign(vectors)
        self.unit.assign(_unit(vectors))

    def rows(self, words: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Looks words up as they were when the vectors were trained: in lower case.

        Args:
            words: [batch] string.

        Returns:
            Rows [batch] int32, 0 for an unknown word; and known [batch] bool.
        """
        straight = tf.strings.regex_replace(words, "\u2019", "'")
        plain = tf.strings.lower(tf.strings.strip(straight), encoding="utf-8")
        found = self.table.lookup(plain)
        return tf.maximum(found, 0), found >= 0

    def vectors_of(self, rows: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
        """Returns vectors [batch, dimensions] float32, zeros where not known."""
        return tf.where(known[:, None], tf.gather(self.vectors, rows), 0.0)

    def nearest(
        self, direction: tf.Tensor, left_out: tf.Tensor, count: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Finds the words of the largest cosine.

        Args:
            direction: [batch, dimensions] float64, of any length.
            left_out: Rows [batch, n] int32 that are no answers.
            count: [] int32, how many; at most words - n.

        Returns:
            Words [batch, count] string and cosines [batch, count] float32, falling.
        """
        direction = tf.math.l2_normalize(direction, axis=1)
        cosines = tf.linalg.matmul(direction, self.unit, transpose_b=True)
        mask = tf.one_hot(left_out, len(self.words), dtype=tf.float64)
        mask = tf.reduce_max(mask, axis=1)
        # A cosine is never below -1.
        cosines, rows = tf.math.top_k(cosines - 4.0 * mask, count)
        return tf.gather(self.names, rows), tf.cast(cosines, tf.float32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """At length 1, in float64; a vector of zeros stays one."""
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.where(lengths, lengths, 1.0)
