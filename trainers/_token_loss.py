"""The loss of models that say one token of a vocabulary after the other."""

import keras
import tensorflow as tf


class TokenCrossEntropy(keras.losses.Loss):
    """Softmax cross-entropy from logits, the mean over what has weight.

    Source of the smoothing: Szegedy et al. 2016, "Rethinking the Inception Architecture
    for Computer Vision", CVPR, section 7.

    Args:
        smoothing: Share of the probability that is spread over all tokens, 0 to 1.
    """

    def __init__(self, smoothing: float) -> None:
        # By the number of tokens: padding has the weight 0.
        super().__init__(name="loss", reduction="mean_with_sample_weight")
        self._smoothing = smoothing

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Returns nats [batch, tokens] float32 of each token.

        Args:
            y_true: Token ids [batch, tokens], which Keras has made float32.
            y_pred: Logits [batch, tokens, vocabulary] float32.
        """
        ids = tf.cast(y_true, tf.int32)
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits(ids, y_pred)
        if not self._smoothing:
            return nats
        # What the true token's logit is above the mean: spread out, it costs that much.
        true = tf.gather(y_pred, ids, axis=-1, batch_dims=2)
        return nats + self._smoothing * (true - tf.reduce_mean(y_pred, axis=-1))
