"""The command that scores files, on real SavedModels whose answers numpy gives."""

import csv
import io
import json
import os
import pathlib

import numpy as np
import PIL.Image
import pytest
from scoring_parts import example, scores_of, write_store, write_tfrecord

from pipelines import score
from serving import servable

IMAGES = np.random.default_rng(1).integers(0, 256, (300, 2, 3, 1), dtype=np.uint8)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> pathlib.Path:
    return write_store(tmp_path_factory.mktemp("store"), ["light", "encoded"])


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(image[..., 0]).save(file, "PNG")
    return file.getvalue()


def write_images(folder: pathlib.Path) -> pathlib.Path:
    (folder / "images").mkdir()
    for index, image in enumerate(IMAGES):
        (folder / "images" / f"{index:03}.png").write_bytes(png(image))
    return folder / "images"


def write_npy(folder: pathlib.Path) -> pathlib.Path:
    np.save(folder / "x.npy", IMAGES)
    return folder / "x.npy"


def write_npz(folder: pathlib.Path) -> pathlib.Path:
    np.savez(folder / "x.npz", image=IMAGES)
    return folder / "x.npz"


def write_jsonl(folder: pathlib.Path) -> pathlib.Path:
    lines = [json.dumps({"image": image.tolist()}) + "\n" for image in IMAGES]
    (folder / "x.jsonl").write_text("".join(lines))
    return folder / "x.jsonl"


def write_examples(folder: pathlib.Path) -> pathlib.Path:
    records = [example(image=image.reshape(-1).tolist()) for image in IMAGES]
    return write_tfrecord(folder / "x.tfrecord", records)


def write_encoded_examples(folder: pathlib.Path) -> pathlib.Path:
    records = [example(image__encoded=[png(image)]) for image in IMAGES]
    return write_tfrecord(folder / "x.tfrecord-00000-of-00001", records)


def run(store: pathlib.Path, model: str, given: object, output: object, *more: str):
    return score.main(
        [model, f"--store={store}", f"--input={given}", f"--output={output}", *more]
    )


def read(path: pathlib.Path) -> tuple[list[object], np.ndarray, np.ndarray]:
    """Keys, scores and class_ids of either format."""
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return (
            [row["key"] for row in rows],
            np.array([row["scores"] for row in rows]),
            np.array([row["class_id"] for row in rows]),
        )
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return (
        [row["key"] for row in rows],
        np.array([[float(row["scores_0"]), float(row["scores_1"])] for row in rows]),
        np.array([int(row["class_id"]) for row in rows]),
    )


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
@pytest.mark.parametrize(
    ("model", "write"),
    [
        ("light", write_images),
        ("light", write_npy),
        ("light", write_npz),
        ("light", write_jsonl),
        ("light", write_examples),
        ("light", write_encoded_examples),
        ("encoded", write_images),
        ("encoded", write_encoded_examples),
    ],
)
def test_every_kind_of_file_gives_the_same_scores(
    tmp_path, store, model, write, ending
):
    output = tmp_path / f"scores.{ending}"
    assert run(store, model, write(tmp_path), output) == 0
    keys, scores, class_ids = read(output)
    if write is write_images:
        assert keys == [f"{index:03}.png" for index in range(300)]
    else:
        assert list(map(int, keys)) == list(range(300))
    np.testing.assert_allclose(scores, scores_of(IMAGES), atol=1e-6)
    np.testing.assert_array_equal(class_ids, np.argmax(scores_of(IMAGES), axis=1))


@pytest.mark.parametrize("batch_size", ["1", "7", "1000", "auto"])
def test_the_batch_size_does_not_change_the_answers(tmp_path, store, batch_size):
    output = tmp_path / "scores.jsonl"
    more = ["--batch-size", batch_size]
    assert run(store, "light", write_npy(tmp_path), output, *more) == 0
    loaded = servable.load(store / "light" / "3", "light", 3)
    wanted = loaded.run("serving_default", {"image": IMAGES})["scores"]
    # The same bits: what the file shows is what the model gave.
    np.testing.assert_array_equal(read(output)[1].astype(np.float32), wanted)


