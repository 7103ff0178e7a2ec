"""The files of a run, on a disk of this machine or wherever `tf.io.gfile` reaches.

A path with `://` in it, such as gs://bucket/runs, is opened by TensorFlow. A file is
written aside, brought to the disk and renamed, so that it is whole or not there. Remote
stores copy where a disk renames, and promise less: what must be whole has a checksum.

Whatever goes wrong is an OSError, as if the disk were here.
"""

import contextlib
import io
import os
from collections.abc import Iterator
from typing import BinaryIO

import tensorflow as tf

Path = str | os.PathLike[str]

_ASIDE = ".partial"


def is_local(path: Path) -> bool:
    """Whether a path is one of this machine's own file system."""
    return "://" not in os.fspath(path)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Opens a file to write, which takes the place of `path` at the block's end.

    Whatever stops the block leaves the old file as it was.

    Raises:
        OSError: It cannot be written; the disk is full.
    """
    folder, name = os.path.split(os.fspath(path))
    aside = os.path.join(folder, f".{name}{_ASIDE}")
    try:
        if is_local(path):
            with open(aside, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        else:
            with _as_os_errors():
                with tf.io.gfile.GFile(aside, "wb") as remote:
                    yield remote
                tf.io.gfile.rename(aside, os.fspath(path), overwrite=True)
    except BaseException:
        with contextlib.suppress(OSError):
            remove(aside)
        raise


@contextlib.contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """Opens a file to read, at any place in it.

    Raises:
        FileNotFoundError: There is none.
        OSError: It cannot be read.
    """
    if is_local(path):
        with open(path, "rb") as file:
            yield file
        return
    with _as_os_errors(), tf.io.gfile.GFile(os.fspath(path), "rb") as remote:
        content = remote.read()
    yield io.BytesIO(content)


def make_folder(path: Path) -> None:
    """Makes a folder, and those above it, where they are missing."""
    with _as_os_errors():
        tf.io.gfile.makedirs(os.fspath(path))


def names(folder: Path) -> list[str]:
    """Returns the names in a folder, in no order; none where there is no folder."""
    try:
        with _as_os_errors():
            return [name.rstrip("/") for name in tf.io.gfile.listdir(os.fspath(folder))]
    except FileNotFoundError:
        return []


def remove(path: Path) -> None:
    """Removes a file, if it is there."""
    with contextlib.suppress(FileNotFoundError), _as_os_errors():
        tf.io.gfile.remove(os.fspath(path))


def is_remnant(name: str) -> bool:
    """Whether a file's name is that of one which was never finished."""
    return name.startswith(".") and name.endswith(_ASIDE)


@contextlib.contextmanager
def _as_os_errors() -> Iterator[None]:
    try:
        yield
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(error.message) from error
    except tf.errors.OpError as error:
        raise OSError(error.message) from error
