"""What optimizers and metrics of Keras 3 and tf_keras do at a step, over replicas."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from trainers import _flavour, _parts


def prepare(model: Any, clip_norm: float) -> None:
    """Makes the optimizer's variables, in the scope of its strategy.

    The gradients that it will be given are sums over the replicas already, see
    `apply`; so it clips what they are together.

    Args:
        model: Compiled.
        clip_norm: To what it shortens them; 0 to leave that to the optimizer.
    """
    model.optimizer.build(model.trainable_variables)
    inner = _flavour.inner(model.optimizer)
    if clip_norm:
        inner.clipnorm = inner.clipvalue = None
        inner.global_clipnorm = clip_norm
    if _flavour.of(model) is keras:
        inner._all_reduce_sum_gradients = lambda pairs: pairs
    else:
        # Every replica returns the same: else it would return the sum.
        model.distribute_reduction_method = "first"
        _keep_statistics_alike(model)


def scaled(model: Any, loss: tf.Tensor) -> tf.Tensor:
    """Returns what to derive: in half precision, small gradients need a larger loss."""
    optimizer = model.optimizer
    if _flavour.of(model) is keras:
        return optimizer.scale_loss(loss)
    is_scaled = hasattr(optimizer, "get_scaled_loss")
    return optimizer.get_scaled_loss(loss) if is_scaled else loss


def apply(model: Any, gradients: Sequence[Any]) -> tf.Tensor:
    """Takes one step, on a replica.

    Args:
        model: That `prepare` was called with.
        gradients: Those of what `scaled` returned, for each trained variable or None,
            summed over the replicas.

    Returns:
        Their norm, before they are clipped.
    """
    optimizer, variables = model.optimizer, model.trainable_variables
    if _flavour.of(model) is keras:
        norm = _norm(gradients) / optimizer.scale_loss(1.0)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return norm
    if hasattr(optimizer, "get_unscaled_gradients"):
        gradients = optimizer.get_unscaled_gradients(gradients)
    optimizer.apply_gradients(
        list(zip(gradients, variables, strict=True)), skip_gradients_aggregation=True
    )
    return _norm(gradients)


def results(model: Any) -> dict[str, tf.Tensor]:
    """Returns the metrics so far of all replicas together, on a replica."""
    if _parts.replicas() == 1 or _flavour.of(model) is not keras:
        return model.get_metrics_result()  # tf_keras puts the replicas' together
    metrics = model.metrics
    values = [tf.convert_to_tensor(v) for metric in metrics for v in metric.variables]
    values = _parts.over_replicas(values)
    found = {}
    for metric in metrics:
        count = len(metric.variables)
        result = metric.stateless_result(values[:count])
        values = values[count:]
        found |= result if isinstance(result, dict) else {metric.name: result}
    return found


def _keep_statistics_alike(model: Any) -> None:
    """Has batch normalisation of tf_keras keep the same statistics on any replicas."""
    for layer in model.submodules:
        if hasattr(layer, "_bessels_correction_test_only"):
            # The fused kernel, which only one replica has, would keep the variance of
            # a population of which the batch is a sample: a little more.
            layer._bessels_correction_test_only = False
        if getattr(layer, "synchronized", False):
            # A replica without examples would not keep what it is told by the others.
            layer._support_zero_size_input = lambda: False


def _norm(gradients: Sequence[Any]) -> tf.Tensor:
    """Of all together; an embedding's rows count once, whatever their uses."""
    dense = [g if g is None else tf.convert_to_tensor(g) for g in gradients]
    return tf.linalg.global_norm(dense)
