"""What a model was trained on: processor, GPUs, versions of the packages."""

import os
import pathlib
import platform
from typing import Any

import tensorflow as tf

from savedmodels import provenance


def describe() -> dict[str, Any]:
    """Returns the machine and the package versions, JSON-able.

    Returns:
        `cpu` (name), `cpu_cores` (those that this process may use), `gpus` (names),
        `platform`, `python`, and `packages` (name to version of those installed).
    """
    gpus = tf.config.list_physical_devices("GPU")
    return {
        "cpu": _cpu_name(),
        "cpu_cores": len(os.sched_getaffinity(0)),
        "gpus": [
            tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
            for gpu in gpus
        ],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": provenance.packages(),
    }


def _cpu_name() -> str:
    """The name that the processor gives itself, or its kind where it gives none."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()
