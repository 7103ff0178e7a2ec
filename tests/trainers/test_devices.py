"""Which devices a training sees."""

import subprocess
import sys

import pytest
import tensorflow as tf

from savedmodels.errors import UsageError
from trainers import _devices

CHILD = """
from trainers import _devices, _strategy
_devices.use("cpu:3")
print(_strategy.make_strategy("auto").num_replicas_in_sync)
print(_strategy.make_strategy("default").num_replicas_in_sync)
"""


def test_the_cpu_in_parts_trains_as_several_devices():
    child = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, check=True
    )
    assert child.stdout.split() == ["3", "1"]


@pytest.mark.parametrize("devices", ["", "cpu:0", "cpu:", "tpu", "gpu:-1", "2"])
def test_what_is_no_device_is_refused(devices):
    with pytest.raises(UsageError, match=f"Expected `auto`.*Received: `{devices}`"):
        _devices.use(devices)


def test_more_gpus_than_there_are_is_an_error_that_counts_them():
    there = len(tf.config.list_physical_devices("GPU"))
    with pytest.raises(UsageError, match=f"TensorFlow sees {there}"):
        _devices.use(f"gpu:{there + 1}")


def test_devices_that_are_used_already_stay_as_they_are():
    before = tf.config.list_logical_devices()
    with pytest.raises(UsageError, match="Expected a fresh process"):
        _devices.use(f"cpu:{len(before) + 1}")
    assert tf.config.list_logical_devices() == before
