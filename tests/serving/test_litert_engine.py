"""Interpreters: one per run at the same time and per shape, within bounds."""

import concurrent.futures
import threading

import numpy as np
import pytest

from serving import litert_engine
from serving.errors import InvalidRequestError
from serving.litert_engine import LiteRtEngine
from serving.signatures import read_signatures

NAME = "serving_default"


@pytest.fixture
def engine(digits_litert):
    model = (digits_litert / "model.tflite").read_bytes()
    return LiteRtEngine(model, read_signatures(digits_litert))


def images(rows, of=28):
    return {"image": np.zeros((rows, of, 28, 1), np.uint8)}


def test_a_size_that_came_before_finds_its_interpreter(engine):
    for rows in (1, 2, 3, 1, 2, 3, 1):
        assert engine.run(NAME, images(rows))["scores"].shape == (rows, 10)
    assert engine.kept[0] == 3


def test_interpreters_are_bounded_by_number(engine):
    for rows in range(1, 3 * litert_engine._KEPT):
        engine.run(NAME, images(rows))
    assert engine.kept[0] == litert_engine._KEPT
    assert engine.run(NAME, images(1))["scores"].shape == (1, 10)


def test_interpreters_are_bounded_by_memory(engine, monkeypatch):
    engine.run(NAME, images(100))
    _, size = engine.kept
    # No less than the image as bytes and as floats.
    assert size >= 100 * 28 * 28 * 5
    monkeypatch.setattr(litert_engine, "_KEPT_BYTES", 3 * size)
    for rows in range(100, 120):
        engine.run(NAME, images(rows))
    kept, held = engine.kept
    assert kept in (2, 3)
    assert held <= 3 * size


def test_one_large_request_does_not_take_memory_for_ever(engine, monkeypatch):
    monkeypatch.setattr(litert_engine, "_LARGEST_BYTES", 100 * 28 * 28 * 5)
    engine.run(NAME, images(1))
    before = engine.kept
    assert engine.run(NAME, images(1000))["scores"].shape == (1000, 10)
    assert engine.kept == before


def test_runs_at_the_same_time_have_an_interpreter_each(engine, monkeypatch):
    monkeypatch.setattr(litert_engine, "_KEPT_BYTES", 0)
    together = threading.Barrier(3)
    call = litert_engine._call

    def wait_for_others(*arguments):
        together.wait(30)
        return call(*arguments)

    monkeypatch.setattr(litert_engine, "_call", wait_for_others)
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        runs = [threads.submit(engine.run, NAME, images(rows)) for rows in (1, 1, 2)]
        found = [run.result()["scores"].shape for run in runs]
    assert found == [(1, 10), (1, 10), (2, 10)]
    assert engine.kept[0] == 3


def test_a_run_that_fails_leaves_no_interpreter_behind(engine, monkeypatch):
    def fail(*_):
        raise RuntimeError("half resized")

    engine.run(NAME, images(1))
    monkeypatch.setattr(litert_engine, "_call", fail)
    with pytest.raises(InvalidRequestError, match="half resized"):
        engine.run(NAME, images(1))
    assert engine.kept == (0, 0)
    assert engine._bytes == 0
