"""The store is read as TF Serving reads it."""

import pytest

from savedmodels import store
from savedmodels.errors import VersionNotFoundError


def add(base_path, name):
    (base_path / name).mkdir(parents=True)
    (base_path / name / "saved_model.pb").write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("1", 1),
        ("00000123", 123),
        ("0", 0),
        ("999999999999999999", 999999999999999999),
        (".writing-1", None),
        ("1.5", None),
        ("-1", None),
        ("1 ", None),
        ("\u0663", None),  # a digit to `str.isdigit`, not to TF Serving
        ("", None),
    ],
)
def test_a_version_is_a_folder_whose_name_is_an_integer(name, version):
    assert store.parse_version(name) == version


def test_versions_are_sorted_as_numbers_and_anything_else_is_not_there(tmp_path):
    for name in ["2", "10", "00000123", ".writing-x", "notes"]:
        add(tmp_path, name)
    (tmp_path / "11").mkdir()  # being copied: no saved_model.pb yet
    (tmp_path / "12").write_text("a file")
    assert store.list_versions(tmp_path) == [2, 10, 123]


def test_a_store_lists_the_models_that_have_a_version(tmp_path):
    add(tmp_path / "second", "1")
    add(tmp_path / "first", "3")
    (tmp_path / "empty").mkdir()
    (tmp_path / "README").write_text("a file")
    assert store.list_models(tmp_path) == ["first", "second"]


def test_a_store_that_is_missing_holds_nothing(tmp_path):
    assert store.list_models(tmp_path / "none") == []
    assert store.list_versions(tmp_path / "none") == []


def test_the_latest_version_is_the_default(tmp_path):
    for name in ["9", "10"]:
        add(tmp_path, name)
    assert store.version_path(tmp_path) == tmp_path / "10"
    assert store.version_path(tmp_path, 9) == tmp_path / "9"


def test_a_version_keeps_the_spelling_of_its_folder(tmp_path):
    add(tmp_path, "00000123")
    assert store.version_path(tmp_path, 123) == tmp_path / "00000123"


def test_of_two_spellings_the_plain_number_stands_for_the_version(tmp_path):
    for name in ["001", "1", "01"]:
        add(tmp_path, name)
    assert store.version_path(tmp_path, 1) == tmp_path / "1"


def test_a_missing_version_is_answered_with_those_there_are(tmp_path):
    add(tmp_path / "digits", "1")
    add(tmp_path / "digits", "3")
    with pytest.raises(VersionNotFoundError, match=r"`digits` has no version 2.*1, 3"):
        store.version_path(tmp_path / "digits", 2)


def test_a_missing_model_is_answered_with_those_there_are(tmp_path):
    add(tmp_path / "digits", "1")
    with pytest.raises(
        VersionNotFoundError, match=r"`letters`.*Models there: digits\."
    ):
        store.version_path(tmp_path / "letters")
