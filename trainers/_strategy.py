"""Which devices train, and in which precision: decided here for every model."""

import contextlib
import difflib
from collections.abc import Iterator

import tensorflow as tf

from savedmodels.errors import UsageError
from trainers import _flavour
from trainers._config import TrainConfig

NAMES = ("auto", "default", "mirrored")


def make_strategy(name: str) -> tf.distribute.Strategy:
    """Returns how training is spread over the devices of this machine.

    Args:
        name: `default` is one device; `mirrored` copies the model to every GPU, or
            to every logical CPU where there is no GPU, and splits each global batch
            between them; `auto` is `mirrored` from two GPUs upwards.

    Raises:
        UsageError: There is no such strategy.
    """
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        raise UsageError(
            f"There is no such strategy. One of {', '.join(NAMES)} was expected. "
            f"Received: `{name}`.{hint}"
        )
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy(
            [device.name for device in devices],
            # Collectives of CPU replicas mix up when a process has trained before.
            cross_device_ops=None if gpus else tf.distribute.ReductionToOneDevice(),
        )
    return tf.distribute.get_strategy()


def mixed_precision(config: TrainConfig) -> bool:
    """Whether to compute in float16: `auto` says yes where a GPU has cores for it.

    On a CPU half precision is emulated and slower.
    """
    if config.mixed_precision != "auto":
        return config.mixed_precision == "on"
    capabilities = [
        tf.config.experimental.get_device_details(gpu).get("compute_capability")
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    # Tensor cores came with compute capability 7.0.
    return bool(capabilities) and all(c and c >= (7, 0) for c in capabilities)


@contextlib.contextmanager
def precision(config: TrainConfig) -> Iterator[None]:
    """Makes layers that are built in this block compute as the config says."""
    before = _flavour.dtype_policy()
    if mixed_precision(config):
        _flavour.set_dtype_policy("mixed_float16", "mixed_float16")
    try:
        yield
    finally:
        _flavour.set_dtype_policy(*before)


def xla(config: TrainConfig, strategy: tf.distribute.Strategy) -> bool:
    """Whether to compile the training step: `auto` says yes on one GPU.

    On a CPU the compiled step of a convolutional network ran at a third of the
    speed, and Keras cannot compile a mirrored one.
    """
    if config.xla != "auto":
        return config.xla == "on"
    gpus = tf.config.list_physical_devices("GPU")
    return bool(gpus) and strategy.num_replicas_in_sync == 1
