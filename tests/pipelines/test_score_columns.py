"""Columns that go along, metrics and drift, standard input and output."""

import gzip
import io
import json
import pathlib
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from scoring_parts import scores_of, write_store

from pipelines import score
from savedmodels import distributions, protos, provenance, tfrecord
from serving import servable

RANDOM = np.random.default_rng(2)
IMAGES = RANDOM.integers(0, 256, (1_200, 2, 3, 1), dtype=np.uint8)
CLASSES = scores_of(IMAGES).argmax(axis=1)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> pathlib.Path:
    return write_store(tmp_path_factory.mktemp("store"), ["light"])


@pytest.fixture
def given(tmp_path) -> pathlib.Path:
    """Images with a name, a weight, and a label, of which each tenth is wrong."""
    lines = [
        {
            "image": image.tolist(),
            "name": f"n{row}",
            "weight": row / 2,
            "label": int(CLASSES[row]) if row % 10 else 1 - int(CLASSES[row]),
        }
        for row, image in enumerate(IMAGES)
    ]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def run(store: pathlib.Path, given: object, output: object, *more: str) -> int:
    typed = ["--workers=1", *more]
    return score.main(
        ["light", f"--store={store}", f"--input={given}", f"--output={output}", *typed]
    )


COLUMNS = ("--key=name", "--carry=weight,name", "--metrics")


def check(rows: list[dict]) -> None:
    assert [row["key"] for row in rows] == [f"n{n}" for n in range(1_200)]
    assert [row["name"] for row in rows] == [f"n{n}" for n in range(1_200)]
    assert [float(row["weight"]) for row in rows] == [n / 2 for n in range(1_200)]
    scores = [row["scores"] for row in rows]
    np.testing.assert_allclose(scores, scores_of(IMAGES), atol=1e-6)
    assert [int(row["class_id"]) for row in rows] == CLASSES.tolist()


def read_jsonl(path: pathlib.Path) -> list[dict]:
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    return [json.loads(line) for line in data.splitlines()]


def read_tfrecord(path: pathlib.Path) -> list[dict]:
    rows = []
    with path.open("rb") as file:
        for record in tfrecord.read(file):
            features = protos.example_pb2.Example.FromString(record).features.feature
            row = {}
            for name, feature in features.items():
                values = list(getattr(feature, feature.WhichOneof("kind")).value)
                values = [v.decode() if isinstance(v, bytes) else v for v in values]
                row[name] = values if name == "scores" else values[0]
            rows.append(row)
    return rows


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("s.jsonl.gz", read_jsonl),
        ("s.parquet", lambda path: pq.read_table(path).to_pylist()),
        ("s.tfrecord", read_tfrecord),
    ],
)
def test_every_format_has_keys_carried_columns_and_outputs(
    tmp_path, store, given, name, read, capsys
):
    assert run(store, given, tmp_path / name, *COLUMNS) == 0
    check(read(tmp_path / name))
    told = capsys.readouterr().out
    assert "accuracy 90.00% on 1,200 labelled rows" in told
    ones = CLASSES.mean()
    assert f"Classes  0: {1 - ones:.1%}, 1: {ones:.1%}" in told


def test_a_carried_column_with_the_name_of_an_output_is_told(
    tmp_path, store, given, capsys
):
    assert run(store, given, tmp_path / "s.csv", "--carry=scores") == 2
    assert "name of an output" in capsys.readouterr().err


class Pipe:
    """Standard input or output of bytes."""

    def __init__(self, data: bytes = b"") -> None:
        self.buffer = io.BytesIO(data)

    def flush(self) -> None:
        pass


def test_lines_come_in_and_scores_go_out_by_pipe(
    tmp_path, store, given, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "stdin", Pipe(given.read_bytes() + b"{\n"))
    out = Pipe()
    monkeypatch.setattr(sys, "stdout", out)
    assert run(store, "-", "-", *COLUMNS) == 3
    check([json.loads(line) for line in out.buffer.getvalue().splitlines()])
    told = capsys.readouterr().err
    assert '"row": 1200, "reason": "The line is not JSON' in told
    assert "Scored   1,200 of 1,201 rows" in told


def test_lines_from_a_pipe_that_do_not_fit_are_told_before_any_work(
    tmp_path, store, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "stdin", Pipe(b'{"picture": 1}\n' * 3))
    assert run(store, "-", tmp_path / "s.jsonl") == 2
    assert "`image` uint8" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def known(store) -> pathlib.Path:
    """The same model with statistics of images as those above."""
    path = store / "light" / "3"
    loaded = servable.load(path, "light", 3)
    recorder = distributions.Recorder(lambda x: loaded.run("serving_default", x))
    recorder({"image": RANDOM.integers(0, 256, (2_000, 2, 3, 1), dtype=np.uint8)})
    record = provenance.read(path)
    provenance.write(path, {**record, "statistics": recorder.statistics()})
    return store


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (IMAGES, "Drift    alike: PSI"),
        (IMAGES // 4, "Drift    drifted: PSI"),
        (IMAGES[:20], "Drift    not judged: too few rows"),
    ],
    ids=["alike", "darker", "few"],
)
def test_drift_from_the_versions_own_data_is_told_and_drawn(
    tmp_path, known, images, told, capsys
):
    np.save(tmp_path / "x.npy", images)
    assert run(known, tmp_path / "x.npy", tmp_path / "s-*.csv") == 0
    assert told in capsys.readouterr().out
    drawn = tmp_path / "_s.manifests" / "drift.png"
    assert drawn.exists() == ("not judged" not in told)
