"""Statistics notice what came to be otherwise, and do not what is chance."""

import math

import numpy as np
import pytest

from savedmodels import distributions
from savedmodels.distributions import Recorder, stability_index

RANDOM = np.random.default_rng(1)


def answer(inputs: dict, name: str = "") -> dict[str, np.ndarray]:
    rows = len(inputs["x"])
    return {
        "class_id": (inputs["x"].reshape(rows, -1)[:, 0] > 0).astype(np.int64),
        "scores": np.stack([np.full(rows, 0.2), np.full(rows, 0.8)], axis=1),
    }


def recorded(x: np.ndarray) -> dict:
    recorder = Recorder(answer)
    for start in range(0, len(x), 100):
        recorder({"x": x[start : start + 100]})
    return recorder.statistics()


def indices(baseline: dict, x: np.ndarray) -> dict[str, float]:
    counts = distributions.empty(baseline)
    classes: dict[str, int] = {}
    for start in range(0, len(x), 70):
        inputs = {"x": x[start : start + 70]}
        outputs = answer(inputs)
        distributions.count(counts, baseline, inputs, outputs)
        for value in outputs["class_id"]:
            classes[str(value)] = classes.get(str(value), 0) + 1
    return distributions.indices(baseline, counts, classes)


def test_the_index_is_the_sum_that_its_name_stands_for():
    expected, found = [500, 300, 200], [400, 400, 200]
    p, q = np.array(found) / 1000, np.array(expected) / 1000
    wanted = sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert stability_index(expected, found) == pytest.approx(wanted)
    assert stability_index(expected, expected) == 0


def test_a_bin_that_nothing_fell_into_does_not_make_the_index_infinite():
    assert 1 < stability_index([500, 500], [1000, 0]) < 10


def test_so_few_rows_that_chance_would_count_as_a_move_are_not_judged():
    # Chance makes it chi-square of 9 degrees times (1 / rows + 1 / rows known), whose
    # mean and two standard deviations are 17.5 times that.
    assert stability_index([100] * 10, [20] * 10) is None
    assert stability_index([100] * 10, [22] * 10) is not None
    assert stability_index([100] * 10, []) is None


def test_the_same_distribution_is_alike_and_another_has_drifted():
    baseline = recorded(RANDOM.normal(size=(5_000, 2)).astype(np.float32))
    assert baseline["rows"] == 5_000
    assert sum(baseline["features"]["x[0]"]["counts"]) == 5_000
    same = indices(baseline, RANDOM.normal(size=(2_000, 2)).astype(np.float32))
    assert set(same) >= {"x[0]", "x[1]", "classes"}
    assert max(same.values()) < distributions.MODERATE
    other = RANDOM.normal(size=(2_000, 2)).astype(np.float32) + [0, 1.5]
    moved = indices(baseline, other)
    assert moved["x[1]"] > distributions.LARGE
    assert moved["x[0]"] < distributions.MODERATE
    assert distributions.verdict(moved["x[1]"]) == "drifted"


@pytest.mark.parametrize(
    ("x", "names"),
    [
        (np.zeros((3, 28, 28, 1), np.uint8), ["x mean"]),
        (np.zeros(3, np.float32), ["x"]),
        (np.zeros((3, 2), np.int64), ["x[0]", "x[1]"]),
        (np.array([b"a", b"", b"abc"], object), ["x bytes"]),
    ],
)
def test_features_are_numbers_a_row(x, names):
    found = distributions.features({"x": x}, {"y": np.zeros(3, np.float32)})
    assert list(found) == [*names, "y (answer)"]
    assert all(values.shape == (3,) for values in found.values())


def test_calls_that_name_a_signature_or_are_apart_are_not_counted():
    recorder = Recorder(answer)
    x = np.zeros((2, 1), np.float32)
    recorder({"x": x})
    recorder({"x": x}, "other")
    recorder.uncounted({"x": x})
    assert recorder.statistics()["rows"] == 2


def test_values_that_are_no_numbers_are_left_out():
    x = np.array([1, 2, np.nan, np.inf], np.float32)[:, np.newaxis]
    assert sum(recorded(x)["features"]["x"]["counts"]) == 2
