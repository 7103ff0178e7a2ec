"""Small packages in the format of the published ones, one module for each.

`tests/tiny_packages/<data set>.py` has a function `write(folder) -> Path`: it writes a
file that is named and built like the published one, with a few examples in it. The
fixture `datasets_dir` finds the modules by their names. Generated data sets need none:
they are made as always, only smaller.
"""

import dataclasses
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainers.datasets._builder import About
    from trainers.datasets._package import Package

# Examples of a generated data set, at most.
SPLITS = {"train": 600, "validation": 100, "test": 100}


def described(file: Path, published: "Package") -> "Package":
    """Returns the description of a tiny package that stands in for a published one."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return dataclasses.replace(published, sha256=digest)


def smaller(about: "About") -> "About":
    """Returns the description of a generated data set with fewer examples."""
    splits = {split: min(size, SPLITS[split]) for split, size in about.splits.items()}
    return dataclasses.replace(about, splits=splits)
