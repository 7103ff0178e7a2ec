"""Files, folders and patterns are one stream of instances with keys and refusals."""

import json
import os
import pathlib

import numpy as np
import PIL.Image
import pytest
from scoring_parts import example, info, signature, write_tfrecord

from pipelines import _plan, _sources
from pipelines._inputs import MismatchError
from pipelines._sources import Refusal, Row
from savedmodels.errors import UsageError
from savedmodels.protos import prediction_log_pb2
from serving import tensor_codec

X = signature({"x": info("float32", None)})
IMAGE = signature({"image": info("uint8", None, 2, 2, 1)})


def read(path: object, given: object, **options: object) -> list[Row | Refusal]:
    source = _sources.find(str(path), **options)
    return list(_sources.read(source, given, lambda about, message: None))


def keys(items: list[Row | Refusal]) -> list[object]:
    return [item.key for item in items if isinstance(item, Row)]


def png(path: pathlib.Path) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.zeros((2, 2), np.uint8)).save(path)
    return path


def jsonl(path: pathlib.Path, *values: object) -> pathlib.Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


@pytest.mark.parametrize(
    "name", ["a.png", "A.PNG", "a.jpg", "a.jpeg", "a.JPG"], ids=lambda name: name
)
def test_an_image_is_one_row_named_after_its_file(tmp_path, name):
    assert keys(read(png(tmp_path / name), IMAGE)) == [name]


def test_a_folder_is_read_by_name_with_all_below_it_but_hidden_files(tmp_path):
    for name in ("b.png", "a/z.png", "a/c.png", ".hidden.png", ".git/d.png"):
        png(tmp_path / name)
    assert keys(read(tmp_path, IMAGE)) == ["b.png", "a/c.png", "a/z.png"]


@pytest.mark.parametrize("pattern", ["*.png", "**/*.png"])
def test_a_pattern_is_expanded(tmp_path, pattern):
    for name in ("b.png", "a/c.png", "d.npy"):
        png(tmp_path / name) if name.endswith("png") else np.save(tmp_path / name, 0)
    wanted = ["a/c.png", "b.png"] if "**" in pattern else ["b.png"]
    assert keys(read(tmp_path / pattern, IMAGE)) == wanted


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path):
    assert keys(read(png(tmp_path / "digit[7].png"), IMAGE)) == ["digit[7].png"]


def test_files_of_other_kinds_are_counted_and_left_out(tmp_path):
    png(tmp_path / "a.png")
    (tmp_path / "labels.txt").write_text("7")
    assert _sources.find(str(tmp_path)).others == 1


TEXT = signature({"text": info("string", None)})


