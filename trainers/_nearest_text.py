"""The most similar of many texts, by the words they share."""

import collections
import re
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse

_COMPARED = 500  # texts at a time


def places(known: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    """Returns the place in `known` of the text most similar to each.

    Similar is what has the cosine of words weighted by their frequency in the text and
    their rarity among the known (TF-IDF, smoothed as scikit-learn does).

    Args:
        known: Texts to choose from.
        texts: What they are compared with.

    Returns:
        [texts] integer. The first of several that are as similar.
    """
    words = {}
    counts = [_word_counts(text) for text in known]
    for count in counts:
        for word in count:
            words.setdefault(word, len(words))
    found = np.zeros(max(len(words), 1))
    for count in counts:
        found[[words[word] for word in count]] += 1
    rarity = np.log((1 + len(known)) / (1 + found)) + 1
    of_known = _vectors(counts, words, rarity)
    of_texts = _vectors([_word_counts(text) for text in texts], words, rarity)
    return np.concatenate(
        [
            (of_texts[start : start + _COMPARED] @ of_known.T).toarray().argmax(axis=1)
            for start in range(0, len(texts), _COMPARED)
        ]
    )


def _word_counts(text: str) -> collections.Counter[str]:
    return collections.Counter(re.findall(r"\w+", text.lower()))


def _vectors(
    counts: Sequence[Mapping[str, int]], words: Mapping[str, int], rarity: np.ndarray
) -> scipy.sparse.csr_array:
    """Rows of length 1, or 0 where no word is known: [texts, words]."""
    rows, columns, values = [], [], []
    for row, count in enumerate(counts):
        for word, number in count.items():
            if word in words:
                rows.append(row)
                columns.append(words[word])
                values.append(number * rarity[words[word]])
    shape = (len(counts), len(rarity))
    found = scipy.sparse.csr_array((values, (rows, columns)), shape=shape, dtype=float)
    norms = np.sqrt(found.multiply(found).sum(axis=1))
    scale = 1 / np.maximum(np.asarray(norms).reshape(-1), 1e-12)
    return scipy.sparse.csr_array(scipy.sparse.diags_array(scale) @ found)
