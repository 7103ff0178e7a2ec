"""The loss of token after token."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers._token_loss import TokenCrossEntropy

VOCABULARY = 7


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_is_what_keras_has_for_smoothed_shares(smoothing):
    randomness = np.random.default_rng(1)
    logits = randomness.normal(size=[3, 5, VOCABULARY]).astype(np.float32)
    ids = randomness.integers(0, VOCABULARY, [3, 5])
    wanted = keras.losses.categorical_crossentropy(
        tf.one_hot(ids, VOCABULARY), logits, from_logits=True, label_smoothing=smoothing
    )
    found = TokenCrossEntropy(smoothing).call(tf.constant(ids), tf.constant(logits))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_padding_counts_for_nothing():
    logits = tf.random.stateless_normal([2, 4, VOCABULARY], seed=[1, 2])
    ids, weights = tf.constant([[1, 2, 0, 0], [3, 4, 5, 6]]), [[1, 1, 0, 0], [1] * 4]
    loss = TokenCrossEntropy(0.1)
    each = loss.call(ids, logits).numpy()
    wanted = (each[0, :2].sum() + each[1].sum()) / 6
    assert float(loss(ids, logits, tf.constant(weights))) == pytest.approx(wanted)
