"""Where a version comes from can be read back, and names the code that made it."""

import json
import pathlib
import subprocess

import numpy as np
import pytest

from savedmodels import provenance
from savedmodels.errors import MaaskitError


def git(folder, *arguments):
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid"]
    subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True
    )


@pytest.fixture
def repository(tmp_path):
    """A git repository with one committed file, `code.py`."""
    git(tmp_path, "init")
    (tmp_path / "code.py").write_text("x = 1\n")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-m", "First")
    return tmp_path


def head(folder):
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_committed_code_is_named_by_its_commit(repository):
    revision = provenance.code_revision(repository / "code.py")
    assert revision == head(repository)
    assert len(revision) == 40


@pytest.mark.parametrize("name", ["code.py", "new.py"])
def test_code_that_differs_from_its_commit_is_dirty(repository, name):
    (repository / name).write_text("x = 2\n")
    revision = provenance.code_revision(repository / "code.py")
    assert revision == f"{head(repository)}-dirty"


def test_code_installed_inside_somebody_elses_repository_has_no_revision(repository):
    installed = repository / "site-packages" / "provenance.py"
    installed.parent.mkdir()
    installed.write_text("")
    assert provenance.code_revision(installed) is None


def test_code_outside_git_has_no_revision(tmp_path):
    (tmp_path / "code.py").write_text("")
    assert provenance.code_revision(tmp_path / "code.py") is None


def test_a_machine_without_git_has_no_revision(repository, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.code_revision(repository / "code.py") is None


def test_what_is_collected_can_be_read_back(tmp_path):
    record = provenance.collect(
        config={"filters": (4, 8), "folder": pathlib.Path("artifacts"), "best": None},
        metrics={"accuracy": np.float32(0.5), "nothing": float("nan")},
        dataset={"name": "mnist", "splits": {"train": np.int64(600)}},
        training_seconds=12.34,
    )
    provenance.write(tmp_path, record)
    read = provenance.read(tmp_path)
    assert read["config"] == {"filters": [4, 8], "folder": "artifacts", "best": None}
    assert read["metrics"] == {"accuracy": 0.5, "nothing": None}
    assert read["dataset"] == {"name": "mnist", "splits": {"train": 600}}
    assert read["training_seconds"] == 12.3
    assert read["packages"]["numpy"] == np.__version__
    assert read["created"].endswith("+00:00")


def test_a_version_made_elsewhere_has_an_empty_record(tmp_path):
    assert provenance.read(tmp_path) == {}


@pytest.mark.parametrize("text", ["{", "[]", "\ufffd"])
def test_a_broken_record_is_said_to_be_broken(tmp_path, text):
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "provenance.json").write_text(text)
    with pytest.raises(MaaskitError, match="provenance.json` is broken"):
        provenance.read(tmp_path)


def test_the_record_is_json_that_every_parser_takes(tmp_path):
    provenance.write(tmp_path, {"loss": float("inf"), "where": "Zürich"})
    text = (tmp_path / "assets.extra" / "provenance.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"loss": None, "where": "Zürich"}
    assert "Infinity" not in text
