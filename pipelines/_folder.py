"""The work folder of a run: which shards are finished, and how they become one file."""

import fcntl
import hashlib
import os
import pathlib
import shutil
import time
from collections.abc import Iterable
from typing import Any

from pipelines import _atomic, _formats
from pipelines._layout import Layout
from savedmodels.errors import MaaskitError

_LOCK_WAIT_S = 10.0  # for what a killed run left to die


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
