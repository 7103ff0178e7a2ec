"""Dates are written as the CLDR says, tell their day, and no split knows another's."""

import datetime
import subprocess
import sys

import pytest

from trainers.datasets import _load, localized_dates
from trainers.datasets.localized_dates import LocalizedDates, Way

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def ways():
    return localized_dates.ways()


@pytest.fixture(scope="module")
def examples(datasets_dir):
    """Every example of the small data set, by split."""
    builder = _load.prepare("localized_dates", datasets_dir)
    return {
        split: [
            {feature: text.decode() for feature, text in example.items()}
            for example in builder.as_dataset(split=split).as_numpy_iterator()
        ]
        for split in SPLITS
    }


@pytest.mark.parametrize(
    ("locale", "pattern", "text"),
    [
        # As the CLDR's own charts write them.
        ("en", "EEEE, MMMM d, y", "Thursday, July 4, 1776"),
        ("pt", "d 'de' MMMM 'de' y", "4 de julho de 1776"),
        ("ja", "y年M月d日EEEE", "1776年7月4日木曜日"),
        ("fa", "d MMMM y", "۴ ژوئیهٔ ۱۷۷۶"),
        ("ar_EG", "d MMMM y", "٤ يوليو ١٧٧٦"),
        ("fi", "d. MMMM y", "4. heinäkuuta 1776"),
        ("hr", "dd. MMM y. G", "04. srp 1776. po. Kr."),
    ],
)
def test_a_date_is_written_as_its_locale_does(locale, pattern, text):
    date = datetime.date(1776, 7, 4)
    assert localized_dates.write(Way(locale, pattern), date) == text


def test_more_than_a_hundred_languages_and_locales_are_known(ways):
    assert len({way.locale.partition("_")[0] for way in ways}) >= 100
    assert len({way.locale for way in ways}) >= 200
    assert len(set(ways)) == len(ways)


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        ("MMM d, y", True),
        ("dd.MM.y", True),
        ("y-MM-dd", True),
        ("M/d/y", False),  # 3/4/2024
        ("dd/MM/y", False),
        ("E, d/M/y", False),
        ("M/d/yy", False),
        ("dd.MM.yy", False),
        ("y-d-M", False),
    ],
)
def test_only_what_tells_the_date_is_kept(ways, pattern, kept):
    assert (pattern in {way.pattern for way in ways}) == kept


def test_no_text_is_written_for_two_days(ways):
    days = {}
    for month in range(1, 13):
        for day in (3, 4, 11, month, 25):
            date = datetime.date(2024, month, day)
            for way in ways:
                text = localized_dates.write(way, date)
                assert days.setdefault(text, date) == date, (way, text)


def test_every_example_is_its_date_written_in_its_way(examples):
    for example in (e for split in SPLITS for e in examples[split]):
        date = datetime.date.fromisoformat(example["target_text"])
        way = Way(example["locale"], example["pattern"])
        assert localized_dates.write(way, date) == example["source_text"]


def test_no_split_has_a_way_or_a_day_or_a_text_of_another(examples):
    for feature in ("target_text", "source_text"):
        found = [{e[feature] for e in examples[split]} for split in SPLITS]
        assert sum(map(len, found)) == len(set().union(*found))
    found = [{(e["locale"], e["pattern"]) for e in examples[split]} for split in SPLITS]
    assert sum(map(len, found)) == len(set().union(*found))


def test_the_ways_are_split_in_twentieths_and_each_is_on_one_side(ways):
    split = localized_dates.split_ways(ways)
    sizes = {name: len(found) / len(ways) for name, found in split.items()}
    assert sizes == pytest.approx(
        {"train": 0.85, "validation": 0.05, "test": 0.1}, abs=0.001
    )
    assert sorted(way for found in split.values() for way in found) == sorted(ways)


def test_every_name_of_a_held_out_way_is_written_in_training_by_its_locale(ways):
    split = localized_dates.split_ways(ways)
    # By the words themselves: those of a date in each month, era and weekday with it.
    for side in ("validation", "test"):
        for way in split[side]:
            own = [w for w in split["train"] if w.locale == way.locale]
            for field in way.fields:
                if field[0] in "MLEcG" and not (field[0] in "ML" and len(field) < 3):
                    assert any(_same(field, f) for w in own for f in w.fields), way


def _same(field, other):
    # One to three letters of a weekday write the same word.
    short = {"E": "EEE", "EE": "EEE"}
    return short.get(field, field) == short.get(other, other)


def test_the_same_examples_are_made_every_time_and_their_hash_is_told(datasets_dir):
    made = _load.facts("localized_dates", datasets_dir)
    assert made["package"].startswith("generated with babel ")
    assert len(made["sha256"]) == 64
    code = (
        "from tests import tiny_packages;"
        "from trainers.datasets.localized_dates import LocalizedDates as Dates;"
        "Dates.ABOUT = tiny_packages.smaller(Dates.ABOUT);"
        "import tempfile; builder = Dates(data_dir=tempfile.mkdtemp());"
        "builder.examples(); print(builder.info.metadata['sha256'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONHASHSEED": "77", "PATH": ""},
    )
    assert done.stdout.split()[-1] == made["sha256"]


def test_its_hash_is_unknown_before_it_is_made(tmp_path):
    known = _load.facts("localized_dates", tmp_path)
    assert (known["sha256"], known["prepared"]) == (None, False)
    assert known["splits"] == LocalizedDates.ABOUT.splits


def test_it_is_listed_without_babel(tmp_path):
    code = (
        "import sys; from trainers.datasets import _load;"
        "_load.facts('localized_dates', sys.argv[1]);"
        "sys.exit('babel' in sys.modules or 'tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)
