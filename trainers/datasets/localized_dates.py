"""Localized dates: dates as people of 149 languages write them, and in ISO 8601.

Examples  source_text [] string, UTF-8 in NFC: "4 de julho de 1776", "2024年3月4日";
          target_text [] string, "1776-07-04"; locale [] string, "pt"; pattern []
          string, the CLDR's date pattern, "d 'de' MMMM 'de' y"
Licence   Unicode License v3 (the CLDR's names and patterns)
Source    generated, nobody wrote these: dates of the years 1000 to 2999 by chance, in
          the formats of the Unicode CLDR, as babel packages it
Made of   every locale of a language that is official somewhere; every pattern of its
          Gregorian calendar with day, month and whole year; digits as the locale
          writes them. 1,293 ways of writing, a locale with a pattern each: of locales
          that write alike, as many countries of one language do, one stands for all

Left out are the ways whose text does not tell the date: years of two digits, and what
another way reads as another date. "3/4/2024" goes, since Americans and Britons do not
agree; "2024-03-04" stays, since nine ways in ten agree, and the tenth goes. Weekdays do
not help here: nobody reads a date by the calendar.

The split: a twentieth of the ways are for validation alone, a tenth for test alone, and
likewise of the days. So a test example has a day and a way of writing that no other
split has. Every name in it (month, weekday, era) does occur in training in the same
locale: how a month is called can be learnt, and not guessed. Hashes decide, so the
split stays the same.
"""

import collections
import datetime
import hashlib
import importlib
import importlib.metadata
import random
import re
import types
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow_datasets as tfds

from trainers.datasets._builder import About, GeneratedBuilder

FIRST_YEAR, LAST_YEAR = 1000, 2999

_SEED = 20240304
_TEST, _VALIDATION = 0.10, 0.05  # shares of the ways, and of the days
# So many of the ways that write a text have to mean the same date by it.
_AGREEMENT = 0.9
# For days and for months: enough to see which is which, as all share their order.
_NUMBERS = (3, 4, 11)


class LocalizedDates(GeneratedBuilder):
    """Builds `source_text`, `target_text`, `locale` and `pattern`, [] string each."""

    VERSION = tfds.core.Version("1.0.0")
    ABOUT = About(
        summary="Dates as people of 149 languages write them, and in ISO 8601.",
        licence="Unicode License v3",
        source="generated from the Unicode CLDR",
        splits={"train": 64_000, "validation": 2_000, "test": 4_000},
    )

    @classmethod
    def features(cls) -> tfds.features.FeaturesDict:
        """Returns both texts, and how the first is written."""
        names = ("source_text", "target_text", "locale", "pattern")
        return tfds.features.FeaturesDict({n: tfds.features.Text() for n in names})

    @classmethod
    def made_with(cls) -> str:
        """Returns the version of babel, without importing it."""
        return f"babel {importlib.metadata.version('babel')}"

    def generate(self) -> dict[str, Iterator[Mapping[str, Any]]]:
        """Returns as many examples as `ABOUT` says; different ones, by chance."""
        self.info.metadata["cldr"] = _cldr().VERSION
        split = split_ways(ways())
        return {
            name: _examples(split[name], name, size)
            for name, size in self.ABOUT.splits.items()
        }


class Way(NamedTuple):
    """A way of writing a date.

    Attributes:
        locale: Identifier of the locale.
        pattern: The CLDR's pattern.
    """

    locale: str
    pattern: str

    @property
    def fields(self) -> tuple[str, ...]:
        """The pattern's fields without what is quoted: `d`, `MMMM`, `y`."""
        bare = re.sub(r"'[^']*'", "", self.pattern)
        return tuple(m[0] for m in re.finditer(r"([a-zA-Z])\1*", bare))


def write(way: Way, date: datetime.date) -> str:
    """Returns a date as text.

    Args:
        way: How.
        date: What.
    """
    return _cldr().written(way.locale, way.pattern, date)


def ways() -> list[Way]:
    """Returns every way of writing that the data set knows, in a fixed order."""
    cldr = _cldr()
    found: dict[tuple[Any, ...], Way] = {}
    for locale in cldr.locales():
        for pattern in cldr.patterns(locale):
            way = Way(locale, pattern)
            if not _is_whole(way):
                continue
            words = tuple(cldr.names(locale, field) for field in way.fields)
            # Where the CLDR has no names, it calls the months M01 to M12.
            if not any("M01" in names for names in words):
                key = (pattern, words, cldr.numbering_system(locale))
                found.setdefault(key, way)
    return _unambiguous(list(found.values()))


