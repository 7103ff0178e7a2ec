"""Which strategy is chosen, and what is said where there is none."""

import pytest
import tensorflow as tf

from savedmodels.errors import UsageError
from trainers import _strategy, _tf_config

TWO = ["127.0.0.1:1", "127.0.0.1:2"]


@pytest.fixture
def joined(monkeypatch):
    """What TensorFlow is asked for instead of a cluster, which this process is not."""
    made = []

    def join(communication_options):
        made.append(communication_options.implementation)
        return "several workers"

    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", join)
    return made


def test_auto_joins_the_cluster_that_tf_config_names(monkeypatch, joined):
    monkeypatch.setenv("TF_CONFIG", _tf_config.written(TWO, 1))
    assert _strategy.make_strategy("auto") == "several workers"
    assert _strategy.make_strategy("multi_worker") == "several workers"
    implementation = tf.distribute.experimental.CommunicationImplementation
    assert joined == [implementation.RING] * 2  # no GPU, so no NCCL


def test_a_cluster_of_one_worker_trains_as_no_cluster_does(monkeypatch, joined):
    monkeypatch.setenv("TF_CONFIG", _tf_config.written(TWO[:1], 0))
    assert _strategy.make_strategy("auto") is tf.distribute.get_strategy()
    assert not joined


def test_a_strategy_that_is_named_does_not_look_for_a_cluster(monkeypatch, joined):
    monkeypatch.setenv("TF_CONFIG", "nonsense")
    assert _strategy.make_strategy("default") is tf.distribute.get_strategy()
    with pytest.raises(UsageError, match="TF_CONFIG names no cluster"):
        _strategy.make_strategy("auto")
    assert not joined


def test_several_workers_without_a_cluster_are_told_what_to_type(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UsageError, match="make train-workers WORKERS=2"):
        _strategy.make_strategy("multi_worker")


def test_a_tpu_needs_an_address():
    with pytest.raises(UsageError, match="STRATEGY=tpu TPU=local"):
        _strategy.make_strategy("tpu")
    with pytest.raises(UsageError, match="Received: `mirrored` and the TPU `local`"):
        _strategy.make_strategy("mirrored", tpu="local")


def test_a_tpu_that_does_not_answer_is_one_clear_message():
    with pytest.raises(UsageError, match="no such TPU.*Received: `127.0.0.1:1`;"):
        _strategy.make_strategy("auto", tpu="127.0.0.1:1")