def test_a_text_file_holds_a_text_a_line_as_its_bytes_are(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\r\n \n\xff two \n\tthree")
    rows = read(tmp_path / "a.txt", TEXT)
    assert [(row.key, row.inputs["text"].item()) for row in rows] == [
        (0, b"one"),
        (2, b"\xff two "),
        (3, b"\tthree"),
    ]


def test_text_files_are_input_where_a_folder_holds_nothing_else(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "b.txt").write_text("three\n")
    assert keys(read(tmp_path, TEXT)) == ["a.txt:0", "a.txt:1", "b.txt:0"]


@pytest.mark.parametrize(
    "given",
    [X, IMAGE, signature({"inputs": info("string", None)})],
    ids=["number", "image", "tf.Example"],
)
def test_a_text_file_fits_only_a_model_of_texts(tmp_path, given):
    (tmp_path / "a.txt").write_text("one\n")
    with pytest.raises(MismatchError, match="a.txt.*does not fit"):
        _sources.preview(_sources.find(str(tmp_path)), given)


def test_the_output_is_no_input_of_the_next_run(tmp_path):
    jsonl(tmp_path / "in.jsonl", 1.0)
    output = jsonl(tmp_path / "out.jsonl", 2.0)
    assert keys(read(tmp_path, X, leave_out=[output])) == [0]


@pytest.mark.parametrize("given", ["missing.png", "*.png", "empty", "a.md"])
def test_nothing_to_read_is_a_mistake_of_what_was_typed(tmp_path, given):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.md").write_text("")
    with pytest.raises(UsageError, match="Received: .*"):
        _sources.find(str(tmp_path / given))


def test_rows_of_one_file_are_numbered(tmp_path):
    np.save(tmp_path / "x.npy", np.float32([5, 6]))
    assert keys(read(tmp_path / "x.npy", X)) == [0, 1]


def test_rows_of_several_files_have_the_name_too(tmp_path):
    np.save(tmp_path / "x.npy", np.float32([5, 6]))
    np.save(tmp_path / "y.npy", np.float32([7]))
    assert keys(read(tmp_path, X)) == ["x.npy:0", "x.npy:1", "y.npy:0"]


def test_json_lines_may_bring_their_key(tmp_path):
    path = jsonl(
        tmp_path / "x.jsonl",
        {"id": "first", "x": 1},
        {"id": 7, "x": 2},
        {"x": 3},
        4,
    )
    items = read(path, X)
    assert keys(items) == ["first", 7, 2, 3]
    assert [item.inputs["x"].item() for item in items] == [1, 2, 3, 4]


def test_an_input_named_id_is_an_input(tmp_path):
    path = jsonl(tmp_path / "x.jsonl", {"id": 5})
    (row,) = read(path, signature({"id": info("int64", None)}))
    assert row.key == 0
    assert row.inputs["id"] == 5


def test_empty_lines_are_no_rows_but_count_as_lines(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\xef\xbb\xbf1\r\n\r\n  \n2")  # with a byte order mark
    assert keys(read(path, X)) == [0, 3]


def test_bad_lines_are_refused_and_the_others_read(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(
        b'1\n{"x": \n"text"\n{"y": 3}\n{"id": [], "x": 1}\n\xff\n[[]]\n2\n'
    )
    items = read(path, X)
    assert keys(items) == [0, 7]
    refused = [item for item in items if isinstance(item, Refusal)]
    assert [item.row for item in refused] == [1, 2, 3, 4, 5, 6]
    assert all(item.file == "x.jsonl" for item in refused)
    assert "not JSON" in refused[0].reason
    assert "`x` must be float32" in refused[1].reason
    assert "Received: `y`" in refused[2].reason
    assert "`id` must be" in refused[3].reason


def test_what_nobody_asks_for_may_stand_in_a_line(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"x": 1}\n{"x": 2, "y": 3, "z": {"x": 4}}\n')
    items = read(path, X)
    assert keys(items) == [0, 1]
    assert [item.inputs["x"].item() for item in items] == [1, 2]


@pytest.mark.parametrize("name", ["x.tfrecord", "x.tfrecord-00000-of-00001"])
def test_records_are_read_and_bad_ones_refused(tmp_path, name):
    records = [example(x=[1.0]), b"\xff", example(y=[1.0]), example(x=[2.0])]
    path = write_tfrecord(tmp_path / name, records)
    content = path.read_bytes()
    path.write_bytes(content + content[:20])  # cut short inside the next
    items = read(path, X)
    assert keys(items) == [0, 3]
    reasons = [item.reason for item in items if isinstance(item, Refusal)]
    assert [item.row for item in items if isinstance(item, Refusal)] == [1, 2, 4]
    assert "not a tf.Example" in reasons[0]
    assert "Received: `y`" in reasons[1]
    assert "cut short" in reasons[2]


def logged(**inputs: object) -> bytes:
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.name = "any"
    log.log_metadata.timestamp_secs = 1  # in the field where a tf.Example has its own
    for alias, value in inputs.items():
        tensor_codec.encode_into(log.predict_log.request.inputs[alias], value)
    return log.SerializeToString()


def test_logged_requests_are_read_row_by_row(tmp_path):
    classify = prediction_log_pb2.PredictionLog()
    for x in (4.0, 5.0):
        inputs = classify.classify_log.request.input.example_list.examples.add()
        inputs.ParseFromString(example(x=[x]))
    records = [
        logged(x=np.float32([1, 2])),
        logged(x=np.float32([[3]])),
        logged(y=np.float32([3])),
        logged(x=np.array([b"text"], object)),
        classify.SerializeToString(),
        prediction_log_pb2.PredictionLog(session_run_log={}).SerializeToString(),
    ]
    items = read(write_tfrecord(tmp_path / "log.tfrecord", records), X)
    rows = [item for item in items if isinstance(item, Row)]
    assert [float(row.inputs["x"]) for row in rows] == [1, 2, 4, 5]
    reasons = [item.reason for item in items if isinstance(item, Refusal)]
    assert "shape [1]" in reasons[0]
    assert "Received: `y`" in reasons[1]
    assert "`x` must be float32" in reasons[2]
    assert "session_run_log" in reasons[3]


def test_texts_of_logged_requests_are_read(tmp_path):
    texts = signature({"text": info("string", None)})
    records = [logged(text=np.array([b"a", b"bc"], object))]
    items = read(write_tfrecord(tmp_path / "log.tfrecord", records), texts)
    assert [row.inputs["text"].item() for row in items] == [b"a", b"bc"]


def test_a_damaged_file_is_refused_and_the_others_read(tmp_path):
    for name in ("a.png", "c.png"):
        png(tmp_path / name)
    (tmp_path / "b.png").write_bytes(b"no image")
    items = read(tmp_path, IMAGE)
    assert keys(items) == ["a.png", "c.png"]
    assert isinstance(items[1], Refusal)
    assert (items[1].file, items[1].row) == ("b.png", None)


def test_a_file_that_vanished_is_refused(tmp_path):
    for name in ("a.png", "b.png"):
        png(tmp_path / name)
    source = _sources.find(str(tmp_path))
    (tmp_path / "a.png").unlink()
    items = list(_sources.read(source, IMAGE, lambda about, message: None))
    assert "No such file" in items[0].reason
    assert keys(items) == ["b.png"]


def test_a_name_that_is_not_utf8_can_be_written_down(tmp_path):
    path = png(tmp_path / "a.png")
    os.rename(path, os.fsencode(tmp_path) + b"/\xff.png")
    (key,) = keys(read(tmp_path, IMAGE))
    assert key.encode() == "\N{REPLACEMENT CHARACTER}.png".encode()


def test_what_does_not_fit_at_all_is_one_error_with_the_signature(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 9), np.float64))
    source = _sources.find(str(tmp_path / "x.npy"))
    told = r"`x.npy` .* `image` uint8 \[batch, 2, 2, 1\]. .* Received: float64"
    with pytest.raises(MismatchError, match=told):
        _sources.preview(source, IMAGE)


def test_every_kind_of_file_is_looked_at_before_the_work(tmp_path):
    png(tmp_path / "a.png")
    jsonl(tmp_path / "b.jsonl", {"other": 1})
    with pytest.raises(MismatchError, match="`b.jsonl` .* Received: `other`"):
        _sources.preview(_sources.find(str(tmp_path)), IMAGE)


@pytest.mark.parametrize("values", [["bad", 1.0], [1.0, "bad"]])
def test_a_bad_row_among_good_ones_is_no_mismatch(tmp_path, values):
    path = jsonl(tmp_path / "x.jsonl", *values)
    _sources.preview(_sources.find(str(path)), X)


def test_a_damaged_file_is_no_mismatch(tmp_path):
    (tmp_path / "b.png").write_bytes(b"no image")
    (tmp_path / "x.jsonl").write_text("{\n")
    _sources.preview(_sources.find(str(tmp_path)), IMAGE)


def test_rows_are_counted_ahead(tmp_path):
    np.save(tmp_path / "a.npy", np.float32([5, 6]))
    jsonl(tmp_path / "b.jsonl", 1, 2, 3)
    write_tfrecord(tmp_path / "c.tfrecord", [example(x=[1.0])] * 4)
    (tmp_path / "d.npy").write_bytes(b"")
    (shard,) = _plan.shards(_sources.find(str(tmp_path)), X, None)
    assert [span.rows for span in shard] == [2, 3, 4, 1]
