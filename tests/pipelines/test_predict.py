"""The command that asks a real server, over files of every kind it takes."""

import json
import pathlib
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import PIL.Image
import pytest
from scoring_parts import scores_of, write_store

from pipelines import predict

IMAGES = np.random.default_rng(1).integers(0, 256, (40, 2, 3, 1), dtype=np.uint8)
INSTANCE = IMAGES[0].tolist()


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    """Where a server of `light`, `pair` and `length` listens."""
    folder = tmp_path_factory.mktemp("served")
    store = write_store(folder / "store", ["light", "pair", "length"])
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving", f"--store={store}"]
            + ["--port=0", "--rest_api_port=0"],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 60
        while not (ready := re.search(r"gRPC (\S+:\d+)", log.read_text())):
            assert time.monotonic() < deadline, log.read_text()
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield ready[1]
    finally:
        process.terminate()
        process.wait(timeout=30)


def run(address: str, model: str, given: object, *more: str) -> int:
    return predict.main([model, f"--server={address}", f"--input={given}", *more])


def write_json(folder: pathlib.Path, value: object) -> pathlib.Path:
    (folder / "x.json").write_text(json.dumps(value))
    return folder / "x.json"


def first_line(name: str, image: np.ndarray) -> str:
    scores = scores_of(image[np.newaxis])[0]
    return f"{name}: class {scores.argmax()}, score {scores.max():.4f}"


def test_an_image_gives_its_class_and_a_chart(tmp_path, address, capsys):
    PIL.Image.fromarray(IMAGES[0, ..., 0]).save(tmp_path / "7.png")
    assert run(address, "light", tmp_path / "7.png") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == first_line("7.png", IMAGES[0])
    dark, light = scores_of(IMAGES[:1])[0]
    charted = {"0": dark, "1": light}
    shown = {line.split()[0]: float(line.split()[1]) for line in lines[2:]}
    assert shown == pytest.approx(charted, abs=1e-4)
    assert list(shown.values()) == sorted(shown.values(), reverse=True)


@pytest.mark.parametrize(
    "value",
    [
        INSTANCE,
        {"image": INSTANCE},
        [INSTANCE],
        {"instances": [INSTANCE]},
        {"instances": [{"image": INSTANCE}], "signature_name": "serving_default"},
        {"inputs": [INSTANCE]},
        {"inputs": {"image": [INSTANCE]}},
    ],
    ids=["value", "object", "list", "row", "row object", "column", "column object"],
)
def test_json_may_be_an_instance_or_a_request(tmp_path, address, capsys, value):
    assert run(address, "light", write_json(tmp_path, value)) == 0
    assert capsys.readouterr().out.splitlines()[0] == first_line("x.json", IMAGES[0])


def test_several_instances_take_a_line_each(tmp_path, address, capsys):
    np.save(tmp_path / "x.npy", IMAGES)
    assert run(address, "light", tmp_path / "x.npy") == 0
    lines = capsys.readouterr().out.splitlines()
    scores = scores_of(IMAGES)
    shown = [re.fullmatch(r"(\d+)  class (\d)  score (\S+)", line) for line in lines]
    assert [int(match[1]) for match in shown] == list(range(40))
    assert [int(match[2]) for match in shown] == scores.argmax(axis=1).tolist()
    np.testing.assert_allclose(
        [float(match[3]) for match in shown], scores.max(axis=1), atol=1e-4
    )


def test_a_model_without_scores_is_printed_by_alias(tmp_path, address, capsys):
    assert run(address, "pair", write_json(tmp_path, {"a": 1.5, "b": 2})) == 0
    assert capsys.readouterr().out.splitlines() == [
        "x.json",
        "  both: [1.5 2. ]",
        "  total: 3.5",
    ]


@pytest.mark.parametrize(
    "text", ['it\'s "fun"', "and/or so", "why? *sigh*", "2024/3/4"]
)
def test_a_text_may_be_typed_instead_of_a_file(address, capsys, text):
    assert run(address, "length", text) == 0
    share = min(len(text) / 10, 1)
    label, score = ("long", share) if share > 0.5 else ("short", 1 - share)
    first, _, best, *_ = capsys.readouterr().out.splitlines()
    assert first == f"{text}: class {label}, score {score:.4f}"
    assert best.split()[:2] == [label, f"{score:.4f}"]


def test_a_text_file_is_a_text_a_line(tmp_path, address, capsys):
    (tmp_path / "x.txt").write_bytes(b"0123456789\r\n\n12\n")
    assert run(address, "length", tmp_path / "x.txt") == 0
    assert capsys.readouterr().out.splitlines() == [
        "0  class long  score 1.0000",
        "2  class short  score 0.8000",
    ]


@pytest.mark.parametrize("name", ["mistyped.txt", "folder/mistyped", "x y.png"])
def test_a_mistyped_file_is_told_and_not_asked_about(address, capsys, name):
    assert run(address, "length", name) == 2
    assert "There is no such input" in capsys.readouterr().err


def test_a_model_of_images_is_not_asked_about_a_text(address, capsys):
    assert run(address, "light", "is this a seven") == 2
    assert "There is no such input" in capsys.readouterr().err


def test_a_damaged_file_is_refused_and_the_others_answered(tmp_path, address, capsys):
    PIL.Image.fromarray(IMAGES[0, ..., 0]).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    assert run(address, "light", tmp_path) == 1
    told = capsys.readouterr()
    assert told.out.startswith("a.png  class")
    assert told.err.startswith("refused: b.png: The image cannot be decoded")


@pytest.mark.parametrize(
    ("model", "value", "more", "told"),
    [
        ("light", [[1, 2]], [], "shape [2, 3, 1]"),
        ("light", {"picture": INSTANCE}, [], "Received: `picture`"),
        ("light", {"instances": 3}, [], "must be a list"),
        ("pair", {"inputs": {"a": [1], "b": [1, 2]}}, [], "one number of instances"),
        ("lihgt", INSTANCE, [], "no such model or version"),
        ("light", INSTANCE, ["--version=9"], "version 9"),
        ("light", INSTANCE, ["--signature=x"], "one of: serving_default. Received: x"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, address, capsys, model, value, more, told):
    assert run(address, model, write_json(tmp_path, value), *more) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert told in line


def test_a_picture_of_boxes_needs_a_model_that_gives_boxes(tmp_path, address, capsys):
    output = f"--output={tmp_path / 'boxes.png'}"
    assert run(address, "light", write_json(tmp_path, INSTANCE), output) == 2
    assert "There are no boxes to draw" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xff"])
def test_broken_json_is_one_line(tmp_path, address, capsys, content):
    (tmp_path / "x.json").write_bytes(content)
    assert run(address, "light", tmp_path / "x.json") == 2
    assert "is not JSON" in capsys.readouterr().err


def test_without_a_server_the_command_to_start_one_is_told(tmp_path, capsys):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        assert run(address, "light", write_json(tmp_path, INSTANCE)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"No server answers at {address}" in line
    assert "`make serve`" in line
