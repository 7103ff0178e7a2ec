"""Files are whole or not there, on a disk and wherever `tf.io.gfile` reaches."""

import pathlib

import pytest

from trainers import _storage


@pytest.fixture(params=["disk", "memory"])
def folder(request, tmp_path):
    """A new folder, on the disk and in the memory that TensorFlow has for files."""
    where = f"ram://{tmp_path.name}" if request.param == "memory" else str(tmp_path)
    _storage.make_folder(f"{where}/runs")
    return f"{where}/runs"


def put(path, content):
    with _storage.replacing(path) as file:
        file.write(content)


def test_what_was_written_is_read_at_any_place(folder):
    put(f"{folder}/a", b"first\nsecond")
    with _storage.reading(f"{folder}/a") as file:
        assert file.readline() == b"first\n"
        file.seek(2)
        assert file.read(3) == b"rst"


def test_a_file_takes_the_place_of_the_old_one(folder):
    put(f"{folder}/a", b"a long old content")
    put(f"{folder}/a", b"new")
    with _storage.reading(f"{folder}/a") as file:
        assert file.read() == b"new"
    assert _storage.names(folder) == ["a"]


def test_a_missing_file_is_the_usual_error_and_removing_it_none(folder):
    with pytest.raises(FileNotFoundError), _storage.reading(f"{folder}/none"):
        pass
    _storage.remove(f"{folder}/none")
    assert _storage.names(f"{folder}/none") == []
    put(f"{folder}/a", b"")
    _storage.remove(f"{folder}/a")
    assert _storage.names(folder) == []


def test_what_stops_the_writing_leaves_the_old_file(folder):
    def stopped():
        with _storage.replacing(f"{folder}/a") as file:
            file.write(b"half of the new")
            raise KeyboardInterrupt

    put(f"{folder}/a", b"old")
    with pytest.raises(KeyboardInterrupt):
        stopped()
    with _storage.reading(f"{folder}/a") as file:
        assert file.read() == b"old"
    assert _storage.names(folder) == ["a"]


def test_a_folder_that_is_none_is_an_error_of_the_system(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        _storage.make_folder(tmp_path / "file" / "runs")


def test_only_a_path_with_a_scheme_is_remote():
    assert _storage.is_local("/runs")
    assert _storage.is_local(pathlib.Path("runs"))
    assert not _storage.is_local("gs://bucket/runs")
