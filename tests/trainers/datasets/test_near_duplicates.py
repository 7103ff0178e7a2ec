"""The quick search finds what comparing all with all finds."""

import fractions
import itertools

import numpy as np
import pytest

from trainers.datasets import _near_duplicates


@pytest.mark.parametrize("share", ["1/5", "1/3", "1/2", "2/3", "1"])
def test_pairs_are_those_that_have_enough_in_common(share):
    share = fractions.Fraction(share)
    randomness = np.random.default_rng(3)
    # Few letters, some of them frequent: many sets are alike.
    letters = list("aaaabbbccdefgh")
    texts = [
        frozenset(randomness.choice(letters, randomness.integers(1, 7)).tolist())
        for _ in range(120)
    ]
    wanted = {
        (i, j)
        for i, j in itertools.combinations(range(len(texts)), 2)
        if fractions.Fraction(len(texts[i] & texts[j]), len(texts[i] | texts[j]))
        >= share
    }
    found = list(_near_duplicates.pairs(texts, share))
    assert set(found) == wanted
    assert len(found) == len(wanted)


def test_shingles_are_runs_and_short_texts_are_one():
    words = _near_duplicates.word_shingles("One two, THREE four five")
    assert words == {("one", "two", "three", "four"), ("two", "three", "four", "five")}
    assert _near_duplicates.word_shingles("Yes!") == {("yes",)}
    assert _near_duplicates.character_shingles("神、光あれ") == {"神光あれ"}
    assert _near_duplicates.character_shingles("あいうえおか") == {
        "あいうえお",
        "いうえおか",
    }


def test_groups_hold_what_a_third_ties_together():
    assert _near_duplicates.groups(6, [(4, 5), (1, 3), (3, 5)]) == [0, 1, 2, 1, 1, 1]
