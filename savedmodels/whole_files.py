"""Files that are whole or as they were, whatever stops the writing.

On a disk a file is written aside, brought to the platter and renamed; elsewhere it
appears when it is closed, as `paths` has it.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import BinaryIO

from savedmodels import paths

_REMNANT = ".partial"


def write(path: pathlib.Path, content: bytes) -> None:
    """Writes a file in one step: it is whole, or as it was.

    Raises:
        OSError: It cannot be written.
    """
    with replacing(path) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[BinaryIO]:
    """Opens a file to write, which takes the place of `path` at the block's end.

    Whatever stops the block leaves the old file as it was.

    Raises:
        OSError: It cannot be written.
    """
    if paths.is_remote(path):
        with path.open("wb") as file:
            yield file
        return
    partial = path.with_name(f".{path.name}{_REMNANT}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def is_remnant(path: pathlib.Path) -> bool:
    """Whether a file is what a killed process left of one that `replacing` opened."""
    return path.name.startswith(".") and path.name.endswith(_REMNANT)
