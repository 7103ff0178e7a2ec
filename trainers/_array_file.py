"""One file that holds arrays, what is said of them, and the checksum of it all.

    a line of JSON, then each array as `numpy.save` writes it, then SHA-256

It is written in one go, however large, and checked as a whole before any of it counts.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from trainers import _storage

_DIGEST_BYTES = hashlib.sha256().digest_size
_CHUNK_BYTES = 1 << 20


class DamagedError(Exception):
    """The file is not what was written."""


def write(
    path: _storage.Path, header: Mapping[str, Any], arrays: Sequence[np.ndarray]
) -> None:
    """Writes a file in the place of `path`.

    Args:
        path: In a folder that exists.
        header: What JSON can hold.
        arrays: Of plain types.

    Raises:
        OSError: It cannot be written.
    """
    with _storage.replacing(path) as file:
        hashed = _Hashed(file)
        content = json.dumps({**header, "arrays": len(arrays)})
        hashed.write(content.encode() + b"\n")
        for array in arrays:
            np.lib.format.write_array(hashed, np.asarray(array), allow_pickle=False)
        file.write(hashed.digest)


def read(path: _storage.Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Returns the header and the arrays.

    Raises:
        DamagedError: The checksum is of something else.
        FileNotFoundError: There is no such file.
    """
    with _storage.reading(path) as file:
        _check(file, path)
        header = json.loads(file.readline())
        count = header.pop("arrays")
        return header, [
            np.lib.format.read_array(file, allow_pickle=False) for _ in range(count)
        ]


def read_header(path: _storage.Path) -> dict[str, Any]:
    """Returns the header alone, without a look at the rest.

    Raises:
        DamagedError: There is none.
        FileNotFoundError: There is no such file.
    """
    with _storage.reading(path) as file:
        try:
            header = json.loads(file.readline())
        except ValueError as error:
            raise DamagedError(os.path.basename(path)) from error
    if not isinstance(header, dict):
        raise DamagedError(os.path.basename(path))
    return header


def check(path: _storage.Path) -> None:
    """Accepts a file that is what was written.

    Raises:
        DamagedError: It is not, or it is missing.
    """
    try:
        with _storage.reading(path) as file:
            _check(file, path)
    except FileNotFoundError as error:
        raise DamagedError(os.path.basename(path)) from error


def _check(file: BinaryIO, path: _storage.Path) -> None:
    """Compares the checksum, and goes back to the beginning."""
    left = file.seek(0, os.SEEK_END) - _DIGEST_BYTES
    file.seek(0)
    found = hashlib.sha256()
    while left > 0 and (chunk := file.read(min(left, _CHUNK_BYTES))):
        found.update(chunk)
        left -= len(chunk)
    if left != 0 or file.read() != found.digest():
        raise DamagedError(os.path.basename(path))
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
