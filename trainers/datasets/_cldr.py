"""What the Unicode CLDR knows of dates, out of babel: locales, patterns, names, digits.

babel is imported here, at the top: import this module where dates are made, not where
they are listed.
"""

import datetime
import functools
import unicodedata
from collections.abc import Iterator
from typing import Any

import babel
from babel import dates, languages, localedata
from babel.core import get_cldr_version, get_global

VERSION = get_cldr_version()

_STYLES = ("full", "long", "medium", "short")
# Scripts that were once proposed for English.
_OF_NO_COUNTRY = ("Dsrt", "Shaw")
# What a locale knows of dates.
_KNOWN = (
    "date_formats",
    "datetime_skeletons",
    "days",
    "default_numbering_system",
    "eras",
    "months",
)
# The first digit of ten, by the CLDR's name of the numbering system.
_ZEROS = {
    "adlm": 0x1E950,
    "arab": 0x0660,
    "arabext": 0x06F0,
    "beng": 0x09E6,
    "cakm": 0x11136,
    "deva": 0x0966,
    "hmnp": 0x1E140,
    "latn": 0x0030,
    "mtei": 0xABF0,
    "mymr": 0x1040,
    "nkoo": 0x07C0,
    "olck": 0x1C50,
    "tibt": 0x0F20,
}


class _Locale(babel.Locale):
    """A locale with names of its own.

    babel 2.18 resolves what several locales inherit for the first that asks, and then
    gives it to all: Persian weekdays are English once an English one was written.
    """

    @functools.cached_property
    def _data(self) -> localedata.LocaleDataDict:
        data = localedata.load(str(self))
        return localedata.LocaleDataDict({key: _copied(data[key]) for key in _KNOWN})


def locales() -> Iterator[str]:
    """Yields the locales of languages that are official somewhere, by name."""
    official = {
        language.partition("_")[0]
        for territory in get_global("territory_languages")
        for language in languages.get_official_languages(
            territory, regional=True, de_facto=True
        )
    }
    for identifier in sorted(localedata.locale_identifiers()):
        known = locale(identifier)
        if (
            known.language in official
            and known.default_numbering_system in _ZEROS
            and known.script not in _OF_NO_COUNTRY
            and not known.variant
        ):
            yield identifier


def patterns(identifier: str) -> list[str]:
    """Returns the patterns of a locale, each once; those of parts of dates too."""
    known = locale(identifier)
    found = [str(known.date_formats[style].pattern) for style in _STYLES]
    found += [str(pattern.pattern) for pattern in known.datetime_skeletons.values()]
    return list(dict.fromkeys(found))


def names(identifier: str, field: str) -> tuple[str, ...]:
    """Returns the names that a field of a pattern can write; none if it is a number.

    Args:
        identifier: The locale.
        field: As `MMMM`, `E` or `d`.
    """
    known = locale(identifier)
    widths = {4: "wide", 5: "narrow", 6: "short"}
    width = widths.get(len(field), "abbreviated")
    context = "format" if field[0] in "EM" else "stand-alone"
    if field[0] == "G":
        return tuple(known.eras[width].values())
    if field[0] in "Ec":
        return tuple(known.days[context][width].values())
    if field[0] in "ML" and len(field) > 2:
        return tuple(known.months[context][width].values())
    return ()


def numbering_system(identifier: str) -> str:
    """Returns the CLDR's name of the digits that a locale writes."""
    return str(locale(identifier).default_numbering_system)


def written(identifier: str, pattern: str, date: datetime.date) -> str:
    """Returns a date as a locale writes it, in NFC.

    Args:
        identifier: The locale: its names and its digits.
        pattern: The CLDR's pattern.
        date: The date.
    """
    text = dates.parse_pattern(pattern).apply(date, locale(identifier))
    # babel has a locale's digits for numbers, but not for dates.
    zero = _ZEROS[numbering_system(identifier)]
    digits = {ord("0") + digit: zero + digit for digit in range(10)}
    return unicodedata.normalize("NFC", text.translate(digits))


@functools.cache
def locale(identifier: str) -> babel.Locale:
    """Returns babel's locale of that name."""
    return _Locale.parse(identifier)


def _copied(value: Any) -> Any:
    """The same with other dictionaries, for babel writes into them."""
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return value
