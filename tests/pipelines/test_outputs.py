"""Scores are written for programs and for spreadsheets, whole or not at all."""

import csv
import fcntl
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from scoring_parts import info, signature

from pipelines import _formats, _outputs
from pipelines._atomic import AtomicFile
from pipelines._outputs import ScoresFile
from pipelines._sources import Refusal
from savedmodels import tfrecord
from savedmodels.errors import MaaskitError, UsageError
from serving.servable import SignatureInfo

CLASSIFIER = signature(
    {"x": info("float32", None)},
    {"scores": info("float32", None, 3), "class_id": info("int64", None)},
)
SCORES = {
    "scores": np.float32([[0.1, 0.2, 0.7], [1, 0, 1e-20]]),
    "class_id": np.int64([2, 0]),
}


def scores_file(path: pathlib.Path, given: SignatureInfo) -> ScoresFile:
    errors = path.with_name(f"{path.name}.errors.jsonl")
    return ScoresFile(path, _outputs.columns(given), errors)


def write(path: pathlib.Path, given: object, *batches: object) -> pathlib.Path:
    with scores_file(path, given) as output:
        for keys, outputs in batches:
            output.write(keys, outputs)
        output.publish()
    return path


def cells(path: pathlib.Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def one_output(alias: str, dtype: str, *shape: int | None) -> object:
    return signature({"x": info("float32", None)}, {alias: info(dtype, *shape)})


def test_json_lines_have_a_key_and_the_outputs_by_alias(tmp_path):
    path = write(tmp_path / "s.jsonl", CLASSIFIER, (["7.png", 1], SCORES))
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"key": "7.png", "class_id": 2, "scores": [0.1, 0.2, 0.7]},
        {"key": 1, "class_id": 0, "scores": [1.0, 0.0, 1e-20]},
    ]


def test_csv_has_a_column_for_each_element_of_a_fixed_vector(tmp_path):
    path = write(tmp_path / "s.csv", CLASSIFIER, (["a, b.png", 1], SCORES))
    assert cells(path) == [
        ["key", "class_id", "scores_0", "scores_1", "scores_2"],
        ["a, b.png", "2", "0.1", "0.2", "0.7"],
        ["1", "0", "1.0", "0.0", "1e-20"],
    ]


def test_batches_follow_each_other(tmp_path):
    path = write(tmp_path / "s.csv", CLASSIFIER, ([0, 1], SCORES), ([2, 3], SCORES))
    assert [row[0] for row in cells(path)] == ["key", "0", "1", "2", "3"]


def test_no_rows_are_a_file_without_rows(tmp_path):
    assert write(tmp_path / "s.jsonl", CLASSIFIER).read_text() == ""
    assert len(cells(write(tmp_path / "s.csv", CLASSIFIER))) == 1


@pytest.mark.parametrize(
    ("shape", "values", "row"),
    [
        ((None,), [2.5], ["2.5"]),
        ((None, 1), [[2.5]], ["2.5"]),
        ((None, 2, 2), [[[1, 2], [3, 4]]], ["[[1.0, 2.0], [3.0, 4.0]]"]),
        ((None, None), [[1, 2]], ["[1.0, 2.0]"]),
        ((None, None), [[]], ["[]"]),
    ],
)
def test_csv_writes_other_shapes_into_one_column(tmp_path, shape, values, row):
    given = one_output("y", "float32", *shape)
    path = write(tmp_path / "s.csv", given, ([0], {"y": np.float32(values)}))
    assert cells(path) == [["key", "y"], ["0", *row]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_read_back_as_the_same_value(tmp_path, dtype):
    values = np.random.default_rng(1).standard_normal(500).astype(dtype)
    values = np.concatenate([values, np.finfo(dtype).tiny * values, 1e30 * values])
    given = one_output("y", dtype, None)
    path = write(tmp_path / "s.jsonl", given, (range(len(values)), {"y": values}))
    back = [json.loads(line)["y"] for line in path.read_text().splitlines()]
    np.testing.assert_array_equal(np.array(back).astype(dtype), values)


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_what_is_no_number_is_named(tmp_path, ending):
    given = one_output("y", "float32", None)
    values = np.float32([np.nan, np.inf, -np.inf])
    path = write(tmp_path / f"s{ending}", given, ([0, 1, 2], {"y": values}))
    words = [re.split("[ ,]", line)[-1] for line in path.read_text().splitlines()]
    assert [word.strip("}") for word in words[-3:]] == ["NaN", "Infinity", "-Infinity"]


def test_booleans_and_integers_keep_their_kind(tmp_path):
    given = signature(
        {"x": info("float32", None)},
        {"b": info("bool", None), "i": info("int64", None)},
    )
    outputs = {"b": np.array([True]), "i": np.int64([2**62])}
    path = write(tmp_path / "s.jsonl", given, ([0], outputs))
    assert json.loads(path.read_text()) == {"key": 0, "b": True, "i": 2**62}


@pytest.mark.parametrize(
    ("alias", "value", "in_json", "in_csv"),
    [
        ("text", "ä\n\"'".encode(), "ä\n\"'", "ä\n\"'"),
        ("text", b"\xff", {"b64": "/w=="}, "/w=="),
        ("text_bytes", b"hi", {"b64": "aGk="}, "aGk="),
    ],
)
def test_strings_are_text_or_base64(tmp_path, alias, value, in_json, in_csv):
    given = one_output(alias, "string", None)
    batch = ([0], {alias: np.array([value], object)})
    line = write(tmp_path / "s.jsonl", given, batch).read_text()
    assert json.loads(line)[alias] == in_json
    assert cells(write(tmp_path / "s.csv", given, batch))[1] == ["0", in_csv]


def test_an_output_named_key_does_not_hide_the_key(tmp_path):
    given = one_output("key", "int64", None)
    path = write(tmp_path / "s.jsonl", given, (["a"], {"key": np.int64([5])}))
    assert json.loads(path.read_text()) == {"_key": "a", "key": 5}


@pytest.mark.parametrize("shape", [(1, 3), (2, 4), (2,)])
def test_an_output_of_another_shape_than_promised_stops(tmp_path, shape):
    outputs = SCORES | {"scores": np.zeros(shape, np.float32)}
    with pytest.raises(MaaskitError, match="`scores` must be float32"):
        write(tmp_path / "s.csv", CLASSIFIER, ([0, 1], outputs))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["s.txt", "s", "s.json", "s.parquet.gz"])
