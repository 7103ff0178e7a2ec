"""The fonts of pictures: matplotlib's own, and behind it one with Japanese."""

import functools
import importlib.util
import pathlib
import unicodedata

from matplotlib import font_manager, rcParams

# Not imported: that would change the font of all pictures of the process.
_PACKAGE, _FILE = "matplotlib_fontja", "fonts/ipaexg.ttf"


@functools.cache
def families() -> tuple[str, ...]:
    """Returns what matplotlib takes as `fontfamily`: each character from the first."""
    return (*rcParams["font.family"], *(name for name, _ in _added()))


def legible(text: str) -> bool:
    """Returns whether the pictures' fonts have every character."""
    return all(ord(character) in _drawable() or character == " " for character in text)


def readable(text: str) -> str:
    """Returns the text with what the fonts lack by its sound, or as a box.

    Unicode's names tell the sound of letters: "HEBREW LETTER ALEF". Characters that
    write words have none.
    """
    return "".join(c if legible(c) else _by_name(c) for c in text)


def columns(text: str) -> int:
    """Returns how wide a text is: characters of the East are two columns each."""
    return sum(2 if unicodedata.east_asian_width(c) in "FW" else 1 for c in text)


def wrapped(text: str, width: int, lines: int) -> list[str]:
    """Returns the text in lines, cut where there would be more of them.

    Args:
        text: Broken at blanks, and anywhere between characters of the East.
        width: Of a line, in columns.
        lines: The most, at least 1.
    """
    found = [""]
    for part in _parts(text):
        if columns(found[-1] + part.rstrip()) > width and found[-1]:
            found[-1] = found[-1].rstrip()
            found.append("")
        found[-1] += part
    if len(found) > lines:
        found = found[:lines]
        while found[-1] and columns(found[-1]) > width - 1:
            found[-1] = found[-1][:-1]
        found[-1] = found[-1].rstrip() + "…"
    return found


def _parts(text: str) -> list[str]:
    """What must not be broken: words with the blank after them, and wide characters."""
    parts = [""]
    for character in text:
        before = parts[-1][-1:]
        ends = before == " " or columns(before) == 2
        if before and (ends or columns(character) == 2):
            parts.append("")
        parts[-1] += character
    return parts


@functools.cache
def _added() -> tuple[tuple[str, str], ...]:
    """Family and file of the second font."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        return ()
    path = str(pathlib.Path(found.submodule_search_locations[0]) / _FILE)
    font_manager.fontManager.addfont(path)
    return ((font_manager.FontProperties(fname=path).get_name(), path),)


@functools.cache
def _drawable() -> frozenset[int]:
    own = font_manager.findfont(font_manager.FontProperties())
    paths = (own, *(path for _, path in _added()))
    return frozenset().union(
        *(font_manager.get_font(path).get_charmap() for path in paths)
    )


def _by_name(character: str) -> str:
    name = unicodedata.name(character, "")
    if " LETTER " in name:
        return name.rpartition(" ")[2].lower()
    return "" if unicodedata.category(character)[0] in "MC" else "□"
