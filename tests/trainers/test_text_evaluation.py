"""Classifiers of texts are judged by what they answer, and by arithmetic."""

import numpy as np
import pytest

from trainers import _report, _text_evaluation

NAMES = ["negative", "positive"]
TEXTS = np.array(
    [f"{word} film {n}".encode() for n in range(6) for word in ("good", "bad")], object
)
LABELS = np.array([1, 0] * 6)


def by_words(texts):
    """Half, a quarter more for `good` and 0.4 less for `bad`."""
    good = np.array([b"good" in text.lower() for text in texts])
    bad = np.array([b"bad" in text.lower() for text in texts])
    positive = 0.5 + 0.25 * good - 0.4 * bad
    return np.stack([1 - positive, positive], axis=1)


def test_a_classifier_that_is_right_has_the_whole_area():
    judged = _text_evaluation.sentiment(LABELS, TEXTS, by_words, NAMES)
    assert judged.metrics["accuracy"] == 1
    assert judged.metrics["roc_auc"] == 1
    expected = -(np.log(0.75) + np.log(0.9)) / 2
    assert judged.metrics["cross_entropy"] == pytest.approx(expected)
    assert "towards negative: bad -0.40" in judged.text
    assert "towards positive: good +0.25" in judged.text


def test_the_area_is_the_share_of_pairs_in_order():
    randomness = np.random.default_rng(3)
    labels = randomness.integers(0, 2, 80)
    scores = np.round(randomness.random(80), 1)  # some are equal
    pairs = [
        (p > n) + 0.5 * (p == n)
        for p in scores[labels == 1]
        for n in scores[labels == 0]
    ]
    area = _text_evaluation.roc_auc(labels, scores)
    assert area == pytest.approx(np.mean(pairs))


def test_one_class_alone_has_no_area():
    ones = np.ones(12, int)
    judged = _text_evaluation.sentiment(ones, TEXTS, by_words, NAMES)
    assert "roc_auc" not in judged.metrics
    assert judged.metrics["accuracy"] == pytest.approx(0.5)


def test_a_word_pushes_by_what_the_score_loses_without_it():
    texts = np.array([b"Good, film", b"(good) plot", b"so GOOD!", b"good film", b"bad"])
    texts = texts.astype(object)
    pushes = _text_evaluation.word_pushes(texts, by_words(texts)[:, 1], by_words)
    assert pushes == {"good": pytest.approx(0.25)}  # the others are too rare


def test_many_words_cost_no_more_than_some_and_the_telling_ones_are_tried():
    randomness = np.random.default_rng(4)
    fillers = [f"w{n}" for n in range(900)]
    words = [[*randomness.choice(fillers, 12), "film"] for _ in range(800)]
    for place in range(0, 60):
        words[place].append("good" if place % 2 else "bad")
    texts = np.array([" ".join(each).encode() for each in words], object)
    asked = []

    def counted(texts):
        asked.append(len(texts))
        return by_words(texts)

    scores = by_words(texts)[:, 1]
    pushes = _text_evaluation.word_pushes(texts, scores, counted)
    assert sum(asked) <= 1200
    assert pushes["good"] == pytest.approx(0.25)
    assert pushes["bad"] == pytest.approx(-0.4)


def test_every_panel_draws_any_text():
    texts = np.array([b"", b"\xff\xfe", b"$\\alpha^{$ " * 99, b"x" * 5000] * 3, object)
    for answer in (by_words, lambda texts: np.full((len(texts), 2), 0.5)):
        judged = _text_evaluation.sentiment(LABELS, texts, answer, NAMES)
        assert set(judged.panels) == {
            "confusion matrix",
            "ROC curve",
            "words that push most",
            "scores",
            "how sure it is",
            "worst mistakes",
        }
        for title, panel in judged.panels.items():
            assert _report.picture(title, panel).size
