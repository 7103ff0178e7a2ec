"""Which devices of this machine TensorFlow sees: `auto`, `cpu`, `cpu:4` or `gpu:2`."""

import re

import tensorflow as tf

from savedmodels.errors import UsageError

_DEVICES = re.compile(r"(cpu|gpu)(?::([1-9]\d{0,2}))?")


def use(devices: str) -> None:
    """Lets the process see no other devices; once, before any of them is used.

    Args:
        devices: `auto` for all there are. `gpu:2` are the first two GPUs, `gpu` all.
            `cpu` is the CPU although there are GPUs; `cpu:4` the same in four parts,
            so that what runs on four devices can be tried on a laptop. It is no faster.

    Raises:
        UsageError: It is none of these, there are fewer GPUs, or a device was used.
    """
    if devices == "auto":
        return
    fits = _DEVICES.fullmatch(devices)
    if fits is None:
        raise UsageError(
            "There are no such devices. Expected `auto`, `cpu`, `cpu:<parts>`, `gpu` "
            f"or `gpu:<count>`. Received: `{devices}`."
        )
    kind, count = fits[1].upper(), int(fits[2]) if fits[2] else None
    gpus = tf.config.list_physical_devices("GPU")
    if kind == "GPU" and len(gpus) < (count or 1):
        raise UsageError(
            f"There are fewer GPUs than that: TensorFlow sees {len(gpus)}. "
            f"Expected `cpu`, or up to `gpu:{len(gpus)}`. Received: `{devices}`."
        )
    try:
        tf.config.set_visible_devices(gpus[:count] if kind == "GPU" else [], "GPU")
        if kind == "CPU" and count is not None:
            tf.config.set_logical_device_configuration(
                tf.config.list_physical_devices("CPU")[0],
                [tf.config.LogicalDeviceConfiguration()] * count,
            )
    except RuntimeError as error:
        raise UsageError(
            f"The devices are in use already. Expected a fresh process. "
            f"Received: `{devices}`; {error}"
        ) from error
