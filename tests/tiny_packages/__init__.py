"""Small packages in the format of the published ones, one module for each.

`tests/tiny_packages/<data set>.py` has a function `write(folder) -> Path`: it writes a
file that is named and built like the published one, with a few examples in it. The
fixture `datasets_dir` finds the modules by their names.
"""

import dataclasses
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainers.datasets._package import Package


def described(file: Path, published: "Package") -> "Package":
    """Returns the description of a tiny package that stands in for a published one."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return dataclasses.replace(published, sha256=digest)
