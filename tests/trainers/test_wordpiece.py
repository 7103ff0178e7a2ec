"""Texts are read as BERT's own tokeniser reads them, written again in plain Python."""

import unicodedata

import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.bert_start import PIECES
from trainers import _wordpiece

TEXTS = [
    "",
    " \t\n",
    "The film is great.",
    "The GREATER film, the dullest movie!?",
    "Unlikely 'good' un-like films",
    "Was it good? unknownword the",
    "a\tfilm\nis\r\nbad",
    "a\u00a0film\u3000is\u2028bad",
    "THÉ ÉTAT é dull\u0301est",
    "½ a film",
    "straße STRASSE",
    "日本the film日",
    "the\u200bfi\u00adlm",
    "the \x00film\x07 is\x7f good",
    "İs the film good",
    "the $film$ ^is^ `good` ~bad~ <a> |b| @",
    "“the film” — great…",
    "🎬 film 🎬good",
    "a " * 300,
    "x" * 101 + " film",
]


def words(text):
    """The words and signs of a text, by the rules that come with BERT."""
    cleaned = ""
    for c in text:
        category = unicodedata.category(c)
        if c == "\ufffd" or (category[0] == "C" and c not in "\t\n\r"):
            continue
        if category[0] == "Z":
            cleaned += " "
        elif 0x4E00 <= ord(c) <= 0x9FFF:
            cleaned += f" {c} "
        else:
            cleaned += c
    for word in cleaned.split():
        plain = unicodedata.normalize("NFD", word.lower())
        current = ""
        for c in plain:
            category = unicodedata.category(c)
            symbol = c.isascii() and not c.isalnum()
            if category == "Mn":
                continue
            if symbol or category[0] == "P":
                yield from filter(None, (current, c))
                current = ""
            else:
                current += c
        if current:
            yield current


def pieces(word, known):
    """The longest piece that fits, again and again; `[UNK]` where none does."""
    if len(word) > 100:
        return ["[UNK]"]
    found, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in known:
                break
        else:
            return ["[UNK]"]
        found.append(piece)
        start = end
    return found


def expected(text, tokens):
    found = [p for word in words(text) for p in pieces(word, set(PIECES))]
    return [PIECES.index(p) for p in ["[CLS]", *found[: tokens - 2], "[SEP]"]]


@pytest.fixture(scope="module")
def tiny():
    return _wordpiece.WordPieces(PIECES, lower_case=True)


def unpadded(row, padding):
    return [int(token_id) for token_id in row if token_id != padding]


@pytest.mark.parametrize("tokens", [3, 8, 1000])
def test_texts_become_the_pieces_that_plain_python_finds(tiny, tokens):
    token_ids = tiny.token_ids(tf.constant(TEXTS), tokens).numpy()
    for text, row in zip(TEXTS, token_ids, strict=True):
        assert unpadded(row, tiny.padding) == expected(text, tokens), text


def test_a_batch_is_as_wide_as_its_longest_text_and_no_wider_than_asked(tiny):
    def wide(tokens, *texts):
        return tiny.token_ids(tf.constant(texts), tokens).shape[1]

    assert wide(20, "a", "the film is") == 3 + 2
    assert wide(20, "a " * 99) == 20
    assert wide(20, "") == 2
    assert tiny.token_ids(tf.constant([], tf.string), 20).shape[0] == 0


def test_bytes_that_are_not_utf8_are_left_out(tiny):
    odd = tf.constant([b"the \xff\xfefilm\x80 is", b"\xff", b"the film is"])
    token_ids = tiny.token_ids(odd, 20).numpy()
    np.testing.assert_array_equal(token_ids[0], token_ids[2])
    assert unpadded(token_ids[1], tiny.padding) == [3, 4]


def test_a_cased_vocabulary_tells_capitals_and_accents():
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "Film", "film", "É"]
    cased = _wordpiece.WordPieces(known, lower_case=False)
    token_ids = cased.token_ids(tf.constant(["Film film É FILM"]), 20).numpy()
    assert token_ids.tolist() == [[2, 4, 5, 6, 1, 3]]


def test_padding_may_have_any_place_in_the_vocabulary():
    moved = [*PIECES[1:], PIECES[0]]
    pieces = _wordpiece.WordPieces(moved, lower_case=True)
    token_ids = pieces.token_ids(tf.constant(["a", "the film is"]), 20).numpy()
    assert pieces.padding == len(PIECES) - 1
    assert (token_ids[0, 3:] == pieces.padding).all()


def test_learnt_pieces_make_up_every_word_they_were_learnt_from():
    texts = [f"{a}{b} film" for a in ("great", "dull") for b in ("er", "est", "")]
    texts = np.array([text.encode() for text in texts] * 20, object)
    vocabulary = _wordpiece.learn(texts, 60)
    assert vocabulary[:4] == ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    assert len(vocabulary) <= 60
    own = _wordpiece.WordPieces(vocabulary, lower_case=True)
    token_ids = own.token_ids(tf.constant(texts), 50).numpy()
    assert vocabulary.index("[UNK]") not in token_ids
    assert np.array_equal(vocabulary, _wordpiece.learn(texts, 60))
