"""Translations are judged as whoever counts by hand would."""

import math

import numpy as np
import pytest

from trainers import _nearest_text, _report, _translation


def column(*texts):
    return np.array([text.encode() for text in texts], object)


def says(*answers, scores=None):
    """A translator that gives these answers, in the order of the sources 0, 1, ..."""

    def answer(inputs, name="serving_default"):
        places = [int(text.split()[0]) for text in inputs["source_text"]]
        if name == "attention":
            target = [answers[place] for place in places]
            return {
                "source_tokens": np.array([[b"a", b"b", b""]] * len(places), object),
                "target_tokens": np.array([[t.encode(), b""] for t in target], object),
                "attention": np.full([len(places), 2, 3], 0.5, np.float32),
            }
        return {
            "target_text": column(*(answers[place] for place in places)),
            "score": np.array([(scores or [0.5] * 9)[p] for p in places], np.float32),
        }

    return answer


def test_an_answer_is_right_to_the_letter_or_wrong():
    pairs = {
        "source_text": column("0 a", "1 b", "2 c", "3 d"),
        "target_text": column("2024", "2025", "2026", ""),
        "locale": column("de", "de", "ja", "ja"),
    }
    answer = says("2024", "2025 ", "206", "x", scores=[0.9, 0.2, 0.8, 0.3])
    result = _translation.judge_exactly(answer, pairs)
    assert result.metrics == {
        "accuracy": 0.25,
        "edit_distance": 0.75,  # 0, a blank, a 2 and an x
        "accuracy/de": 0.5,
        "accuracy/ja": 0.0,
    }
    assert "1 of 4" in result.text
    # The surest of them first.
    assert result.text.index("says 206") < result.text.index("says x")
    for title, panel in result.panels.items():
        assert _report.picture(title, panel).size


def test_a_translator_without_mistakes_is_drawn_too():
    pairs = {"source_text": column("0 a", "1 b"), "target_text": column("a", "b")}
    result = _translation.judge_exactly(says("a", "b"), pairs)
    assert result.metrics == {"accuracy": 1.0, "edit_distance": 0.0}
    for title, panel in result.panels.items():
        assert _report.picture(title, panel).size


@pytest.mark.parametrize(
    ("a", "b", "edits"),
    [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2)],
)
def test_edits_are_those_of_the_textbook(a, b, edits):
    assert _translation._edits(a, b) == _translation._edits(b, a) == edits


def test_the_baseline_is_the_translation_of_the_nearest_known_text():
    known = {
        "source_text": column("the king went", "the water", "the light of day"),
        "target_text": column("王行", "水", "日光"),
    }
    pairs = {
        "source_text": column("0 light", "1 king"),
        "target_text": column("日光", "王"),
    }
    result = _translation.judge_by_overlap(says("光", "王"), pairs, known)
    # The nearest of "light" is found whole; nothing else is as near to "king".
    assert result.metrics["nearest_chrf"] == _translation.chrf(
        ["日光", "王行"], ["日光", "王"]
    )
    assert result.metrics["chrf"] == _translation.chrf(["光", "王"], ["日光", "王"])
    for title, panel in result.panels.items():
        assert _report.picture(title, panel).size


def test_nearest_weighs_words_by_their_rarity():
    known = ["a a a b", "c d", "a c", "a e"]
    # idf of a, in three of four, is ln(5/4) + 1, that of others in one ln(5/2) + 1.
    rare, common = math.log(5 / 2) + 1, math.log(5 / 4) + 1
    twice = math.log(5 / 3) + 1  # c
    cosine_first = (3 * common * common) / math.hypot(3 * common, rare)
    cosine_last = (common**2 + rare**2) / math.hypot(common, rare)
    assert cosine_last > cosine_first
    assert twice < rare
    assert _nearest_text.places(known, ["a e", "d", "b", "zzz"]).tolist() == [
        3,
        1,
        0,
        0,
    ]


def test_overlap_is_100_for_the_same_and_0_for_nothing_in_common():
    same = ["神光を晝と名け暗を夜と名けたまへり"]
    assert _translation.chrf(same, same) == pytest.approx(100)
    assert _translation.bleu(same, same) == pytest.approx(100)
    assert _translation.chrf(["甲乙丙丁"], same) == 0
