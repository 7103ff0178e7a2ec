"""From texts to word pieces, as BERT reads them, and to token ids; as graph code.

Training and serving share it. The rules are those of BERT's own tokeniser (Devlin et
al. 2019), which weights from elsewhere were trained with.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_text
from tensorflow_text.tools.wordpiece_vocab import (
    wordpiece_tokenizer_learner_lib as learner,
)

from trainers import _bert_start

# Every sign counts as a word: of ASCII also those that Unicode calls symbols.
_PUNCTUATION = r"[!-/:-@\[-`{-~\pP]"
_CHINESE = (
    r"[\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2CEAF}"
    r"\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}]"
)
# Characters that nobody sees; but those that end lines separate words.
_INVISIBLE = r"[^\PC\t\n\r]|\x{FFFD}"


class WordPieces(tf.Module):
    """Reads texts as the pieces of a vocabulary.

    Attributes:
        padding: Token id of what fills up a batch.
    """

    def __init__(self, vocabulary: Sequence[str], *, lower_case: bool) -> None:
        """Makes the table of pieces.

        Args:
            vocabulary: Pieces by token id, `##` before those that do not begin a word;
                with the four of `_bert_start.SPECIAL`.
            lower_case: Whether texts are lower-cased and lose their accents.
        """
        super().__init__(name="word_pieces")
        self._lower_case = lower_case
        self._tokenizer = tensorflow_text.FastWordpieceTokenizer(
            list(vocabulary),
            token_out_type=tf.int32,
            unknown_token=_bert_start.UNKNOWN,
            no_pretokenization=True,
        )
        self.padding, self._start, self._end = (
            vocabulary.index(piece)
            for piece in (_bert_start.PADDING, _bert_start.START, _bert_start.END)
        )

    def token_ids(self, texts: tf.Tensor, tokens: int) -> tf.Tensor:
        """Returns each text's first pieces, between `[CLS]` and `[SEP]`.

        Args:
            texts: [batch] string; bytes that are not UTF-8 are left out.
            tokens: The most of a text, the two marks included.

        Returns:
            [batch, longest of these texts] int32, padded at the end.
        """
        split = words(texts, lower_case=self._lower_case)
        pieces = self._tokenizer.tokenize(split).merge_dims(1, 2)[:, : tokens - 2]
        marks = tf.ones([tf.shape(texts)[0], 1], tf.int32)
        framed = tf.concat([marks * self._start, pieces, marks * self._end], axis=1)
        return framed.to_tensor(self.padding)


def words(texts: tf.Tensor, *, lower_case: bool) -> tf.RaggedTensor:
    """Returns the words and signs of each text.

    Args:
        texts: [batch] string; bytes that are not UTF-8 are left out.
        lower_case: Whether texts are lower-cased and lose their accents.

    Returns:
        [batch, (words)] string.
    """
    plain = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="ignore")
    plain = tf.strings.regex_replace(plain, _INVISIBLE, "")
    if lower_case:
        plain = tf.strings.lower(plain, encoding="utf-8")
        plain = tensorflow_text.normalize_utf8(plain, "NFD")
        plain = tf.strings.regex_replace(plain, r"\p{Mn}", "")
    plain = tf.strings.regex_replace(plain, r"\pZ", " ")
    spaced = tf.strings.regex_replace(plain, f"({_PUNCTUATION}|{_CHINESE})", r" \1 ")
    return tf.strings.split(spaced)


def learn(texts: np.ndarray, size: int, *, lower_case: bool = True) -> tuple[str, ...]:
    """Returns a vocabulary of pieces that the words of these texts are made of.

    Args:
        texts: [texts] object, bytes of UTF-8.
        size: How many pieces, about; never more.
        lower_case: As for the tokeniser that will use it.
    """
    read = tf.data.Dataset.from_tensors(texts).map(
        lambda batch: words(batch, lower_case=lower_case)
    )
    counts = learner.count_words(read)
    return tuple(learner.learn(counts, size, list(_bert_start.SPECIAL)))
