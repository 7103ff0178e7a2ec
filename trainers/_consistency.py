"""Teaches a classifier to say the same whatever dropout leaves out.

Paper    Liang et al. 2021, "R-Drop: Regularized Dropout for Neural Networks", NeurIPS.
         Each batch goes through the network twice; to the cross-entropy of both comes
         the divergence between what they say
"""

from typing import Any

import tensorflow as tf

from trainers import _steps
from trainers._parts import Part


class TwoPasses(_steps.Compiled):
    """The loss and the metrics that a classifier was compiled with, and R-Drop's part.

    The curve of the loss leaves that part out, so that it can be held against the one
    of validation.
    """

    def __init__(self, model: Any, weight: float) -> None:
        """Takes what the model was compiled with.

        Args:
            model: Compiled; from inputs to logits [batch, classes] float32; its
                examples have no weights of their own.
            weight: What the divergence counts, beside a cross-entropy that counts 1.
        """
        super().__init__(model)
        self._weight = weight

    def forward(self, inputs: Any, training: bool) -> Any:
        """Returns the logits; in training those of both passes."""
        if not training:
            return super().forward(inputs, training)
        twice = tf.nest.map_structure(lambda x: tf.concat([x, x], axis=0), inputs)
        return tf.split(super().forward(twice, training), 2)

    def judge(
        self, part: Part, outputs: Any, training: bool
    ) -> tuple[tf.Tensor, None, list[tf.Tensor]]:
        """Returns the mean loss of both passes with their divergence, and curves."""
        if not training:
            return super().judge(part, outputs, training)
        twice = part._replace(targets=tf.concat([part.targets] * 2, axis=0))
        loss, _, curves = super().judge(twice, tf.concat(outputs, axis=0), training)
        return loss + self._weight * _divergence(*outputs), None, curves

    def count(self, part: Part, outputs: Any) -> None:
        """Adds to the compiled metrics; of two passes, the first."""
        super().count(part, outputs[0] if isinstance(outputs, list) else outputs)


def _divergence(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """The mean over the rows of both Kullback-Leibler divergences' mean; 0 of none."""
    logs = tf.nn.log_softmax(a), tf.nn.log_softmax(b)
    apart = (tf.exp(logs[0]) - tf.exp(logs[1])) * (logs[0] - logs[1])
    rows = tf.cast(tf.shape(a)[0], a.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(apart) / 2, rows)
