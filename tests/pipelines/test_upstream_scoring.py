"""Scoring through servers: real gRPC, with servers that are full, or gone."""

import json
import pathlib

import numpy as np
import pytest

from pipelines import _upstream, score
from pipelines._upstream import Window
from serving.errors import InvalidRequestError, UnavailableError
from tests.serving.numpy_predictor import NumpyPredictor, free_port, running_grpc

ROWS = np.arange(50, dtype=np.float32)


class Scripted(NumpyPredictor):
    """Refuses rows that hold a 13, and as many of the first calls as it is told."""

    refusals = 0

    async def predict(self, spec, inputs, **options):
        if self.refusals:
            self.refusals -= 1
            raise UnavailableError("The batch scheduling queue is full")
        if (inputs["x"] == 13).any():
            raise InvalidRequestError("13 is bad luck")
        return await super().predict(spec, inputs, **options)


@pytest.fixture
def given(tmp_path) -> pathlib.Path:
    np.save(tmp_path / "x.npy", ROWS)
    return tmp_path / "x.npy"


def run(ports: list[int], given: pathlib.Path, *more: str) -> int:
    servers = ",".join(f"127.0.0.1:{port}" for port in ports)
    return score.main(
        ["half_plus_two", "--runner=upstream", f"--upstream={servers}"]
        + [f"--input={given}", f"--output={given.parent / 's.jsonl'}"]
        + ["--batch-size=3", *more]
    )


def answered(folder: pathlib.Path) -> dict[int, float]:
    lines = (folder / "s.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return {row["key"]: row["y"] for row in rows}


WANTED = {n: n / 2 + 2 for n in range(50) if n != 13}


def test_every_row_has_the_servers_answer_and_one_it_refuses_is_listed(
    tmp_path, given, capsys
):
    with running_grpc(Scripted()) as port:
        assert run([port], given) == 3
    assert answered(tmp_path) == WANTED
    refused = json.loads((tmp_path / "s.jsonl.errors.jsonl").read_text())
    assert (refused["row"], refused["reason"]) == (
        13,
        "The model refused it: 13 is bad luck",
    )
    assert "version 2, `serving_default`, run by servers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "version"), [("--label=stable", 1), ("--version=1", 1)]
)
def test_all_rows_are_answered_by_the_one_version_that_was_asked_for(
    tmp_path, given, typed, version
):
    predictor = NumpyPredictor()
    with running_grpc(predictor) as port:
        assert run([port], given, typed) == 0
    assert predictor.version == version
    manifest = json.loads((tmp_path / "s.jsonl.manifest.json").read_text())
    assert manifest["version"] == version


def test_what_a_full_server_refuses_is_sent_again_and_scored_once(tmp_path, given):
    predictor = Scripted()
    predictor.refusals = 25
    with running_grpc(predictor) as port:
        assert run([port], given) == 3
    assert predictor.refusals == 0
    assert answered(tmp_path) == WANTED


def test_a_server_that_is_gone_leaves_the_work_to_the_others(tmp_path, given):
    with running_grpc(Scripted()) as port:
        assert run([free_port(), port], given) == 3
    assert answered(tmp_path) == WANTED


def test_servers_that_stay_full_end_the_run_and_the_same_command_goes_on(
    tmp_path, given, capsys, monkeypatch
):
    predictor = Scripted()
    with running_grpc(predictor) as port:
        monkeypatch.setattr(_upstream, "_GIVE_UP_S", 0.2)
        predictor.full = True
        assert run([port], given) == 1
        assert "type the same again to go on" in capsys.readouterr().err
        assert not (tmp_path / "s.jsonl").exists()
        predictor.full = False
        assert run([port], given) == 3
    assert answered(tmp_path) == WANTED


@pytest.mark.parametrize(
    ("typed", "code", "told"),
    [
        (["--version=7"], 1, "Servable not found"),
        (["--version=1", "--label=stable"], 2, "--version or --label"),
        (["--runner=local"], 2, "--runner=upstream"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, given, capsys, typed, code, told):
    with running_grpc(NumpyPredictor()) as port:
        assert run([port], given, *typed) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_the_window_grows_by_answers_and_halves_once_for_all_that_were_under_way():
    window = Window(most=8)
    assert window.size == 4
    under_way = [window.enter() for _ in range(4)]
    for era in under_way:
        window.leave(era, answered=False)
    assert window.size == 2
    for _ in range(100):
        window.leave(window.enter(), answered=True)
    assert window.size == 8
    for _ in range(9):
        window.leave(window.enter(), answered=False)
    assert window.size == 1
