"""A version is visible whole or not at all, whoever else writes, whatever dies."""

import concurrent.futures
import os
import shutil
import subprocess
import sys

import pytest

from savedmodels import paths, staging, store
from savedmodels.errors import ExportError


def write_version(aside):
    (aside / "version").mkdir()
    (aside / "version" / "saved_model.pb").write_bytes(b"graph")
    return aside / "version"


def names(base_path):
    return sorted(path.name for path in base_path.iterdir())


def test_the_first_version_is_1_and_then_one_above_the_highest(tmp_path):
    for expected in ["1", "2"]:
        with staging.folder(tmp_path) as aside:
            path = staging.publish(write_version(aside), tmp_path)
        assert path == tmp_path / expected
    (tmp_path / "0041").mkdir()  # broken or not, its number is taken
    with staging.folder(tmp_path) as aside:
        assert staging.publish(write_version(aside), tmp_path).name == "42"
    assert (tmp_path / "1" / "saved_model.pb").read_bytes() == b"graph"


def test_nothing_is_visible_while_it_is_written_and_nothing_is_left_after(tmp_path):
    with staging.folder(tmp_path) as aside:
        write_version(aside)
        assert [name for name in names(tmp_path) if name.isdigit()] == []
    assert names(tmp_path) == []


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    def fail():
        with staging.folder(tmp_path) as aside:
            write_version(aside)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert names(tmp_path) == []


def test_another_user_may_read_what_is_published(tmp_path):
    with staging.folder(tmp_path) as aside:
        path = staging.publish(write_version(aside), tmp_path)
    assert path.stat().st_mode & 0o055 == 0o055 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("version", [0, -1, 7])
def test_a_number_that_is_taken_or_is_none_is_refused(tmp_path, version):
    (tmp_path / "7").mkdir()
    with staging.folder(tmp_path) as aside:
        with pytest.raises(ExportError, match=rf"Received: {version}\."):
            staging.publish(write_version(aside), tmp_path, version)
    assert names(tmp_path) == ["7"]


def test_a_number_that_is_free_is_taken(tmp_path):
    with staging.folder(tmp_path) as aside:
        assert staging.publish(write_version(aside), tmp_path, 12).name == "12"


def test_many_writers_at_once_get_a_number_each(tmp_path):
    def write(_):
        with staging.folder(tmp_path) as aside:
            return int(staging.publish(write_version(aside), tmp_path).name)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        versions = list(pool.map(write, range(64)))
    assert sorted(versions) == list(range(1, 65))
    assert len(names(tmp_path)) == 64


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    code = f"""
import os, pathlib, signal
from savedmodels import paths, staging, store
with staging.folder(pathlib.Path({str(tmp_path)!r})) as aside:
    (aside / "version").mkdir()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert len(names(tmp_path)) == 1
    with staging.folder(tmp_path):
        pass
    assert names(tmp_path) == []


def test_what_a_living_writer_writes_is_left_alone(tmp_path):
    with staging.folder(tmp_path) as first:
        written = write_version(first)
        with staging.folder(tmp_path):
            pass
        assert (written / "saved_model.pb").exists()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "store").write_text("a file")
    with pytest.raises(ExportError, match=r"No version can be written.*STORE="):
        staging.check_writable(tmp_path / "store" / "model")


def test_a_disk_with_too_little_room_is_refused_with_both_numbers(
    tmp_path, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)._replace(free=100 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    staging.check_writable(tmp_path, weight_bytes=10 * 2**20)
    # Twice 50 MiB of weights and 16 MiB for all else.
    with pytest.raises(ExportError, match=r"Expected 116 MiB.*Received: 100 MiB"):
        staging.check_writable(tmp_path, weight_bytes=50 * 2**20)


@pytest.fixture
def remote():
    """A store that knows neither locks nor renames of folders."""
    base_path = paths.of("ram://test_staging/store/model")
    base_path.mkdir(parents=True)
    yield base_path
    paths.remove_tree(base_path)


def test_a_store_elsewhere_gets_its_versions_by_copy(remote):
    staging.check_writable(remote)
    for expected in ["1", "2"]:
        with staging.folder(remote) as aside:
            written = write_version(aside)
            (written / "variables").mkdir()
            (written / "variables" / "weights").write_bytes(b"weights")
            path = staging.publish(written, remote)
        assert path == remote / expected
    assert store.list_versions(remote) == [1, 2]
    assert names(remote) == ["1", "2"]
    assert (path / "variables" / "weights").read_bytes() == b"weights"
    with pytest.raises(ExportError, match=r"Received: 2\."):
        with staging.folder(remote) as aside:
            staging.publish(write_version(aside), remote, 2)


def test_a_version_elsewhere_is_none_until_it_is_whole(remote, monkeypatch):
    seen = []
    copy = paths.copy

    def watched(source, target):
        seen.append(store.list_versions(remote))
        copy(source, target)

    monkeypatch.setattr(paths, "copy", watched)
    with staging.folder(remote) as aside:
        written = write_version(aside)
        for name in ("a", "z"):  # before and after saved_model.pb
            (written / name).write_bytes(b"")
        staging.publish(written, remote)
    assert seen == [[], [], []]
    assert store.list_versions(remote) == [1]


def test_a_copy_that_fails_leaves_no_version(remote, monkeypatch):
    def fail(source, target):
        target.write_bytes(b"half")
        raise OSError("the network is down")

    monkeypatch.setattr(paths, "copy", fail)
    with pytest.raises(OSError, match="network"):
        with staging.folder(remote) as aside:
            staging.publish(write_version(aside), remote)
    assert names(remote) == []
