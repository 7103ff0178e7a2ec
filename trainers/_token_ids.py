"""From texts to the token ids of a translator and back, as graph code.

Training and serving share it, so they read texts alike. Ids below `FIRST` are no text.
There are two kinds, with the same methods: characters, and subwords that SentencePiece
learnt from texts.
"""

import hashlib
import io
import unicodedata
from collections.abc import Iterable

import numpy as np
import sentencepiece
import tensorflow as tf
import tensorflow_text

PADDING, START, END, UNKNOWN, FIRST = range(5)

_SPECIAL = ("", "<s>", "</s>", "?")
# Only so many characters of a text are looked at for each token that is read.
_CHARACTERS_PER_TOKEN = 32
# Two planes of Unicode: all scripts in use, and digits.
_CODE_POINTS = range(0x20000)


class Characters(tf.Module):
    """A token for each character that occurs in some texts.

    Args:
        texts: They give the vocabulary.
        alike: Whether characters are the same that mean the same: capitals and small
            letters, digits of any script, and what Unicode calls compatible.
    """

    def __init__(self, texts: Iterable[str], *, alike: bool) -> None:
        super().__init__()
        same = _alike if alike else str
        characters = sorted({same(c) for text in texts for c in text} - _IGNORED)
        ids = {c: id for id, c in enumerate(characters, FIRST)}
        known = [c for c in map(chr, _CODE_POINTS) if same(c) in ids]
        known += [c for c in characters if ord(c) not in _CODE_POINTS]
        self.size = FIRST + len(characters)
        self._names = tf.constant([*_SPECIAL, *characters])
        self._table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant([ord(c) for c in known], tf.int32),
                tf.constant([ids[same(c)] for c in known], tf.int32),
            ),
            UNKNOWN,
        )

    def encode(self, texts: tf.Tensor, tokens: int) -> tf.Tensor:
        """Returns ids [batch, tokens] int32 of texts [batch] string, padded."""
        cut = _clean(texts, tokens)
        ids = tf.ragged.map_flat_values(
            self._table.lookup, tf.strings.unicode_decode(cut, "UTF-8")
        )
        return ids[:, :tokens].to_tensor(PADDING, shape=[None, tokens])

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Returns texts [batch] string of ids [batch, tokens] int32."""
        text_ids = tf.where(ids < UNKNOWN, PADDING, ids)
        return tf.strings.reduce_join(self.names(text_ids), axis=-1)

    def names(self, ids: tf.Tensor) -> tf.Tensor:
        """Returns what stands for each id, string of the same shape."""
        return tf.gather(self._names, ids)


def learn_subwords(texts: Iterable[str], size: int, *, normalise: bool) -> bytes:
    """Makes tokens of frequent words and of parts of rare ones.

    Args:
        texts: What they are made of.
        size: How many, the special ones among them. Fewer where texts give fewer.
        normalise: Whether texts are first brought into Unicode's form NFKC.

    Returns:
        SentencePiece's model: the same for the same texts.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        # Of its algorithms the one that counts, so nothing is rounded.
        model_type="bpe",
        vocab_size=size,
        hard_vocab_limit=False,
        character_coverage=0.9995,
        normalization_rule_name="nfkc" if normalise else "identity",
        pad_id=PADDING,
        bos_id=START,
        eos_id=END,
        unk_id=UNKNOWN,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


class Subwords(tf.Module):
    """The tokens of `learn_subwords`.

    TensorFlow forgets them when its seed is set anew, so make them after that.

    Args:
        model: SentencePiece's.
    """

    def __init__(self, model: bytes) -> None:
        super().__init__()
        # Once loaded, all tokenizers of a process that have one name are one: of a
        # SavedModel's two the second would be the first, and so among models.
        name = f"subwords_{hashlib.sha256(model).hexdigest()[:16]}"
        self._tokenizer = tensorflow_text.SentencepieceTokenizer(model, name=name)
        self.size = int(self._tokenizer.vocab_size())

    def encode(self, texts: tf.Tensor, tokens: int) -> tf.Tensor:
        """Returns ids [batch, tokens] int32 of texts [batch] string, padded."""
        ids = self._tokenizer.tokenize(_clean(texts, tokens))
        return ids[:, :tokens].to_tensor(PADDING, shape=[None, tokens])

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Returns texts [batch] string of ids [batch, tokens] int32."""
        return self._tokenizer.detokenize(tf.ragged.boolean_mask(ids, ids >= FIRST))

    def names(self, ids: tf.Tensor) -> tf.Tensor:
        """Returns what stands for each id, string of the same shape."""
        names = self._tokenizer.id_to_string(ids)
        return tf.where(ids == PADDING, "", names)


def lengths(ids: tf.Tensor) -> tf.Tensor:
    """Returns how many tokens [batch] int32 there are before the padding."""
    return tf.math.count_nonzero(ids, axis=-1, dtype=tf.int32)


def trimmed(ids: tf.Tensor) -> tf.Tensor:
    """Returns ids without the columns that are padding in all rows, but for one."""
    return ids[:, : tf.maximum(tf.reduce_max(lengths(ids)), 1)]


def for_training(ids: np.ndarray) -> np.ndarray:
    """Returns ids between `START` and `END`, padded.

    Args:
        ids: [texts, tokens + 1] integer: one token more than a target can have, which
            tells those that are cut. They have no end.

    Returns:
        [texts, tokens + 2] int32.
    """
    texts, columns = ids.shape
    framed = np.full([texts, columns + 1], PADDING, np.int32)
    framed[:, 0] = START
    framed[:, 1:] = ids
    found = np.count_nonzero(ids, axis=1)
    whole = found < columns
    framed[whole, found[whole] + 1] = END
    framed[~whole, -1] = PADDING
    return framed


def _clean(texts: tf.Tensor, tokens: int) -> tf.Tensor:
    """The start of each text, valid UTF-8, without blanks or signs nobody sees."""
    start = tf.strings.substr(
        tf.strings.strip(texts), 0, tokens * _CHARACTERS_PER_TOKEN * 4
    )
    valid = tf.strings.unicode_transcode(start, "UTF-8", "UTF-8", errors="replace")
    seen = tf.strings.regex_replace(valid, r"\p{Cf}+", "")
    spaced = tf.strings.regex_replace(seen, r"[\pZ\s]+", " ")
    return tf.strings.substr(
        tf.strings.strip(spaced), 0, tokens * _CHARACTERS_PER_TOKEN, unit="UTF8_CHAR"
    )


def _alike(character: str) -> str:
    """What stands for a character and all that mean the same."""
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    folded = unicodedata.normalize("NFKC", character).casefold()
    return folded if len(folded) == 1 else character


# Signs of direction and the like: `_clean` takes them away.
_IGNORED = {c for c in map(chr, _CODE_POINTS) if unicodedata.category(c) == "Cf"}
