"""Which of the versions on disk should be loaded: latest, all, or some by number."""

import dataclasses
import pathlib
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True, slots=True)
class VersionPolicy:
    """TF Serving's `model_version_policy`.

    Attributes:
        num_versions: How many of the highest versions; None for all of them.
        specific: Version numbers that count alone; None where every one does.
    """

    num_versions: int | None = 1
    specific: frozenset[int] | None = None

    def choose(self, numbers: Iterable[int]) -> list[int]:
        """Returns those of `numbers` that should be loaded, highest first."""
        counting = [n for n in numbers if self.specific is None or n in self.specific]
        return sorted(counting, reverse=True)[: self.num_versions]


LATEST = VersionPolicy()
ALL = VersionPolicy(num_versions=None)


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """Where a model's versions lie, and which of them are wanted.

    Attributes:
        base_path: Folder of the versions.
        policy: Chooses among them.
    """

    base_path: pathlib.Path
    policy: VersionPolicy = LATEST
