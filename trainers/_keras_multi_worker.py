"""What stock Keras 3 lacks for `fit` under the strategies of tf.distribute.

Two places of keras/src/backend/tensorflow/trainer.py, seen in Keras 3.15.1 and in no
version known to be without them (keras#20585):

- `_maybe_symbolic_build` reads a batch only to see its shapes. With several workers it
  reduces the batch, where lengths differ, and fails. With any strategy it begins a pass
  over the data for that, so that the steps would see the order of another pass.
- `reduce_per_replica` reduces the scalar metrics of a step over several workers along
  an axis that they do not have, and fails. Here each worker takes the mean over its own
  replicas, which costs no exchange: they are running means for the eye, and at the end
  of an epoch Keras reads the metrics of all replicas, wherever they are.

`tests/trainers/test_keras_multi_worker.py` turns red when Keras needs it no more.
tf_keras never did.
"""

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

_TRAINER = "keras.src.backend.tensorflow.trainer"


@contextlib.contextmanager
def mended(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Has Keras 3's `fit` and `evaluate` work in this block.

    Args:
        strategy: What the model is trained under; of one device nothing is mended.
    """
    if strategy is tf.distribute.get_strategy():  # the default one, without a scope
        yield
        return
    trainer = importlib.import_module(_TRAINER)
    kind = trainer.TensorFlowTrainer
    stock_build, stock_reduce = kind._maybe_symbolic_build, trainer.reduce_per_replica

    def reduce_per_replica(values: Any, strategy: Any, reduction: str) -> Any:
        if reduction not in ("auto", "mean"):
            return stock_reduce(values, strategy, reduction)
        return tf.nest.map_structure(
            lambda value: tf.reduce_mean(
                strategy.experimental_local_results(value), axis=0
            ),
            values,
        )

    kind._maybe_symbolic_build = _build_from_specs
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        trainer.reduce_per_replica = reduce_per_replica
    try:
        yield
    finally:
        kind._maybe_symbolic_build = stock_build
        trainer.reduce_per_replica = stock_reduce


def _build_from_specs(self: Any, iterator: Any = None, data_batch: Any = None) -> None:
    """`_maybe_symbolic_build` that reads nothing: what it needs is known before."""
    if self._distribute_strategy is None:
        return
    if iterator is not None:
        specs = iterator._distributed_dataset.element_spec
        data_batch = tf.nest.map_structure(_of_one_replica, specs)
    with self.distribute_strategy.scope():
        self._symbolic_build(data_batch=data_batch)


def _of_one_replica(spec: Any) -> Any:
    return getattr(spec, "_value_specs", [spec])[0]
