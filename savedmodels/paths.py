"""Paths of stores and runs: on this machine, or wherever `tf.io.gfile` reaches.

`of("artifacts/models")` is a plain `pathlib.Path`. `of("gs://bucket/models")` is one
too, whose methods go through TensorFlow's file systems: `gs://`, `hdfs://`, `s3://`
with TensorFlow's plug-in for it, and `ram://`, which lives as long as the process.

What such a file system cannot do is not pretended: there are no locks, and a folder
is not renamed in one step. A file is: it is there when it is complete.
"""

import contextlib
import errno
import fnmatch
import io
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://")


def of(text: str | os.PathLike[str]) -> pathlib.Path:
    """Returns what was typed as a path.

    Args:
        text: A path of this machine, or `<scheme>://<path>`.
    """
    name = os.fspath(text)
    return RemotePath(name) if _SCHEME.match(name) else pathlib.Path(name)


def is_remote(path: pathlib.Path) -> bool:
    """Whether a path lies outside of this machine's own file systems."""
    return isinstance(path, RemotePath)


def copy(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copies a file, from and to wherever.

    Raises:
        OSError: It cannot be read or written.
    """
    with _as_os_error(target):
        _gfile().copy(str(source), str(target), overwrite=True)


@contextlib.contextmanager
def here(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a folder of this machine with the same in it: the same one, or a copy.

    Raises:
        OSError: It cannot be read, or there is no room for a copy.
    """
    if not is_remote(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="maaskit-") as name:
        local = pathlib.Path(name, folder.parent.name, folder.name)
        for file in folder.rglob("*"):
            if file.is_file():
                target = local / file.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                copy(file, target)
        yield local


def remove_tree(path: pathlib.Path) -> None:
    """Removes a folder with all that is in it, as far as that is possible."""
    if not is_remote(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError), _as_os_error(path):
        _gfile().rmtree(str(path))


class RemotePath(type(pathlib.Path())):  # type: ignore[misc]
    """A path with a scheme, with those methods that work there too."""

    __slots__ = ()

    def __str__(self) -> str:
        """Puts the scheme's second slash back, which pathlib drops."""
        first, *rest = self.parts or ("",)
        if first.endswith(":"):
            return f"{first}//{'/'.join(rest)}"
        return "/".join([first, *rest])

    def absolute(self) -> "RemotePath":
        """Returns the same path: it is absolute."""
        return self

    def resolve(self, strict: bool = False) -> "RemotePath":
        """Returns the same path: there are no links."""
        del strict
        return self

    def exists(self, **_: Any) -> bool:
        """Whether there is such a file or folder."""
        with _as_os_error(self):
            return bool(_gfile().exists(str(self)))

    def is_dir(self, **_: Any) -> bool:
        """Whether there is such a folder."""
        with _as_os_error(self):
            return bool(_gfile().isdir(str(self)))

    def is_file(self, **_: Any) -> bool:
        """Whether there is such a file."""
        return self.exists() and not self.is_dir()

    def iterdir(self) -> Iterator["RemotePath"]:
        """Yields what lies in the folder."""
        with _as_os_error(self):
            names = _gfile().listdir(str(self))
        for name in names:
            yield self / name.rstrip("/")  # which some add to folders

    def glob(self, pattern: str, **_: Any) -> Iterator["RemotePath"]:
        """Yields what lies in the folder by a name that fits the pattern."""
        if self.is_dir():
            for path in self.iterdir():
                if fnmatch.fnmatchcase(path.name, pattern):
                    yield path

    def rglob(self, pattern: str, **_: Any) -> Iterator["RemotePath"]:
        """Yields the same of this folder and of all below it."""
        yield from self.glob(pattern)
        for path in self.glob("*"):
            if path.is_dir():
                yield from path.rglob(pattern)

    def mkdir(
        self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False
    ) -> None:
        """Makes the folder, and always those above it: many have none to make."""
        del mode, parents
        if not exist_ok and self.exists():
            raise FileExistsError(errno.EEXIST, "It is there already", str(self))
        with _as_os_error(self):
            _gfile().makedirs(str(self))

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes the file."""
        try:
            with _as_os_error(self):
                _gfile().remove(str(self))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def replace(self, target: str | os.PathLike[str]) -> pathlib.Path:
        """Gives the file another name, whatever had it."""
        with _as_os_error(self):
            _gfile().rename(str(self), os.fspath(target), overwrite=True)
        return of(target)

    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        """Opens the file to be read, or to be written anew when it is closed."""
        del buffering
        kind = mode.replace("b", "").replace("t", "")
        if kind not in ("r", "w"):
            raise ValueError(f"Expected mode r, rb, w or wb. Received: {mode}.")
        binary = io.BytesIO(self._read()) if kind == "r" else _Written(self)
        if "b" in mode:
            return binary
        encoding = "utf-8" if encoding in (None, "locale") else encoding
        return io.TextIOWrapper(binary, encoding, errors, newline)

    def _read(self) -> bytes:
        with _as_os_error(self), _gfile().GFile(str(self), "rb") as file:
            return bytes(file.read())


class _Written(io.BytesIO):
    """What becomes a file when it is closed, unless by an error."""

    def __init__(self, path: RemotePath) -> None:
        super().__init__()
        self._path = path

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if kind is not None:
            super().close()
        self.close()

    def close(self) -> None:
        if self.closed:
            return
        try:
            if str(self._path).startswith("ram:"):
                # TensorFlow would go on at the end of the old one there.
                self._path.unlink(missing_ok=True)
            with _as_os_error(self._path):
                with _gfile().GFile(str(self._path), "wb") as file:
                    file.write(self.getvalue())
        finally:
            super().close()


def _gfile() -> Any:
    """TensorFlow, for those who have such a path alone: its import takes seconds."""
    from savedmodels import protos

    return protos.import_tensorflow().io.gfile


@contextlib.contextmanager
def _as_os_error(path: pathlib.Path) -> Iterator[None]:
    """Turns TensorFlow's errors into those that the same would raise on a disk."""
    from savedmodels import protos

    errors = protos.import_tensorflow().errors
    try:
        yield
    except errors.OpError as error:
        numbers = {
            errors.NotFoundError: errno.ENOENT,
            errors.AlreadyExistsError: errno.EEXIST,
            errors.PermissionDeniedError: errno.EACCES,
            errors.UnauthenticatedError: errno.EACCES,
            errors.ResourceExhaustedError: errno.ENOSPC,
            errors.UnimplementedError: errno.EPROTONOSUPPORT,
        }
        number = numbers.get(type(error), errno.EIO)
        raise OSError(number, error.message, str(path)) from error