def test_the_summary_says_what_was_done(tmp_path, store, capsys):
    output = tmp_path / "scores.jsonl"
    run(store, "light", write_npy(tmp_path), output)
    told = capsys.readouterr().out
    for words in ("300 of 300 rows", "rows/s", "version 3", "litert", str(output)):
        assert words in told
    assert "Refused" not in told


def test_bad_instances_are_listed_and_the_others_scored(tmp_path, store, capsys):
    images = write_images(tmp_path)
    (images / "017.png").write_bytes(b"no image")
    (images / "notes.txt").write_text("not for scoring")
    output = tmp_path / "scores.csv"
    assert run(store, "light", images, output) == 3
    keys, scores, _ = read(output)
    others = np.delete(np.arange(300), 17)
    assert keys == [f"{index:03}.png" for index in others]
    np.testing.assert_allclose(scores, scores_of(IMAGES[others]), atol=1e-6)
    (line,) = (tmp_path / "scores.csv.errors.jsonl").read_text().splitlines()
    refused = json.loads(line)
    assert (refused["file"], refused["row"]) == ("017.png", None)
    assert "cannot be decoded" in refused["reason"]
    told = capsys.readouterr().out
    assert "299 of 300 rows" in told
    assert "Refused  1, listed" in told
    assert "Skipped  1 by ending" in told


def test_an_instance_that_only_the_graph_can_refuse_costs_no_other(tmp_path, store):
    images = write_images(tmp_path)
    (images / "017.png").write_bytes(b"no image")
    output = tmp_path / "scores.jsonl"
    assert run(store, "encoded", images, output) == 3
    assert len(read(output)[0]) == 299
    line = json.loads((tmp_path / "scores.jsonl.errors.jsonl").read_text())
    assert line["file"] == "017.png"
    assert "The model refused it" in line["reason"]


def test_images_of_another_size_are_resized_with_one_note(tmp_path, store, capsys):
    for index in range(3):
        flat = np.full((20 + index, 30), 51, np.uint8)
        PIL.Image.fromarray(flat).save(tmp_path / f"{index}.png")
    output = tmp_path / "scores.jsonl"
    assert run(store, "light", tmp_path, output) == 0
    np.testing.assert_allclose(read(output)[1], [[0.8, 0.2]] * 3, atol=1e-6)
    assert capsys.readouterr().err.count("resized") == 1


def test_a_second_run_does_not_read_what_the_first_wrote(tmp_path, store):
    write_jsonl(tmp_path)
    output = tmp_path / "scores.jsonl"
    for _ in range(2):
        assert run(store, "light", tmp_path, output) == 0
    assert len(read(output)[0]) == 300


@pytest.mark.parametrize(
    ("model", "given", "output", "more", "told"),
    [
        ("light", "x.npy", "scores.txt", [], "Expected one of: .jsonl .csv"),
        ("light", "missing.npy", "s.csv", [], "There is no such input"),
        ("lihgt", "x.npy", "s.csv", [], "Models there: encoded, light"),
        ("light", "x.npy", "s.csv", ["--version=9"], "has no version 9"),
        ("light", "x.npy", "s.csv", ["--signature=x"], "one of: serving_default"),
        ("encoded", "x.npy", "s.csv", [], "`encoded` string [batch]"),
        ("light", "wide.npy", "s.csv", [], "Received: an array of shape [5, 2, 4]"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    tmp_path, store, capsys, model, given, output, more, told
):
    write_npy(tmp_path)
    np.save(tmp_path / "wide.npy", np.zeros((5, 2, 4), np.uint8))
    before = sorted(os.listdir(tmp_path))
    code = run(store, model, tmp_path / given, tmp_path / output, *more)
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert told in line
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("batch_size", ["0", "-1", "many", "1.5"])
def test_a_batch_size_that_is_none_is_refused(tmp_path, store, batch_size, capsys):
    with pytest.raises(SystemExit) as ended:
        run(store, "light", "x.npy", "s.csv", f"--batch-size={batch_size}")
    assert ended.value.code == 2
    assert "expected `auto`, or 1 or more" in capsys.readouterr().err


def test_an_empty_file_gives_an_empty_file(tmp_path, store):
    (tmp_path / "x.jsonl").write_text("\n")
    assert run(store, "light", tmp_path / "x.jsonl", tmp_path / "s.jsonl") == 0
    assert (tmp_path / "s.jsonl").read_text() == ""
