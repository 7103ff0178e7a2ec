"""Texts become the same words wherever they are read."""

import numpy as np
import pytest
import tensorflow as tf

from trainers import _words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A film, GREAT fun!!", ["a", "film", ",", "great", "fun", "!", "!"]),
        ("It's don’t ''Conan''", ["it's", "don't", "'", "'", "conan", "'", "'"]),
        ("Über-toll 7.5", ["über", "-", "toll", "7", ".", "5"]),
        (" :)\t映画\n", [":", ")", "映画"]),
        ("", []),
    ],
)
def test_words_are_lower_cased_and_signs_stand_alone(text, words):
    (found,) = _words.split(tf.constant([text])).to_list()
    assert [word.decode() for word in found] == words


def test_the_most_frequent_words_come_first_and_ties_by_alphabet():
    texts = np.array([b"b b a", b"c a d"], object)
    assert _words.most_frequent(texts, 3) == ["a", "b", "c"]


def test_ids_are_padded_cut_and_unknown():
    table = _words.make_table(["good", "film"])
    texts = tf.constant(["good film", "a good good film", ""])
    ids = _words.token_ids(texts, table, 3).numpy()
    assert ids.tolist() == [[2, 3, 0], [1, 2, 2], [0, 0, 0]]
