"""Starts the check of a version in a process of its own, and reads its report."""

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

from savedmodels import protos
from savedmodels.errors import ExportError

ANSWERS = "answers.tfrecord"
REPORT = "report.json"

# The check takes seconds; this is for a machine that swaps, not for a large model.
_TIMEOUT_S = 1800


def check(version_path: pathlib.Path, check_path: pathlib.Path) -> dict[str, Any]:
    """Has `savedmodels.verify` check a version.

    Args:
        version_path: Folder of the SavedModel; gets its `model.tflite`.
        check_path: Folder that holds `answers.tfrecord`; gets `report.json`.

    Returns:
        The report.

    Raises:
        ExportError: The version must not be published, or the check broke off.
    """
    command = [sys.executable, "-m", "savedmodels.verify"]
    try:
        done = subprocess.run(
            [*command, str(version_path), str(check_path)],
            env=environment(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            f"The check of the version did not end. Expected seconds. "
            f"Received: nothing within {_TIMEOUT_S} s."
        ) from error
    try:
        report: dict[str, Any] = json.loads((check_path / REPORT).read_text())
    except (FileNotFoundError, ValueError) as error:
        last_lines = "\n".join(done.stderr.strip().splitlines()[-10:])
        raise ExportError(
            f"The check of the version broke off. Expected its report. "
            f"Received: exit code {done.returncode} and\n{last_lines}"
        ) from error
    if "error" in report:
        raise ExportError(report["error"])
    return report


def environment() -> dict[str, str]:
    """Returns the environment of a process that imports this package's modules.

    It finds them wherever it starts, and leaves the GPU alone.
    """
    package_root = str(pathlib.Path(__file__).resolve().parent.parent)
    paths = [package_root, os.environ.get("PYTHONPATH", "")]
    return {
        **protos.QUIET,
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        # The GPU's memory belongs to the training that still runs.
        "CUDA_VISIBLE_DEVICES": "-1",
    }
