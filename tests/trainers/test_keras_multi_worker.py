"""Keras 3 needs its two mends, and with them trains under several workers."""

import sys

import pytest

from pipelines import _worker_processes
from pipelines._worker_processes import WorkerError, Workers
from trainers import _tf_config

# A worker that trains with some of the mends: "none", "build", "reduce" or "both".
WORKER = """
import contextlib, sys
import keras, tensorflow as tf
from trainers import _keras_multi_worker, _strategy
from trainers.datasets import _pipeline

keras.config.disable_traceback_filtering()
strategy = _strategy.make_strategy("multi_worker")
trainer = sys.modules["keras.src.backend.tensorflow.trainer"]
stock_build = trainer.TensorFlowTrainer._maybe_symbolic_build
stock_reduce = trainer.reduce_per_replica
with strategy.scope():
    model = keras.Sequential([keras.Input([3]), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
examples = tf.data.Dataset.from_tensor_slices((tf.ones([10, 3]), tf.ones([10, 1])))
batches = _pipeline.batches(examples, 4, training=True, seed=1)
with _keras_multi_worker.mended(strategy):
    if sys.argv[1] in ("none", "reduce"):
        trainer.TensorFlowTrainer._maybe_symbolic_build = stock_build
    if sys.argv[1] in ("none", "build"):
        trainer.reduce_per_replica = stock_reduce
    model.fit(_pipeline.dealt(batches, strategy), steps_per_epoch=3, epochs=2)
"""


def train(mends, folder):
    """Has two workers train; raises WorkerError where one fails."""
    with _worker_processes.addresses(2) as found, Workers(folder) as workers:
        for place in range(2):
            config = {"TF_CONFIG": _tf_config.written(found, place)}
            variables = _worker_processes.environment() | config
            workers.start([sys.executable, "-c", WORKER, mends], variables)
        workers.wait()


@pytest.mark.slow
def test_keras_trains_with_both_mends(tmp_path):
    train("both", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mends", "fails_in"),
    [
        ("none", "_maybe_symbolic_build"),
        ("reduce", "_maybe_symbolic_build"),
        ("build", "reduce_per_replica"),
    ],
)
def test_keras_still_fails_without_them(mends, fails_in, tmp_path):
    # Where this is red, Keras has been mended: so can `_keras_multi_worker` be.
    with pytest.raises(WorkerError):
        train(mends, tmp_path)
    assert any(f"in {fails_in}" in log.read_text() for log in tmp_path.iterdir())