def test_the_ending_chooses_the_format(tmp_path, name):
    with pytest.raises(UsageError, match="Received: .*"):
        _formats.of(tmp_path / name)


def test_refused_rows_are_listed_beside_the_scores(tmp_path):
    with scores_file(tmp_path / "s.jsonl", CLASSIFIER) as output:
        output.refuse(Refusal("ä.png", None, "It is damaged."))
        output.refuse(Refusal("x.npy", 3, "It does not fit."))
        output.publish()
    lines = (tmp_path / "s.jsonl.errors.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"file": "ä.png", "row": None, "reason": "It is damaged."},
        {"file": "x.npy", "row": 3, "reason": "It does not fit."},
    ]
    write(tmp_path / "s.jsonl", CLASSIFIER)
    assert os.listdir(tmp_path) == ["s.jsonl"]  # a clean run takes the list away


def test_nothing_is_seen_before_publish_and_nothing_is_left_without_it(tmp_path):
    path = write(tmp_path / "s.jsonl", CLASSIFIER, ([0, 1], SCORES))
    before = path.read_bytes()
    with scores_file(path, CLASSIFIER) as output:
        output.write([2, 3], SCORES)
        output.refuse(Refusal("x", 0, "bad"))
        assert path.read_bytes() == before
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["s.jsonl"]


def test_folders_are_made_and_permissions_are_those_of_any_new_file(tmp_path):
    path = write(tmp_path / "a" / "b" / "s.jsonl", CLASSIFIER)
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


KILLED = """
import os, pathlib, signal, sys
from pipelines._atomic import AtomicFile
file = AtomicFile(pathlib.Path(sys.argv[1]))
file.write(b"half" * 100_000)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_cleaned_by_the_next(tmp_path):
    path = tmp_path / "s.jsonl"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not path.exists()
    (leftover,) = tmp_path.iterdir()
    file = AtomicFile(path)
    assert not leftover.exists()
    file.write(b"whole")
    file.publish()
    assert path.read_text() == "whole"
    assert os.listdir(tmp_path) == ["s.jsonl"]


def test_the_file_of_a_living_process_is_not_a_leftover(tmp_path):
    first, second = (AtomicFile(tmp_path / "s.jsonl") for _ in range(2))
    first.write(b"first")
    second.write(b"second")
    first.publish()
    assert (tmp_path / "s.jsonl").read_text() == "first"
    second.publish()
    assert (tmp_path / "s.jsonl").read_text() == "second"
    assert os.listdir(tmp_path) == ["s.jsonl"]


def test_a_lock_that_came_too_late_is_tried_again(tmp_path, monkeypatch):
    lock = fcntl.flock
    taken = []

    def flock(file: object, operation: int) -> None:
        if operation == fcntl.LOCK_EX and not taken:
            (path,) = tmp_path.iterdir()  # as another process that cleans up
            taken.append(path)
            path.unlink()
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    file = AtomicFile(tmp_path / "s.jsonl")
    file.write(b"whole")
    file.publish()
    assert len(taken) == 1
    assert (tmp_path / "s.jsonl").read_text() == "whole"


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MaaskitError, match="Cannot write .*s.jsonl"):
        AtomicFile(tmp_path / "file" / "s.jsonl")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    file = AtomicFile(tmp_path / "s.jsonl")
    with open("/dev/full", "w") as full:
        os.dup2(full.fileno(), file._file.fileno())
    with pytest.raises(MaaskitError, match="No space left on device"):
        file.write(b"x" * 100_000)
    file.discard()
    assert os.listdir(tmp_path) == []


def test_the_same_rows_are_the_same_tfrecords_in_every_process(tmp_path):
    path = write(
        tmp_path / "s.tfrecord",
        CLASSIFIER,
        (
            [1, 2] * 20,
            {alias: np.concatenate([array] * 20) for alias, array in SCORES.items()},
        ),
    )
    with path.open("rb") as file:
        records = [record for record in tfrecord.read(file) if record]
    assert len(records) == 40
    # They lie in a map, which protobuf writes in any order unless it is told not to.
    names = [b"class_id", b"key", b"scores"]
    places = [[record.index(name) for name in names] for record in records]
    assert all(found == sorted(found) for found in places)
