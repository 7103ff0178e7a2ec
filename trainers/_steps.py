"""The step that trains a model, and the one that judges it: of the global batch.

Keras takes the mean over each replica's examples and then over the replicas. That is
another loss as soon as replicas have unequal parts of a batch, or tokens or objects to
divide by; and Keras 3 clips each replica's gradient before it adds them up. Here a part
of a batch counts for its share of what the whole is divided by, whatever the split:
over replicas, or one after the other (`gradient_accumulation_steps`). A replica may
have no examples at all.

What else depends on the batch does on its part: batch normalisation must be
`synchronized` where `is_spread()`, and with gradient accumulation it sees each part as
a batch of its own.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import keras
import tensorflow as tf

from trainers import _averages, _flavour, _parts, _update
from trainers._config import TrainConfig
from trainers._parts import Part

_MEANS = ("sum_over_batch_size", "mean", "auto")
_WEIGHTED_MEAN = "mean_with_sample_weight"


@runtime_checkable
class Losses(Protocol):
    """How the loss of a batch comes about; a model with a loss of its own has these.

    Attributes:
        divisor_offset: What the loss is divided by beside the sum of `amount`.
    """

    divisor_offset: float

    def amount(self, part: Part) -> tf.Tensor:
        """Returns what the part adds to the divisor of the batch's loss."""

    def forward(self, inputs: Any, training: bool) -> Any:
        """Returns what the network makes of inputs."""

    def judge(
        self, part: Part, outputs: Any, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor | None, Sequence[tf.Tensor]]:
        """Returns the loss as if the part were all; one of the weights; and curves.

        The second does not depend on the examples, so it is no mean over them. Curves
        are divided as the loss is.
        """

    def count(self, part: Part, outputs: Any) -> None:
        """Adds a part to the metrics that can be told from it alone."""

    def keep(self, curves: Sequence[tf.Tensor], rows: tf.Tensor) -> None:
        """Adds the curves of a global batch, of so many rows."""


def is_spread() -> bool:
    """Whether what is built now will train on several replicas."""
    return _parts.replicas() > 1


def attach(model: Any, config: TrainConfig) -> None:
    """Gives a model the steps of this module, for `fit` and `evaluate`.

    Args:
        model: Just compiled, of either flavour, in the scope of its strategy. Its loss
            is a mean: over examples, or over the weights of what it is given; one that
            is taught by another has that in `step_losses`.
        config: Says in how many parts a batch is taken, whether averages of the
            weights are kept, and how long a gradient may be.

    Raises:
        TypeError: The loss is no mean, so its parts cannot be put together.
    """
    if config.ema_momentum:
        _averages.keep(model, config.ema_momentum)
    losses = getattr(model, "step_losses", None)
    if losses is None:
        losses = model if isinstance(model, Losses) else Compiled(model)
    step = _Step(model, losses, config.gradient_accumulation_steps)
    model.train_step, model.test_step = step.train, step.test
    _update.prepare(model, config.clip_norm)


