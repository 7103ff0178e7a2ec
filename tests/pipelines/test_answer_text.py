"""Answers are readable: a chart for one instance, a line for each of several."""

import numpy as np
import pytest

from pipelines import _answer_text

DIGIT = {
    "scores": np.float32([0.25, 0.0, 0.75]),
    "class_id": np.int64(2),
}


def test_scores_of_one_instance_are_drawn_largest_first():
    assert _answer_text.one("7.png", DIGIT).splitlines() == [
        "7.png: class 2, score 0.7500",
        "",
        "  2  0.7500  " + 30 * "█",
        "  0  0.2500  " + 10 * "█",
        "  1  0.0000",
    ]


def test_scores_of_several_instances_take_a_line_each():
    assert _answer_text.line("7.png", DIGIT) == "7.png  class 2  score 0.7500"


def test_classes_name_the_scores():
    outputs = {
        "classes": np.array([b"cat", b"dog", b"h\xc3\xa4st"], object),
        "scores": DIGIT["scores"],
    }
    assert "häst  0.7500" in _answer_text.one("x", outputs)
    assert _answer_text.line("x", outputs) == "x  class häst  score 0.7500"


def test_a_label_names_the_best_class():
    outputs = DIGIT | {"label": np.array(b"h\xc3\xa4st", object)}
    assert _answer_text.line("x", outputs) == "x  class häst  score 0.7500"
    assert "  häst  0.7500" in _answer_text.one("x", outputs)


def test_many_classes_are_cut():
    outputs = {"scores": np.linspace(0, 1, 1000)}
    lines = _answer_text.one("x", outputs).splitlines()
    assert lines[0] == "x: class 999, score 1.0000"
    assert lines[-1] == "  and 990 more with lower scores"


def test_other_outputs_follow():
    outputs = DIGIT | {"lightness": np.float32(0.5)}
    assert _answer_text.one("x", outputs).splitlines()[-1] == "  lightness: 0.5"
    assert _answer_text.line("x", outputs).endswith("score 0.7500  lightness 0.5")


def test_outputs_that_are_no_scores_are_printed_by_alias():
    outputs = {"text": np.array(b"hi", object), "box": np.float32([0, 0.5, 1, 1])}
    assert _answer_text.one("x", outputs).splitlines() == [
        "x",
        "  text: hi",
        "  box: [0. 0.5 1. 1. ]",
    ]
    assert _answer_text.line(3, outputs) == "3  text hi  box [0. 0.5 1. 1. ]"


@pytest.mark.parametrize(
    "scores", [np.float32(0.5), np.zeros((2, 2)), np.zeros(0), np.array([b"a"], object)]
)
def test_scores_of_another_shape_are_printed_as_they_are(scores):
    assert _answer_text.one("x", {"scores": scores}).startswith("x\n  scores: ")


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 7.0])
def test_scores_out_of_range_do_not_break_the_chart(value):
    text = _answer_text.one("x", {"scores": np.array([value, 0.5])})
    assert max(line.count("█") for line in text.splitlines()) <= 40


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (np.float32(0.1), "0.1"),
        (np.int64(12), "12"),
        (np.bool_(True), "True"),
        (np.array(b"\xff\x00", object), "2 bytes"),
        (np.array([b"a", b"b"], object), "['a' 'b']"),
        (np.arange(1000), "[ 0 1 2 ... 997 998 999] of shape [1000]"),
    ],
)
def test_values_are_short(value, wanted):
    assert _answer_text.text(np.asarray(value)) == wanted
