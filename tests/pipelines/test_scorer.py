"""Batching, running and counting, with a model that numpy computes."""

import json
import pathlib
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from scoring_parts import Sum, info, signature

from pipelines import _batches, _outputs, _scorer
from pipelines._batches import Batch
from pipelines._inputs import MismatchError
from pipelines._outputs import ScoresFile
from pipelines._sources import Refusal, Row
from savedmodels.errors import MaaskitError

X = signature({"x": info("float32", None)})


def row(value: object, index: int = 0, dtype: str = "float32") -> Row:
    return Row(index, "f", index, {"x": np.asarray(value, dtype)})


def sizes(items: list[Row | Refusal], largest: int | None) -> list[int]:
    return [
        len(batch.rows)
        for batch in _batches.batches(items, largest)
        if isinstance(batch, Batch)
    ]


@pytest.mark.parametrize(
    ("rows", "largest", "wanted"),
    [
        (0, 4, []),
        (3, 4, [3]),
        (9, 4, [4, 4, 1]),
        (300, None, [128, 128, 44]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_batches_are_full_but_the_last(rows, largest, wanted):
    assert sizes([row(1.0)] * rows, largest) == wanted


def test_batches_stay_small_where_rows_are_large():
    large = row(np.zeros(_batches.AUTO_BYTES // 8, np.float32))  # half of it
    assert sizes([large] * 5, None) == [2, 2, 1]
    huge = row(np.zeros(_batches.AUTO_BYTES, np.float32))
    assert sizes([huge] * 2, None) == [1, 1]


def test_rows_of_different_shapes_run_apart_in_their_order():
    shapes = [(2,), (2,), (3,), (2,)]
    items = [row(np.ones(shape), index) for index, shape in enumerate(shapes)]
    batches = list(_batches.batches(items, None))
    assert [[r.key for r in batch.rows] for batch in batches] == [[0, 1], [2], [3]]


def test_strings_are_stacked_as_they_are():
    items = [Row(0, "f", 0, {"x": np.array(text, object)}) for text in (b"a\0", b"")]
    (batch,) = _batches.batches(items, None)
    assert batch.inputs["x"].dtype == object
    assert batch.inputs["x"].tolist() == [b"a\0", b""]


@pytest.mark.parametrize(
    ("shape", "asked", "largest"),
    [((None, 2), None, None), ((None, 2), 7, 7), ((1, 2), 7, 1), ((1, 2), None, 1)],
)
def test_a_model_of_one_row_gets_one_row(shape, asked, largest):
    given = signature({"x": info("float32", *shape)})
    assert _batches.largest_batch(given, asked) == largest


@pytest.mark.parametrize("shape", [(), (8, 2)])
def test_a_model_without_a_free_batch_axis_is_refused(shape):
    with pytest.raises(MismatchError, match="Axis 0"):
        _batches.largest_batch(signature({"x": info("float32", *shape)}), None)


def score(path: object, items: object, largest: int = 4) -> ScoresFile:
    with ScoresFile(path, _outputs.columns(X), errors_path(path)) as output:
        listener = _scorer.Listener()
        _scorer.score(Sum(), "serving_default", items, output, listener, largest)
    return output


def errors_path(path: pathlib.Path) -> pathlib.Path:
    return path.with_name("errors.jsonl")


def test_every_row_is_written_or_refused_in_its_order(tmp_path):
    values = [[float(i), 1.0] for i in range(50)]
    items: list[Row | Refusal] = [row(value, i) for i, value in enumerate(values)]
    items[20] = Refusal("f", 20, "It is damaged.")
    output = score(tmp_path / "s.jsonl", items)
    lines = [json.loads(line) for line in open(tmp_path / "s.jsonl")]
    # Row 13 is the one that the model refuses.
    wanted = [i for i in range(50) if i not in (13, 20)]
    assert lines == [{"key": i, "y": float(i + 1)} for i in wanted]
    refused = [json.loads(line) for line in open(errors_path(tmp_path / "s.jsonl"))]
    assert {line["row"]: line["reason"] for line in refused} == {
        13: "The model refused it: 13 is bad luck",
        20: "It is damaged.",
    }
    assert (output.written, output.refused) == (48, 2)


def test_a_bad_row_costs_few_runs():
    model = Sum()
    items = [row(13.0 if i == 77 else 1.0, i) for i in range(128)]
    answers = list(_scorer.answers(model, "", _batches.batches(items, None)))
    assert sum(isinstance(answer, Refusal) for answer in answers) == 1
    assert len(model.sizes) == 1 + 2 * 7  # halved 7 times down to one row


def test_a_lost_row_publishes_nothing(tmp_path, monkeypatch):
    gather = _scorer.batches
    monkeypatch.setattr(_scorer, "batches", lambda items, n: list(gather(items, n))[1:])
    with pytest.raises(MaaskitError, match="8 were read, 4 written and 0 refused"):
        score(tmp_path / "s.jsonl", [row(1.0, i) for i in range(8)])
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_reading_reaches_the_caller_and_publishes_nothing(tmp_path):
    def broken() -> Iterator[Row]:
        yield row(1.0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        score(tmp_path / "s.jsonl", broken())
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_running_ends_the_reading_thread(tmp_path):
    class Broken:
        def run(self, signature_name: str, inputs: object) -> dict[str, np.ndarray]:
            raise ZeroDivisionError

    endless = iter(lambda: row(1.0), None)
    with pytest.raises(ZeroDivisionError):
        for _ in _scorer.answers(Broken(), "", _batches.batches(endless, 4)):
            pass
    for thread in threading.enumerate():
        if thread.name == "read-ahead":
            thread.join(timeout=5)
            assert not thread.is_alive()


def test_reading_stays_a_few_batches_ahead_of_a_slow_reader_of_answers():
    made = []

    def items() -> Iterator[int]:
        for index in range(1000):
            made.append(index)
            yield index

    ahead = _batches.ahead(items())
    assert next(ahead) == 0
    threading.Event().wait(0.3)
    assert len(made) <= 5
    ahead.close()


def test_small_batches_are_written_together_and_others_apart(tmp_path, monkeypatch):
    written: list[int] = []
    write = ScoresFile.write
    monkeypatch.setattr(
        ScoresFile,
        "write",
        lambda file, keys, *more: [written.append(len(keys)), write(file, keys, *more)],
    )
    wide = [row([1.0, 2.0, 3.0], i) for i in range(600, 603)]
    items = [row([1.0, float(i)], i) for i in range(100, 600)] + wide
    score(tmp_path / "s.jsonl", items)
    assert written == [256, 244, 3]
    lines = [json.loads(line) for line in open(tmp_path / "s.jsonl")]
    assert [line["key"] for line in lines] == list(range(100, 603))
    assert lines[1] == {"key": 101, "y": 102.0}


def test_outputs_that_lose_rows_are_never_joined_with_others(tmp_path):
    class Losing(Sum):
        """Gives three answers to four instances, and then five."""

        def run(self, name, inputs):
            self.counts = getattr(self, "counts", [3, 5, 4])
            wrong = np.zeros(self.counts.pop(0), np.float32)
            return {"y": wrong}

    items = [row(1.0, i) for i in range(12)]
    path = tmp_path / "s.jsonl"
    with ScoresFile(path, _outputs.columns(X), errors_path(path)) as output:
        with pytest.raises(MaaskitError, match="batch of 4. Received: shape"):
            _scorer.score(Losing(), "", items, output, _scorer.Listener(), 4, threads=1)
