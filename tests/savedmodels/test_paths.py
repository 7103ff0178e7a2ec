"""Paths outside of this machine behave as a disk's do, as far as they can."""

import errno
import json
import pathlib

import pytest

from savedmodels import paths

FOLDERS = iter(range(1000))


@pytest.fixture(params=["local", "ram"])
def folder(request, tmp_path):
    """An empty folder, on the disk and in TensorFlow's file system in memory."""
    if request.param == "local":
        return paths.of(tmp_path)
    made = paths.of(f"ram://test_paths/{next(FOLDERS)}")
    made.mkdir(parents=True)
    return made


def test_what_has_a_scheme_keeps_it():
    path = paths.of("gs://bucket/models")
    assert str(path) == "gs://bucket/models"
    assert str(path / "digits" / "1") == "gs://bucket/models/digits/1"
    assert str((path / "digits").parent) == "gs://bucket/models"
    assert str(path.with_name("runs")) == "gs://bucket/runs"
    assert str(path.parent) == "gs://bucket"
    assert str((path / "a" / "b").relative_to(path)) == "a/b"
    assert path.absolute() == path.resolve() == path
    assert paths.is_remote(path / "digits")
    assert (path / "7").name == "7"
    assert f"{path}" == "gs://bucket/models"


@pytest.mark.parametrize("text", ["artifacts/models", "/srv/a:b", "C:/x", "."])
def test_all_else_is_a_path_of_this_machine(text):
    path = paths.of(text)
    assert path == pathlib.Path(text)
    assert not paths.is_remote(path)


def test_what_was_written_is_read(folder):
    (folder / "text").write_text("café")
    (folder / "bytes").write_bytes(b"\0\1")
    with (folder / "json").open("w") as file:
        json.dump({"a": 1}, file)
    assert (folder / "text").read_text() == "café"
    assert (folder / "bytes").read_bytes() == b"\0\1"
    assert json.loads((folder / "json").read_text()) == {"a": 1}
    assert sorted(path.name for path in folder.iterdir()) == ["bytes", "json", "text"]


def test_files_and_folders_are_told_apart(folder):
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "file").write_text("")
    assert (folder / "a").is_dir()
    assert not (folder / "a").is_file()
    assert (folder / "a" / "file").is_file()
    assert not (folder / "a" / "file").is_dir()
    assert not (folder / "none").exists()
    assert not (folder / "none").is_dir()
    assert not (folder / "none").is_file()


def test_a_folder_is_made_once(folder):
    (folder / "a").mkdir()
    with pytest.raises(FileExistsError):
        (folder / "a").mkdir()
    (folder / "a").mkdir(exist_ok=True)


def test_names_are_found_by_pattern(folder):
    (folder / "a").mkdir()
    for name in ("best-1.npz", "last.npz", "a/best-2.npz"):
        (folder / name).write_text("")
    assert [path.name for path in folder.glob("best-*.npz")] == ["best-1.npz"]
    found = sorted(path.name for path in folder.rglob("best-*.npz"))
    assert found == ["best-1.npz", "best-2.npz"]
    assert list((folder / "none").glob("*")) == []


def test_a_file_takes_the_place_of_another(folder):
    (folder / "new").write_text("new")
    (folder / "old").write_text("old")
    (folder / "new").replace(folder / "old")
    assert (folder / "old").read_text() == "new"
    assert not (folder / "new").exists()


def test_what_is_missing_is_the_error_that_a_disk_has(folder):
    for ask in (
        lambda path: path.read_text(),
        lambda path: path.unlink(),
        lambda path: list(path.iterdir()),
    ):
        with pytest.raises(FileNotFoundError) as caught:
            ask(folder / "none")
        assert caught.value.errno == errno.ENOENT
    (folder / "none").unlink(missing_ok=True)


def test_an_error_while_writing_leaves_no_remote_file():
    folder = paths.of(f"ram://test_paths/{next(FOLDERS)}")
    folder.mkdir()

    def fail():
        with (folder / "file").open("wb") as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not (folder / "file").exists()


def test_trees_are_copied_from_and_removed(folder, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"weights")
    (folder / "deep").mkdir()
    paths.copy(source, folder / "deep" / "file")
    assert (folder / "deep" / "file").read_bytes() == b"weights"
    paths.remove_tree(folder / "deep")
    assert not (folder / "deep").exists()
    paths.remove_tree(folder / "deep")  # gone already, which is what was wanted


def test_a_folder_is_had_here_whole_and_only_for_a_while(folder):
    version = folder / "digits" / "7"
    (version / "variables").mkdir(parents=True)
    (version / "variables" / "weights").write_bytes(b"weights")
    with paths.here(version) as local:
        assert not paths.is_remote(local)
        assert (local.parent.name, local.name) == ("digits", "7")
        assert (local / "variables" / "weights").read_bytes() == b"weights"
    assert local.exists() is not paths.is_remote(version)


def test_a_scheme_that_nobody_knows_is_an_error_of_the_system():
    with pytest.raises(OSError, match="not implemented"):
        paths.of("nobody://a/b").read_text()


def test_a_file_that_is_neither_read_nor_written_whole_is_refused():
    with pytest.raises(ValueError, match="Received: a"):
        paths.of("ram://a").open("a")
