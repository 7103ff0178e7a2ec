"""Where the scores of a run lie, and which of them are finished.

One file      scores.jsonl, with scores.jsonl.errors.jsonl for what was refused and
              scores.jsonl.manifest.json; on the way its parts lie in the hidden folder
              .scores.jsonl.parts
Shards        scores-00000-of-00004.jsonl, ... where `scores-*.jsonl` was asked for,
              with errors.jsonl, and _scores.manifests/ with 00000.json, ... for each
              shard, and with manifest.json, which is there once all of them are

A shard is finished once its own manifest is there, which is written last. It is kept
by a later run if that manifest fits the run, and the file its checksum.
"""

import dataclasses
import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import time
from collections.abc import Iterable
from typing import Any

from pipelines import _atomic, _formats
from savedmodels.errors import MaaskitError, UsageError

_RUN, _ALL = "run.json", "manifest.json"
_LOCK_WAIT_S = 10.0  # for what a killed run left to die
_NUMBER = r"\d{5}-of-\d{5}"


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one output.

    Attributes:
        target: The file, or the pattern of the shards.
        shards: How many there are.
    """

    target: pathlib.Path
    shards: int = 1

    @property
    def is_sharded(self) -> bool:
        """Whether every shard has a file of its own for good."""
        return "*" in self.target.name

    @property
    def work(self) -> pathlib.Path:
        """The folder of the manifests, and of the parts of a single file."""
        name = self.target.name
        if not self.is_sharded:
            return self.target.with_name(f".{name}.parts")
        start = name.partition("*")[0].rstrip("-_.")
        return self.target.with_name(f"_{start or 'scores'}.manifests")

    @property
    def errors(self) -> pathlib.Path:
        """The list of all that was refused."""
        if self.is_sharded:
            return self.target.with_name("errors.jsonl")
        return self.target.with_name(f"{self.target.name}.errors.jsonl")

    @property
    def manifest(self) -> pathlib.Path:
        """What is there once all is done."""
        if self.is_sharded:
            return self.work / _ALL
        return self.target.with_name(f"{self.target.name}.manifest.json")

    @property
    def plot(self) -> pathlib.Path:
        """The picture of drift, where it can be judged."""
        if self.is_sharded:
            return self.work / "drift.png"
        return self.target.with_name(f"{self.target.name}.drift.png")

    def data(self, shard: int) -> pathlib.Path:
        """The scores of one shard."""
        number = f"{shard:05}-of-{self.shards:05}"
        if self.is_sharded:
            return self.target.with_name(self.target.name.replace("*", number))
        return self.work / f"{number}.{_formats.of(self.target)}"

    def shard_errors(self, shard: int) -> pathlib.Path:
        """What was refused of one shard."""
        return self.work / f"{shard:05}.errors.jsonl"

    def shard_manifest(self, shard: int) -> pathlib.Path:
        """What tells that one shard is finished."""
        return self.work / f"{shard:05}.json"

    @property
    def run(self) -> pathlib.Path:
        """What the shards belong to."""
        return self.work / _RUN

    def found(self) -> list[pathlib.Path]:
        """The files of scores that are there, of this run or of others."""
        if not self.is_sharded:
            return [self.target]
        start, _, end = map(re.escape, self.target.name.partition("*"))
        name = re.compile(start + _NUMBER + end)
        try:
            paths = list(self.target.parent.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [path for path in paths if name.fullmatch(path.name)]


def of(typed: str) -> Layout:
    """Returns the layout that a name asks for.

    Args:
        typed: A file; a name with one `*` for the numbers of shards; or a folder, which
            stands for `scores-*.jsonl` in it.

    Raises:
        UsageError: Its ending is of no format, or it has several `*`.
    """
    path = pathlib.Path(typed)
    if typed.endswith("/") or path.is_dir():
        path = path / "scores-*.jsonl"
    _formats.of(path)
    if path.name.count("*") > 1 or "*" in str(path.parent):
        raise UsageError(
            "One `*` in the name of the output stands for the number of a shard. "
            f"Expected a name such as scores-*.csv. Received: {typed}."
        )
    return Layout(path)


class Folder:
    """The work folder of one run, held by this process."""

    def __init__(self, layout: Layout, fits: dict[str, Any]) -> None:
        """Opens the folder; what does not fit this run is removed from it.

        Args:
            layout: The output.
            fits: What a finished shard must be of: input, model, options.

        Raises:
            MaaskitError: It cannot be written, or another run holds it.
        """
        self.layout = layout
        try:
            layout.work.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(layout.work, os.O_RDONLY)
        except OSError as error:
            raise MaaskitError(
                f"Cannot write {layout.work}: {error.strerror or error}."
            ) from error
        self._take()
        earlier = _atomic.read_json(layout.run)
        self.earlier: dict[str, Any] = earlier if earlier.get("fits") == fits else {}
        # Names of what is another than in the earlier run, if there was one.
        self.changed = sorted(
            name
            for name, value in fits.items()
            if earlier and not self.earlier
            if (earlier.get("fits") or {}).get(name) != value
        )
        if not self.earlier:
            self._clear()

    def _take(self) -> None:
        end = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                return fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    os.close(self._lock)
                    raise MaaskitError(
                        "Another run is writing this output. Expected none. "
                        f"Received: {self.layout.target}."
                    ) from None
                time.sleep(0.1)

    def _clear(self) -> None:
        layout = self.layout
        # First what says that all, or one, is finished; then what it speaks of.
        if layout.is_sharded:
            layout.manifest.unlink(missing_ok=True)
        for path in [*layout.work.glob("*.json"), *layout.work.iterdir()]:
            path.unlink(missing_ok=True)
        if layout.is_sharded:
            for path in [*layout.found(), layout.errors]:
                path.unlink(missing_ok=True)

    def finished(self) -> dict[int, dict[str, Any]]:
        """Returns the manifests of the shards that need not be done again."""
        found = {}
        for shard in range(self.layout.shards):
            manifest = _atomic.read_json(self.layout.shard_manifest(shard))
            if manifest and _is_whole(self.layout.data(shard), manifest):
                found[shard] = manifest
            else:
                self.layout.shard_manifest(shard).unlink(missing_ok=True)
        return found

    def join(self, manifest: dict[str, Any]) -> None:
        """Makes one file of the parts, if that is asked for, and says that all is done.

        Args:
            manifest: Of the whole run.

        Raises:
            MaaskitError: It cannot be written.
        """
        layout = self.layout
        layout.manifest.unlink(missing_ok=True)
        self._join_errors()
        if layout.is_sharded:
            _atomic.write_json(layout.manifest, manifest)
            return
        if layout.shards == 1:
            os.replace(layout.data(0), os.path.realpath(layout.target))
        else:
            manifest = manifest | self._join_parts()
        _atomic.write_json(layout.manifest, manifest)
        shutil.rmtree(layout.work)

    def _join_parts(self) -> dict[str, Any]:
        """Writes the one file, and returns its size and checksum."""
        layout = self.layout
        file = _atomic.AtomicFile(layout.target)
        try:
            parts = [layout.data(shard) for shard in range(layout.shards)]
            if _formats.of(layout.target) == "parquet":
                from pipelines import _parquet_scores  # it brings pyarrow

                _parquet_scores.join(file, parts)
            else:
                for part in parts:
                    _copy(part, file)
            file.publish()
            return {"bytes": file.size, "sha256": file.sha256}
        finally:
            file.discard()

    def _join_errors(self) -> None:
        layout = self.layout
        lists = [layout.shard_errors(shard) for shard in range(layout.shards)]
        there = [path for path in lists if path.exists()]
        if not there:
            layout.errors.unlink(missing_ok=True)
            return
        file = _atomic.AtomicFile(layout.errors)
        try:
            for path in there:
                _copy(path, file)
            file.publish()
        finally:
            file.discard()

    def list_errors(self, lines: Iterable[str], finished: Iterable[int]) -> None:
        """Lists what was refused so far, of a run that ends because of it.

        Args:
            lines: Of shards that are not finished.
            finished: Shards whose lists are there.
        """
        file = _atomic.AtomicFile(self.layout.errors)
        try:
            for shard in finished:
                if self.layout.shard_errors(shard).exists():
                    _copy(self.layout.shard_errors(shard), file)
            file.write("".join(lines).encode())
            file.publish()
        finally:
            file.discard()

    def close(self) -> None:
        """Lets other runs have the folder."""
        os.close(self._lock)


def _is_whole(path: pathlib.Path, manifest: dict[str, Any]) -> bool:
    """Whether a shard's file is the one that its manifest speaks of."""
    try:
        if path.stat().st_size != manifest.get("bytes"):
            return False
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    except OSError:
        return False
    return digest.hexdigest() == manifest.get("sha256")


def _copy(path: pathlib.Path, file: _atomic.AtomicFile) -> None:
    with path.open("rb") as part:
        while block := part.read(1 << 20):
            file.write(block)
