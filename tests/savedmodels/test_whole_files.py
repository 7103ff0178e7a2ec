"""A file is the new one or the old one, whatever stops the writing."""

import pytest

from savedmodels import paths, whole_files


@pytest.fixture(params=["local", "ram"])
def folder(request, tmp_path):
    """An empty folder, on the disk and in TensorFlow's file system in memory."""
    if request.param == "local":
        return tmp_path
    made = paths.of(f"ram://test_whole_files/{tmp_path.name}")
    made.mkdir(parents=True)
    return made


def test_a_whole_file_is_written_or_none(folder):
    whole_files.write(folder / "file", b"old")
    whole_files.write(folder / "file", b"new")
    assert (folder / "file").read_bytes() == b"new"
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_a_file_takes_the_place_of_the_old_one_at_the_end_alone(folder):
    (folder / "a").write_bytes(b"a long old content")
    with whole_files.replacing(folder / "a") as file:
        file.write(b"new")
        assert (folder / "a").read_bytes() == b"a long old content"
        aside = [path for path in folder.iterdir() if path.name != "a"]
        assert all(map(whole_files.is_remnant, aside))
    assert (folder / "a").read_bytes() == b"new"
    assert not whole_files.is_remnant(folder / "a")


def test_what_stops_the_writing_leaves_the_old_file(folder):
    def stopped():
        with whole_files.replacing(folder / "a") as file:
            file.write(b"half of the new")
            raise KeyboardInterrupt

    (folder / "a").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert (folder / "a").read_bytes() == b"old"
    assert [path.name for path in folder.iterdir()] == ["a"]
