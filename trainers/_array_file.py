"""One file that holds arrays, what is said of them, and the checksum of it all.

    a line of JSON, then each array as `numpy.save` writes it, then SHA-256

It is written in one go, however large, and checked as a whole before any of it counts.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from savedmodels import whole_files

_DIGEST_BYTES = hashlib.sha256().digest_size
_CHUNK_BYTES = 1 << 20


class DamagedError(Exception):
    """The file is not what was written."""


def write(
    path: pathlib.Path, header: Mapping[str, Any], arrays: Sequence[np.ndarray]
) -> None:
    """Writes a file in the place of `path`.

    Args:
        path: In a folder that exists.
        header: What JSON can hold.
        arrays: Of plain types.

    Raises:
        OSError: It cannot be written.
    """
    with whole_files.replacing(path) as file:
        hashed = _Hashed(file)
        content = json.dumps({**header, "arrays": len(arrays)})
        hashed.write(content.encode() + b"\n")
        for array in arrays:
            np.lib.format.write_array(hashed, np.asarray(array), allow_pickle=False)
        file.write(hashed.digest)


def read(path: pathlib.Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Returns the header and the arrays.

    Raises:
        DamagedError: The checksum is of something else.
        FileNotFoundError: There is no such file.
    """
    with path.open("rb") as file:
        _check(file, path)
        header = json.loads(file.readline())
        count = header.pop("arrays")
        return header, [
            np.lib.format.read_array(file, allow_pickle=False) for _ in range(count)
        ]


def read_header(path: pathlib.Path) -> dict[str, Any]:
    """Returns the header alone, without a look at the rest.

    Raises:
        DamagedError: There is none.
        FileNotFoundError: There is no such file.
    """
    with path.open("rb") as file:
        try:
            header = json.loads(file.readline())
        except ValueError as error:
            raise DamagedError(path.name) from error
    if not isinstance(header, dict):
        raise DamagedError(path.name)
    return header


def check(path: pathlib.Path) -> None:
    """Accepts a file that is what was written.

    Raises:
        DamagedError: It is not, or it is missing.
    """
    try:
        with path.open("rb") as file:
            _check(file, path)
    except FileNotFoundError as error:
        raise DamagedError(path.name) from error


def _check(file: BinaryIO, path: pathlib.Path) -> None:
    """Compares the checksum, and goes back to the beginning."""
    left = file.seek(0, os.SEEK_END) - _DIGEST_BYTES
    file.seek(0)
    found = hashlib.sha256()
    while left > 0 and (chunk := file.read(min(left, _CHUNK_BYTES))):
        found.update(chunk)
        left -= len(chunk)
    if left != 0 or file.read() != found.digest():
        raise DamagedError(path.name)
    file.seek(0)


class _Hashed:
    """Passes on what is written, and remembers its checksum."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> bytes:
        return self._hash.digest()

    def write(self, content: bytes) -> int:
        self._hash.update(content)
        return self._file.write(content)
