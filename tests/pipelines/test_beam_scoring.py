"""Beam is asked for only where it is wanted, and gives what a local run gives."""

import importlib.util
import json
import pathlib
import pickle
import sys

import numpy as np
import pytest
from scoring_parts import write_store

from pipelines import _beam, _job, _score_flags, score

IMAGES = np.random.default_rng(3).integers(0, 256, (250, 2, 3, 1), dtype=np.uint8)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> pathlib.Path:
    return write_store(tmp_path_factory.mktemp("store"), ["light"])


def typed(store: pathlib.Path, folder: pathlib.Path, *more: str) -> list[str]:
    return [
        "light",
        f"--store={store}",
        f"--input={folder / 'x.npy'}",
        "--shard-rows=100",
        *more,
    ]


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }


@pytest.mark.parametrize("runner", _score_flags.BEAM)
def test_without_beam_one_line_says_what_to_type(
    tmp_path, store, runner, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    np.save(tmp_path / "x.npy", IMAGES)
    more = [f"--output={tmp_path}/s.csv", f"--runner={runner}"]
    assert score.main(typed(store, tmp_path, *more)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install 'apache-beam" in line


def test_options_of_beam_are_not_taken_by_another_runner(tmp_path, store, capsys):
    np.save(tmp_path / "x.npy", IMAGES)
    more = [f"--output={tmp_path}/s.csv", "--", "--flink_master=x"]
    assert score.main(typed(store, tmp_path, *more)) == 2
    assert "after `--` are Beam's" in capsys.readouterr().err


def test_a_worker_elsewhere_gives_the_same_shards(tmp_path, store):
    """What a Beam worker is sent is all it needs: a job and where a shard lies."""
    np.save(tmp_path / "x.npy", IMAGES)
    output = f"--output={tmp_path / 'here' / 's-*.csv'}"
    assert score.main(typed(store, tmp_path, output, "--workers=1")) == 0
    output = f"--output={tmp_path / 'there' / 's-*.csv'}"
    arguments = _score_flags.parser("Scores.").parse_args(
        typed(store, tmp_path, output)
    )
    task = _job.prepare(arguments)
    job = _job.tuned(task, {}, None)
    for item in enumerate(task.shards):
        sent = pickle.loads(pickle.dumps((job, item)))
        assert _beam.score(*sent) == item[0]
    (tmp_path / "here" / "_s.manifests" / "run.json").unlink()
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


@pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None, reason="needs apache_beam"
)
def test_the_direct_runner_gives_what_a_local_run_gives(tmp_path, store):
    np.save(tmp_path / "x.npy", IMAGES)
    output = f"--output={tmp_path / 'here' / 's-*.csv'}"
    assert score.main(typed(store, tmp_path, output, "--workers=1")) == 0
    output = f"--output={tmp_path / 'there' / 's-*.csv'}"
    more = [output, "--runner=DirectRunner", "--", "--direct_num_workers=1"]
    assert score.main(typed(store, tmp_path, *more)) == 0
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    manifest = tmp_path / "there" / "_s.manifests" / "manifest.json"
    assert json.loads(manifest.read_text())["rows"] == 250
