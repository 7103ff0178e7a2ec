"""Data sets of the public TFDS catalogue: `tfds:<name>`, loaded from their own sites.

TFDS downloads in threads that cannot be stopped, so a process of its own does it:
this module, run with `-m`. Ctrl-C kills that process, and all is over at once.
"""

import contextlib
import logging
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import IO, Any

import tensorflow_datasets as tfds

from savedmodels.errors import UsageError
from trainers._catalog import CATALOGUE_PREFIX, dataset_names
from trainers.datasets._builder import DOWNLOADS
from trainers.datasets._package import DatasetError, say

FOLDER = "tfds"  # apart from the packaged data sets: the catalogue has a `mnist` too


def is_catalogue(name: str) -> bool:
    """Whether `name` is one of the public catalogue's, `tfds:...`."""
    return name.startswith(CATALOGUE_PREFIX)


def builder(name: str, root: pathlib.Path) -> tfds.core.DatasetBuilder:
    """Returns the builder of `tfds:<name>`, prepared or not.

    Raises:
        UsageError: The catalogue has no such data set, config or version.
    """
    try:
        return tfds.builder(name.removeprefix(CATALOGUE_PREFIX), data_dir=root / FOLDER)
    except (tfds.core.DatasetNotFoundError, ValueError, AssertionError) as error:
        raise UsageError(
            f"Data set `{name}` cannot be opened. Expected a name, config and version "
            f"of the TFDS catalogue. Received: {first_line(error)}."
        ) from error


def write(name: str, root: pathlib.Path, held_lock: IO[str]) -> None:
    """Downloads and prepares `tfds:<name>` under `root`.

    Args:
        name: `tfds:<name>`.
        root: Folder that keeps data sets.
        held_lock: The lock on this data set. The process that downloads holds it
            too, so nobody starts anew while it outlives a killed parent.

    Raises:
        DatasetError: The download failed. Names the packaged data sets.
    """
    packaged = f"DATASET={' or DATASET='.join(dataset_names())}"
    say(
        f"Data set `{name}`: a download starts. Without a network it gives up after "
        f"about four minutes; {packaged} needs only the package index."
    )
    done = subprocess.run(
        [sys.executable, "-m", __name__, name, str(root)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        pass_fds=[held_lock.fileno()],
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        reason = done.stdout.strip() or f"the download ended with {done.returncode}"
        raise DatasetError(
            f"Data set `{name}` could not be downloaded. Received: {reason}. "
            f"To go without this download, use {packaged}."
        )


def facts(name: str, root: pathlib.Path) -> dict[str, Any]:
    """Returns what the catalogue says of `tfds:<name>`; see `_load.facts`."""
    opened = builder(name, root)
    info = opened.info
    return {
        "name": name,
        "version": str(opened.version),
        "summary": info.description.strip().partition("\n")[0],
        "licence": info.redistribution_info.license or None,
        "source": info.homepage or None,
        "package": None,
        "sha256": None,
        "splits": {split: info.splits[split].num_examples for split in info.splits},
        "prepared": (opened.data_path / "dataset_info.json").is_file(),
    }


def first_line(error: BaseException, length: int = 240) -> str:
    """Returns the first line of an error's text, cut to `length` characters."""
    lines = str(error).strip().splitlines()
    line = lines[0].rstrip(".") if lines else type(error).__name__
    return line if len(line) <= length else f"{line[:length]}..."


def main(argv: Sequence[str]) -> int:
    """Prepares `argv[0]` under `argv[1]`; prints why not on stdout and returns 1."""
    name, root = argv[0], pathlib.Path(argv[1])
    # Its retries, five a file, say nothing that the last error does not.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    opened = builder(name, root)
    downloads = root / DOWNLOADS
    for leftover in (downloads / opened.name).glob("*.tmp.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        # stdout is for the reason alone; TFDS announces itself there.
        with contextlib.redirect_stdout(sys.stderr):
            opened.download_and_prepare(download_dir=downloads)
    except Exception as error:  # of any of 400 builders, or of the site it loads from
        print(f"{type(error).__name__}: {first_line(error)}")
        return 1
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # a failed download leaves threads that still retry the others
