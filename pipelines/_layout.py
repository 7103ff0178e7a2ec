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
import pathlib
import re

from pipelines import _formats
from savedmodels.errors import UsageError

_RUN, _ALL = "run.json", "manifest.json"
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