class _Step:
    """What a replica does with its part of a batch."""

    def __init__(self, model: Any, losses: Losses, parts: int) -> None:
        self._model = model
        self._losses = losses
        self._parts = parts

    def train(self, data: tuple[Any, ...]) -> dict[str, tf.Tensor]:
        """Makes one update; returns the epoch's metrics and this step's gradient."""
        parts = _parts.split(data, self._parts)
        shares, rows = self._shares(parts)
        gradients, curves = [], []
        for part, share in zip(parts, shares, strict=True):
            found, values = self._gradients(_parts.after(gradients, part), share)
            gradients = _parts.added(gradients, found)
            curves = _parts.added(curves, values)
        summed = _parts.over_replicas([*gradients, *curves])
        norm = _update.apply(self._model, summed[: len(gradients)])
        self._losses.keep(summed[len(gradients) :], rows)
        return {**_update.results(self._model), "gradient_norm": norm}

    def test(self, data: tuple[Any, ...]) -> dict[str, tf.Tensor]:
        """Judges a batch; returns the metrics so far."""
        (part,) = _parts.split(data, 1)
        (share,), rows = self._shares([part])
        outputs = self._losses.forward(part.inputs, training=False)
        _, _, curves = self._losses.judge(part, outputs, training=False)
        self._losses.count(part, outputs)
        curves = _parts.over_replicas(_parts.times(curves, share))
        self._losses.keep(curves, rows)
        return _update.results(self._model)

    def _gradients(
        self, part: Part, share: tf.Tensor | None
    ) -> tuple[list[Any], list[tf.Tensor]]:
        """What a part adds to the gradients, with their loss scale, and to curves."""
        with tf.GradientTape() as tape:
            outputs = self._losses.forward(part.inputs, training=True)
            if self._parts > 1:
                outputs = _parts.between(outputs, 0, part.rows)
            loss, of_weights, curves = self._losses.judge(part, outputs, training=True)
            (loss,) = _parts.times([loss], share)
            if of_weights is not None:
                loss += of_weights / (_parts.replicas() * self._parts)
            loss = _update.scaled(self._model, loss)
        gradients = tape.gradient(loss, self._model.trainable_variables)
        self._losses.count(part, outputs)
        return gradients, _parts.times(curves, share)

    def _shares(
        self, parts: Sequence[Part]
    ) -> tuple[list[tf.Tensor | None], tf.Tensor]:
        """For how much each part counts, None for all; and the rows of the batch."""
        rows = tf.add_n([part.rows for part in parts])
        if len(parts) == 1 and not is_spread():
            return [None], rows
        amounts = [self._losses.amount(part) for part in parts]
        sums = [tf.add_n(amounts), tf.cast(rows, tf.float32)]
        whole, rows = _parts.over_replicas(sums)
        offset = self._losses.divisor_offset
        # Nothing to divide by: then there is no loss either.
        shares = [
            tf.math.divide_no_nan(amount + offset, whole + offset) for amount in amounts
        ]
        return shares, rows


class Compiled:
    """The loss and the metrics that a model was compiled with."""

    divisor_offset = 0.0

    def __init__(self, model: Any) -> None:
        reduction = getattr(model.loss, "reduction", _MEANS[0])
        if reduction not in (*_MEANS, _WEIGHTED_MEAN):
            raise TypeError(
                "The loss of this model cannot be taken in parts. One with a reduction "
                f"of {', '.join((*_MEANS, _WEIGHTED_MEAN))} was expected. "
                f"Received: reduction={reduction}"
            )
        self._model = model
        self._by_weight = reduction == _WEIGHTED_MEAN
        self._is_keras_3 = _flavour.of(model) is keras

    def amount(self, part: Part) -> tf.Tensor:
        """Returns the number of examples, or the sum of their weights."""
        if self._by_weight and part.weights is not None:
            return tf.reduce_sum(tf.cast(part.weights, tf.float32))
        return tf.cast(part.rows, tf.float32)

    def forward(self, inputs: Any, training: bool) -> Any:
        """Returns the model's outputs."""
        return self._model(inputs, training=training)

    def judge(
        self, part: Part, outputs: Any, training: bool
    ) -> tuple[tf.Tensor, None, list[tf.Tensor]]:
        """Returns the compiled loss, with the penalties of the weights."""
        of_training = {"training": training} if self._is_keras_3 else {}
        loss = self._model.compute_loss(
            part.inputs, part.targets, outputs, part.weights, **of_training
        )
        if is_spread():  # Keras has divided it by the number of replicas
            loss *= _parts.replicas()
        # tf_keras has kept its curve by now. The mean over examples is right for what
        # its reductions divide by.
        return loss, None, [loss] if self._is_keras_3 else []

    def count(self, part: Part, outputs: Any) -> None:
        """Adds to the compiled metrics."""
        self._model.compute_metrics(part.inputs, part.targets, outputs, part.weights)

    def keep(self, curves: Sequence[tf.Tensor], rows: tf.Tensor) -> None:
        """Adds the loss, on each replica the same one."""
        trackers = (m for m in self._model.metrics if m.name == "loss")
        for tracker, loss in zip(trackers, curves, strict=False):
            tracker.update_state(loss, sample_weight=rows)
