"""Run folders: where a training run keeps its files, and finds them after a kill.

    <runs>/<model>/<YYYYMMDD-HHMMSS>/
        config.json        what is trained, and the fingerprint of it
        ended.json         once the run has ended: the version it became, or why
        lock               held by the process that is training here
        checkpoints/ logs/ metrics.json report.png

A run without `ended.json` is unfinished. The next one with the same configuration
goes on with it, unless another process still holds its lock.

Outside of this machine, as under `gs://`, there are no locks: the same command typed
twice at a time there is two processes that overwrite each other's files.
"""

import contextlib
import datetime
import fcntl
import json
import pathlib
from typing import Any, Protocol

from savedmodels import paths, whole_files
from trainers import _config
from trainers._config import TrainConfig
from trainers._errors import TrainingError

_CONFIG, _ENDED, _LOCK = "config.json", "ended.json", "lock"


class _Lock(Protocol):
    """What is held until it is closed."""

    def close(self) -> None:
        """Lets go."""


class Run:
    """One run folder, held by this process until `close`.

    Attributes:
        path: The folder.
        resumed: Whether an earlier process began it.
    """

    def __init__(self, path: pathlib.Path, lock: _Lock, resumed: bool) -> None:
        self.path = path
        self.resumed = resumed
        self._lock = lock

    @property
    def checkpoints(self) -> pathlib.Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def logs(self) -> pathlib.Path:
        """Folder of the TensorBoard logs."""
        return self.path / "logs"

    def finish(self, version_path: pathlib.Path) -> None:
        """Marks the run as exported, so that no later one goes on with it.

        Args:
            version_path: The version that it became.
        """
        self._end({"exported": str(version_path)})

    def fail(self, reason: str) -> None:
        """Marks the run as not worth going on with.

        Args:
            reason: Why, for the person who finds the folder.
        """
        self._end({"failed": reason})

    def close(self) -> None:
        """Lets other processes have the run. An unfinished one can be resumed."""
        self._lock.close()

    def _end(self, how: dict[str, str]) -> None:
        write_json(self.path / _ENDED, how)
        self.close()


def open_run(runs: pathlib.Path, name: str, config: TrainConfig) -> Run:
    """Opens the newest unfinished run of this configuration, or a new one.

    Args:
        runs: Folder of all runs, made if missing.
        name: Model name.
        config: What is trained.

    Raises:
        TrainingError: The folder cannot be made or written.
    """
    parent = runs / name
    try:
        parent.mkdir(parents=True, exist_ok=True)
        found = _unfinished(parent, _config.fingerprint(config))
        return found or _new(parent, config)
    except OSError as error:
        raise TrainingError(
            f"The run folder under `{parent}` cannot be written. A folder on a disk "
            f"with free space was expected. Received: {error}. "
            "Choose another with --runs."
        ) from error


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes `content` as JSON in one step: the file is whole or not there.

    Raises:
        OSError: The file cannot be written; the old one, if any, is untouched.
    """
    text = json.dumps(content, indent=2) + "\n"
    whole_files.write(path, text.encode())


def _unfinished(parent: pathlib.Path, fingerprint: str) -> Run | None:
    """The newest run to go on with, locked; None if there is none."""
    for path in sorted(parent.iterdir(), reverse=True):
        if _fingerprint_of(path) != fingerprint:
            continue
        lock = _lock(path)
        if lock is None:
            continue
        # Looked at under the lock: the other process may have ended it just now.
        if (path / _ENDED).exists():
            lock.close()
            continue
        return Run(path, lock, resumed=True)
    return None


def _new(parent: pathlib.Path, config: TrainConfig) -> Run:
    """A folder named after this second, or after the next free one."""
    moment = datetime.datetime.now()
    while True:
        path = parent / moment.strftime("%Y%m%d-%H%M%S")
        try:
            path.mkdir()
        except FileExistsError:
            moment += datetime.timedelta(seconds=1)
            continue
        lock = _lock(path)
        if lock is None:
            # Taken between the two calls by a process that looks for work.
            continue
        content = {
            "fingerprint": _config.fingerprint(config),
            "config": _config.as_dict(config),
        }
        write_json(path / _CONFIG, content)
        return Run(path, lock, resumed=False)


def _fingerprint_of(path: pathlib.Path) -> str | None:
    """None for what is no run, or one that was killed before it began."""
    try:
        content = json.loads((path / _CONFIG).read_text())
    except (OSError, ValueError):
        return None
    return content.get("fingerprint") if isinstance(content, dict) else None


def _lock(path: pathlib.Path) -> _Lock | None:
    """An open file that the kernel unlocks when this process ends; None if held."""
    if paths.is_remote(path):
        return contextlib.ExitStack()  # nothing to let go of
    file = (path / _LOCK).open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
