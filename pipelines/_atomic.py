"""Files that are there whole or not at all, whenever the process dies."""

import fcntl
import hashlib
import json
import os
import pathlib
import secrets
from typing import IO, Any

from savedmodels.errors import MaaskitError


class AtomicFile:
    """Bytes written beside `path`, which take the name in one rename.

    What a killed process left behind is removed when the same path is written again;
    a lock, which dies with its process, tells that from the file of a living one.

    Attributes:
        path: Where the file will be.
        size: Bytes written so far.
    """

    def __init__(self, path: pathlib.Path) -> None:
        """Opens the temporary file, in the folder of `path`.

        Args:
            path: Where the file will be. Folders are made if missing; a link stays one.

        Raises:
            MaaskitError: The folder cannot be written to.
        """
        self.path = pathlib.Path(os.path.realpath(path))
        self.size = 0
        self._digest = hashlib.sha256()
        self._prefix = f".{self.path.name}.writing-"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._remove_leftovers()
            self._temporary, self._file = self._open()
        except OSError as error:
            raise self._error(error) from error

    @property
    def sha256(self) -> str:
        """Of what was written so far, in hex digits."""
        return self._digest.hexdigest()

    @property
    def closed(self) -> bool:
        """Whether it is published or discarded; pyarrow asks, as for the next two."""
        return self._file.closed

    def tell(self) -> int:
        """Returns the bytes written so far."""
        return self.size

    def flush(self) -> None:
        """Does nothing: `publish` flushes."""

    def write(self, data: bytes) -> int:
        """Appends bytes, and returns how many.

        Raises:
            MaaskitError: The disk is full, or fails.
        """
        if self.closed:
            return len(data)  # what a format still has to say once it was discarded
        try:
            self._file.write(data)
        except OSError as error:
            raise self._error(error) from error
        self._digest.update(data)
        self.size += len(data)
        return len(data)

    def publish(self) -> None:
        """Brings all to the disk, then gives it its name.

        Raises:
            MaaskitError: The disk is full, or fails; `path` is as it was.
        """
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            os.replace(self._temporary, self.path)
            self._file.close()
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # the new name too
            finally:
                os.close(folder)
        except OSError as error:
            raise self._error(error) from error

    def discard(self) -> None:
        """Removes what was written; does nothing after `publish`."""
        if self._file.closed:
            return
        self._temporary.unlink(missing_ok=True)
        try:
            self._file.close()
        except OSError:
            pass  # a full disk cannot take the rest, which nobody wants any more

    def _open(self) -> tuple[pathlib.Path, IO[bytes]]:
        while True:
            path = self.path.with_name(self._prefix + secrets.token_hex(4))
            file = path.open("xb")
            fcntl.flock(file, fcntl.LOCK_EX)
            # Another process may have taken it for a leftover before the lock.
            if os.fstat(file.fileno()).st_nlink:
                return path, file
            file.close()

    def _remove_leftovers(self) -> None:
        for entry in os.scandir(self.path.parent):
            if not entry.name.startswith(self._prefix):
                continue
            try:
                with open(entry.path, "rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(entry.path)
            except (BlockingIOError, FileNotFoundError):
                continue  # its process lives, or has just finished

    def _error(self, error: OSError) -> MaaskitError:
        return MaaskitError(f"Cannot write {self.path}: {error.strerror or error}.")


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes a small JSON file in one step.

    Raises:
        MaaskitError: It cannot be written.
    """
    file = AtomicFile(path)
    try:
        file.write(json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n")
        file.publish()
    finally:
        file.discard()


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Returns the object that a file holds; an empty one for none, or a broken one."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