def split_ways(known: Sequence[Way]) -> dict[str, list[Way]]:
    """Returns the ways of each split, as the module says.

    Args:
        known: All of them.

    Returns:
        `train`, `validation` and `test`: each way in one of them.
    """
    names = {way: _names(way) for way in known}
    # How many ways of training write each name.
    holders = collections.Counter(n for own in names.values() for n in own)
    sides: dict[str, list[Way]] = {"train": [], "validation": [], "test": []}
    room = {
        "test": round(_TEST * len(known)),
        "validation": round(_VALIDATION * len(known)),
    }
    for way in sorted(known, key=lambda way: _hash(*way)):
        can_go = all(holders[name] > 1 for name in names[way])
        side = next((side for side, left in room.items() if left and can_go), "train")
        if side != "train":
            room[side] -= 1
            holders.subtract(names[way])
        sides[side].append(way)
    return sides


def side_of(date: datetime.date) -> str:
    """Returns the only split that has this day."""
    place = int.from_bytes(_hash(date.isoformat())[:4]) / 2**32
    if place < _TEST:
        return "test"
    return "validation" if place < _TEST + _VALIDATION else "train"


def _examples(
    ways: Sequence[Way], split: str, size: int
) -> Iterator[Mapping[str, Any]]:
    """Yields different examples of one split, ways in turn and days by chance."""
    chance = random.Random(f"{_SEED} {split}")
    first = datetime.date(FIRST_YEAR, 1, 1).toordinal()
    last = datetime.date(LAST_YEAR, 12, 31).toordinal()
    order: list[Way] = []
    seen = set()
    while len(seen) < size:
        if not order:
            order = list(ways)
            chance.shuffle(order)
        date = datetime.date.fromordinal(chance.randint(first, last))
        if side_of(date) != split:
            continue
        way = order.pop()
        if (way, date) in seen:
            continue
        seen.add((way, date))
        yield {
            "source_text": write(way, date),
            "target_text": date.isoformat(),
            "locale": way.locale,
            "pattern": way.pattern,
        }


def _cldr() -> types.ModuleType:
    """Imported late: who lists data sets need not wait for babel."""
    return importlib.import_module("trainers.datasets._cldr")


def _is_whole(way: Way) -> bool:
    """Whether the pattern holds day, month and year, all of it, and no time."""
    letters = {field[0] for field in way.fields}
    return (
        {"y", "d"} <= letters <= set("yMLdEcG")
        and len(letters & set("ML")) == 1
        and "yy" not in way.fields
        # A single letter stands for several months; as an era, nobody writes it.
        and not {"MMMMM", "LLLLL", "GGGGG"} & set(way.fields)
    )


def _unambiguous(known: Sequence[Way]) -> list[Way]:
    """The ways whose every text means the same date to nine in ten that write it."""
    readings: dict[str, collections.Counter[str]] = collections.defaultdict(
        collections.Counter
    )
    texts: dict[Way, list[tuple[str, str]]] = {}
    for way in known:
        bare = _written_bare(way)
        texts[way] = bare
        for text, date in bare:
            readings[text][date] += 1
    return [
        way
        for way in known
        if all(
            readings[text][date] >= _AGREEMENT * readings[text].total()
            for text, date in texts[way]
        )
    ]


def _written_bare(way: Way) -> list[tuple[str, str]]:
    """Texts of a way with their dates, as a reader sees them who ignores details.

    Without weekday, era, blanks, case, signs of direction and zeros in front.
    """
    pattern = re.sub(r"('[^']*')|[EcG]+", lambda found: found[1] or "", way.pattern)
    is_numeric = not any(
        field in ("MMM", "MMMM", "LLL", "LLLL") for field in way.fields
    )
    # Numbers can be taken for each other, names only for other names.
    days = _NUMBERS if is_numeric else (25,)
    found = []
    for month in _NUMBERS if is_numeric else range(1, 13):
        for day in days:
            date = datetime.date(2024, month, day)
            text = _cldr().written(way.locale, pattern, date)
            text = "".join(
                str(unicodedata.decimal(c, c))
                for c in unicodedata.normalize("NFKC", text).casefold()
                if not c.isspace() and unicodedata.category(c) != "Cf"
            )
            text = re.sub(r"(?<!\d)0+", "", text).strip(".,،፣()（）")
            found.append((text, date.isoformat()))
    return found


def _names(way: Way) -> frozenset[tuple[str, ...]]:
    """What names a way uses: as `("pt_BR", "MMMM")`. Numbers are no names."""
    names = [f for f in way.fields if f[0] in "EcG" or (f[0] in "ML" and len(f) > 2)]
    # The same words: E, EE and EEE; ccc is another form.
    return frozenset((way.locale, re.sub("^E{1,3}$", "EEE", name)) for name in names)


def _hash(*parts: str) -> bytes:
    return hashlib.sha256("|".join(parts).encode()).digest()
