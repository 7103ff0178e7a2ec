"""How a version becomes visible: written aside, then moved to its number in one rename.

What is being written lies in `<base_path>/.writing-*/`, which is no number and so no
version to any reader. The folder is locked while its writer lives; the next export
removes those that nobody holds any more, which a killed writer left behind.

A store outside of this machine, as under `gs://`, knows neither locks nor renames of
folders: a version is written here and copied, `saved_model.pb` last, without which it
is no version. Two that export to it at a time may choose the same number.
"""

import contextlib
import errno
import fcntl
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

from savedmodels import paths, store
from savedmodels.errors import ExportError

_PREFIX = ".writing-"
# A graph, its warm-up requests and `model.tflite` without their weights.
_FIXED_BYTES = 16 * 2**20


def check_writable(base_path: pathlib.Path, weight_bytes: int = 0) -> None:
    """Checks that a version can be written, before any work is spent on it.

    Args:
        base_path: `<store>/<model>`; made if missing.
        weight_bytes: Size of all variables. They are written twice: once for
            TensorFlow, once for LiteRT.

    Raises:
        ExportError: The folder cannot be made or written, or the disk is too full.
    """
    with as_export_error(base_path):
        base_path.mkdir(parents=True, exist_ok=True)
        if paths.is_remote(base_path):
            _probe(base_path)
            return
        with folder(base_path):
            pass
        free = shutil.disk_usage(base_path).free
    needed = 2 * weight_bytes + _FIXED_BYTES
    if free < needed:
        raise ExportError(
            f"The disk of `{base_path}` is too full for a version. "
            f"Expected {needed / 2**20:.0f} MiB to be free. "
            f"Received: {free / 2**20:.0f} MiB. Make room, or name another store."
        )


def check_free(base_path: pathlib.Path, version: int) -> None:
    """Checks that a version may get a number.

    Raises:
        ExportError: The number is below 1, or taken.
    """
    if version < 1:
        raise ExportError(
            f"That is no number for a version. Expected 1 or above. "
            f"Received: {version}."
        )
    if version in _taken(base_path):
        raise ExportError(
            f"Version {version} of `{base_path.name}` is there already. "
            f"Expected a number that is free. Received: {version}."
        )


@contextlib.contextmanager
def as_export_error(base_path: pathlib.Path) -> Iterator[None]:
    """Turns the system's refusal to write into an `ExportError`."""
    try:
        yield
    except OSError as error:
        raise ExportError(
            f"No version can be written to `{base_path}`. Expected a folder that may "
            f"be written, on a disk with room. "
            f"Received: {error.strerror or error}. Name another store with `STORE=`."
        ) from error


@contextlib.contextmanager
def folder(base_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a fresh folder inside `base_path`, and removes it and what is left in it.

    For a store outside of this machine it is one of the system's temporary folders.

    Args:
        base_path: `<store>/<model>`; exists.

    Raises:
        OSError: The folder could not be made.
    """
    if paths.is_remote(base_path):
        with tempfile.TemporaryDirectory(prefix="maaskit-version-") as name:
            yield pathlib.Path(name)
        return
    with contextlib.ExitStack() as stack:
        with _hold(base_path, wait=True) as held:
            if held:
                _remove_abandoned(base_path)
            path = pathlib.Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base_path))
            stack.callback(shutil.rmtree, path, ignore_errors=True)
            # Before the base path is let go, so that nobody takes it for abandoned.
            stack.enter_context(_hold(path, wait=False))
        yield path


def publish(
    written: pathlib.Path, base_path: pathlib.Path, version: int | None = None
) -> pathlib.Path:
    """Makes a complete version visible, in one rename.

    Two processes that publish at the same time get different numbers.

    Args:
        written: Folder of the version, inside the one that `folder` gave.
        base_path: `<store>/<model>`.
        version: Positive number; None for one above the highest there is.

    Returns:
        `base_path/<version>`.

    Raises:
        ExportError: That version is there already, or is no number for one.
        OSError: It could not be moved.
    """
    if paths.is_remote(base_path):
        return _upload(written, base_path, version)
    _flush(written)
    while True:
        if version is not None:
            check_free(base_path, version)
        number = version or 1 + max(_taken(base_path), default=0)
        target = base_path / str(number)
        try:
            os.rename(written, target)
        except OSError as error:
            # Another process took this number since it was looked at.
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                continue
            raise
        return target


def _upload(
    written: pathlib.Path, base_path: pathlib.Path, version: int | None
) -> pathlib.Path:
    """Copies a version to a store that knows no renames of folders."""
    if version is not None:
        check_free(base_path, version)
    target = base_path / str(version or 1 + max(_taken(base_path), default=0))
    files = [file for file in written.rglob("*") if file.is_file()]
    files.sort(key=lambda file: file == written / store.SAVED_MODEL)  # the last one
    try:
        for file in files:
            copied = target / file.relative_to(written)
            copied.parent.mkdir(parents=True, exist_ok=True)
            paths.copy(file, copied)
    except BaseException:
        paths.remove_tree(target)
        raise
    return target


def _probe(base_path: pathlib.Path) -> None:
    """Writes a file, which is all that shows whether one can be written."""
    probe = base_path / f"{_PREFIX}probe"
    probe.write_bytes(b"")
    probe.unlink()


def _taken(base_path: pathlib.Path) -> set[int]:
    """Every number in use, also of a broken version or of a plain file."""
    if not base_path.is_dir():
        return set()
    numbers = (store.parse_version(child.name) for child in base_path.iterdir())
    return {number for number in numbers if number is not None}


def _flush(path: pathlib.Path) -> None:
    """Puts every file on the disk: a power cut must not keep the rename alone."""
    for file in path.rglob("*"):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())


def _remove_abandoned(base_path: pathlib.Path) -> None:
    """Removes what killed writers left in `base_path`, which the caller holds."""
    for path in base_path.glob(f"{_PREFIX}*"):
        # Its writer may end, and remove it, at any moment.
        with contextlib.suppress(FileNotFoundError), _hold(path, wait=False) as held:
            if held:
                shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _hold(path: pathlib.Path, *, wait: bool) -> Iterator[bool]:
    """Locks a folder; yields False where it is taken, or where locks do not exist.

    The system lets go of the lock when the process ends, however it ends.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = True
        except OSError:
            held = False  # Some network file systems lock no folders.
        yield held
    finally:
        os.close(descriptor)
