"""Makes a `model.tflite` out of a version that has none, in a process of its own.

`python -m savedmodels.convert VERSION_FOLDER FILE SIGNATURE...` writes it to `FILE`; no
file is written where no signature converts. Whether it answers as the SavedModel does
is for the caller to find out. The converter takes seconds and memory, and a graph that
it does not like may end its process: a server stays out of that.
"""

import logging
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from savedmodels import fresh_process

logger = logging.getLogger(__name__)

_TIMEOUT_S = 600


def in_fresh_process(version_path: pathlib.Path, names: Sequence[str]) -> bytes | None:
    """Returns the content of a `model.tflite`; None where none can be made.

    Args:
        version_path: Folder of the SavedModel; nothing is written to it.
        names: The signatures to convert.
    """
    with tempfile.TemporaryDirectory(prefix="maaskit-") as folder:
        file = pathlib.Path(folder) / "model.tflite"
        command = [sys.executable, "-m", "savedmodels.convert"]
        try:
            done = subprocess.run(
                [*command, str(version_path), str(file), *names],
                env=fresh_process.environment(),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            logger.warning("%s: no conversion in %d s", version_path, _TIMEOUT_S)
            return None
        if done.returncode:
            last_lines = "\n".join(done.stderr.strip().splitlines()[-3:])
            logger.warning("%s is not converted: %s", version_path, last_lines)
        return file.read_bytes() if file.is_file() else None


def main(argv: Sequence[str]) -> int:
    """Converts; see above."""
    # Late: a server imports this module, and runs without TensorFlow.
    from savedmodels import litert

    version_path, file, *names = argv
    model = litert.convert_unchecked(pathlib.Path(version_path), names)
    if model is not None:
        pathlib.Path(file).write_bytes(model)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
