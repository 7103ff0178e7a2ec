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
            between them; `auto` is `mirrored` from two GPUs upwards, or two logical
            CPUs, which there are only if somebody asked for them.

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
    devices = gpus or tf.config.list_logical_devices("CPU")
    if name == "mirrored" or (name == "auto" and len(devices) > 1):
        return tf.distribute.MirroredStrategy(
            [device.name for device in devices],
            # Collectives of CPU replicas mix up when a process has trained before.
            cross_device_ops=None if gpus else tf.distribute.ReductionToOneDevice(),
        )
    return tf.distribute.get_strategy()


def dtype_policy(config: TrainConfig) -> str:
    """Returns Keras's name of what to compute in, weights being float32 always.

    `auto` takes float16 where a GPU has cores for it, with a loss scale that adapts. On
    a CPU half precision is emulated and slower.
    """
    if config.mixed_precision == "off":
        return "float32"
    if config.mixed_precision != "auto":
        return f"mixed_{config.mixed_precision}"
    capabilities = [
        tf.config.experimental.get_device_details(gpu).get("compute_capability")
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    # Tensor cores came with compute capability 7.0.
    has_cores = bool(capabilities) and all(c and c >= (7, 0) for c in capabilities)
    return "mixed_float16" if has_cores else "float32"


@contextlib.contextmanager
def precision(config: TrainConfig) -> Iterator[None]:
    """Makes layers that are built in this block compute as the config says."""
    before = _flavour.dtype_policy()
    if (policy := dtype_policy(config)) != "float32":
        _flavour.set_dtype_policy(policy, policy)
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
