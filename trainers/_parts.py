"""A batch in parts, over replicas or one after the other, and sums over all of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf


class Part(NamedTuple):
    """Some rows of a batch.

    Attributes:
        inputs: Tensors of the network; one row more than `rows` where that is 0, if
            there is any, so that no layer has to do with nothing.
        targets: Of these rows.
        weights: Likewise, or None.
        rows: How many.
    """

    inputs: Any
    targets: Any
    weights: Any
    rows: tf.Tensor


def replicas() -> int:
    """Returns on how many replicas the present strategy trains."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def split(data: tuple[Any, ...], parts: int) -> list[Part]:
    """Returns a replica's batch in so many parts, of sizes as equal as can be.

    Args:
        data: Inputs, targets and, if there are any, weights.
        parts: At least 1.
    """
    inputs, targets, weights = (*data, None, None)[:3]
    rows = tf.shape(tf.nest.flatten(inputs)[0])[0]
    if parts == 1:
        return [Part(inputs, targets, weights, rows)]
    found = []
    for place in range(parts):
        start, stop = rows * place // parts, rows * (place + 1) // parts
        found.append(
            Part(
                # Of more parts than rows some have none: they look at another's, for
                # statistics of nothing would spoil batch normalisation.
                between(inputs, start, tf.maximum(stop, start + 1)),
                between(targets, start, stop),
                between(weights, start, stop),
                stop - start,
            )
        )
    return found


def between(structure: Any, start: Any, stop: Any) -> Any:
    """Returns rows of each tensor of a structure, in which None may stand."""
    return tf.nest.map_structure(
        lambda tensor: None if tensor is None else tensor[start:stop], structure
    )


def after(done: Sequence[Any], part: Part) -> Part:
    """Returns the part, once those gradients are there: else all parts need memory."""
    tensors = tf.nest.flatten(list(done), expand_composites=True)
    if not tensors:
        return part
    with tf.control_dependencies([tensor for tensor in tensors if tensor is not None]):
        return part._replace(inputs=tf.nest.map_structure(tf.identity, part.inputs))


def added(sums: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """Returns the sums, one by one; `sums` may be empty, and gradients None."""
    if not sums:
        return list(values)
    return [_both(a, b) for a, b in zip(sums, values, strict=True)]


def times(values: Sequence[tf.Tensor], share: tf.Tensor | None) -> list[tf.Tensor]:
    """Returns the values times a share, None being all."""
    return [value if share is None else value * share for value in values]


def over_replicas(values: Sequence[Any]) -> list[Any]:
    """Returns each value summed over the replicas, in one exchange; None stays None."""
    places = [place for place, value in enumerate(values) if value is not None]
    if replicas() == 1 or not places:
        return list(values)
    context = tf.distribute.get_replica_context()
    sums = context.all_reduce(
        tf.distribute.ReduceOp.SUM,
        # What is read from a variable has no device, by which a worker with one replica
        # would know where the sum is wanted.
        [tf.identity(values[place]) for place in places],
    )
    found = dict(zip(places, sums, strict=True))
    return [found.get(place) for place in range(len(values))]


def _both(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a, tf.IndexedSlices):
        # One after the other, as in the gradient of the whole batch: Keras's clipping
        # and optimizers would not treat rows alike that are added up already.
        return tf.IndexedSlices(
            tf.concat([a.values, b.values], axis=0),
            tf.concat([a.indices, b.indices], axis=0),
            a.dense_shape,
        )
    return a + b
