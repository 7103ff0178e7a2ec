"""What every data set here shares: a TFDS builder that reads a package, or computes.

Builder            one data set: features, licence, source, sizes
  PackagedBuilder  its examples lie in a package
  GeneratedBuilder its examples are computed, the same ones every time
"""

import abc
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import tensorflow_datasets as tfds
import tqdm

from trainers.datasets._package import Package, fetch

DOWNLOADS = "downloads"
# How the origin of a generated data set begins.
GENERATED = "generated with"


@dataclasses.dataclass(frozen=True, kw_only=True)
class About:
    """What to know of a data set before it is fetched.

    Attributes:
        summary: One line: what the examples are.
        licence: Licence of the data, or the terms they come under.
        source: Who made them, where they come from.
        splits: Number of examples by split.
    """

    summary: str
    licence: str
    source: str
    splits: Mapping[str, int]


class Builder(tfds.core.GeneratorBasedBuilder):
    """Makes a data set that lists itself without being made.

    A module `trainers/datasets/<name>.py` holds one, named as the module in
    CamelCase. Importing it does not import TensorFlow, so commands can list data
    sets at once.

    Attributes:
        VERSION: Version of what is written; raise it when that changes.
        ABOUT: Licence, source and sizes.
    """

    ABOUT: ClassVar[About]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # The names in TFDS's catalogue stay its own: it has a `mnist` too.
        super().__init_subclass__(skip_registration=True, **kwargs)

    @classmethod
    @abc.abstractmethod
    def features(cls) -> tfds.features.FeaturesDict:
        """Returns what one example holds; a model gets them in this order."""

    @classmethod
    @abc.abstractmethod
    def origin(cls) -> dict[str, str | None]:
        """Returns `package`, what the data come from, and `sha256`, None if unknown."""

    @abc.abstractmethod
    def examples(self) -> Mapping[str, Iterable[Mapping[str, Any]]]:
        """Returns the examples by split name.

        Raises:
            DatasetError: They cannot be had.
        """

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.ABOUT.summary,
            license=self.ABOUT.licence,
            homepage=self.ABOUT.source,
            features=self.features(),
            # In the source's own order: a published split stays recognisable.
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(self.origin()),
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, Mapping[str, Any]]]]:
        del dl_manager  # it knows URLs; these files come through pip
        return {
            split: self._generate_examples(split, examples)
            for split, examples in self.examples().items()
        }

    def _generate_examples(
        self, split: str, examples: Iterable[Mapping[str, Any]]
    ) -> Iterator[tuple[int, Mapping[str, Any]]]:
        bar = tqdm.tqdm(
            examples,
            f"{self.name} {split}",
            total=self.ABOUT.splits.get(split),
            unit=" examples",
            leave=False,
            disable=None,  # off where nobody watches
        )
        yield from enumerate(bar)


class PackagedBuilder(Builder):
    """Reads a data set from a package; a subclass gives `read` and the package.

    Attributes:
        PACKAGE: The package that holds the data.
    """

    PACKAGE: ClassVar[Package]

    @classmethod
    def origin(cls) -> dict[str, str | None]:
        """Returns name, version and hash of the package."""
        return {"package": str(cls.PACKAGE), "sha256": cls.PACKAGE.sha256}

    @abc.abstractmethod
    def read(self, package: pathlib.Path) -> Mapping[str, Iterable[Mapping[str, Any]]]:
        """Returns the examples by split name, read from the package's file.

        Raises:
            DatasetError: The file does not hold what it should.
        """

    def examples(self) -> Mapping[str, Iterable[Mapping[str, Any]]]:
        """Returns what the package holds, fetched first if need be."""
        return self.read(fetch(self.PACKAGE, self.data_dir_root / DOWNLOADS))


class GeneratedBuilder(Builder):
    """Computes a data set; a subclass gives `generate` and `made_with`.

    The examples follow from the code and from `made_with` alone. Nobody published
    them, so their hash is known once they are made.
    """

    @classmethod
    @abc.abstractmethod
    def made_with(cls) -> str:
        """Returns what else the examples depend on, with its version."""

    @abc.abstractmethod
    def generate(self) -> Mapping[str, Iterable[Mapping[str, Any]]]:
        """Returns as many examples as `ABOUT` says by split name, in JSON's types."""

    @classmethod
    def origin(cls) -> dict[str, str | None]:
        """Returns what the examples are generated with; no hash yet."""
        return {"package": f"{GENERATED} {cls.made_with()}", "sha256": None}

    def examples(self) -> Mapping[str, Iterable[Mapping[str, Any]]]:
        """Returns the examples, and notes their hash for provenance."""
        splits = {split: list(found) for split, found in self.generate().items()}
        canonical = json.dumps(splits, ensure_ascii=False, sort_keys=True)
        self.info.metadata["sha256"] = hashlib.sha256(canonical.encode()).hexdigest()
        return splits
