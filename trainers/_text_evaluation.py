"""A classifier of texts into negative and positive, judged from its answers."""

import collections
import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from trainers import _evaluation, _text_panels
from trainers._evaluation import Evaluation

# [texts] object in, scores [texts, 2] out.
Scores = Callable[[np.ndarray], np.ndarray]

# A word's push is the mean over so many texts at least, and at most.
_FEWEST_TEXTS, _MOST_TEXTS = 4, 8
# So many texts with a word left out are asked about at most: a large network takes a
# second for a hundred, and is judged after every epoch.
_MOST_ANSWERS = 1_200
_EDGES = ".,;:!?()[]{}\"'`…-*"


def sentiment(
    labels: np.ndarray, texts: np.ndarray, scores_of: Scores, class_names: Sequence[str]
) -> Evaluation:
    """Judges a classifier of texts into two classes.

    Args:
        labels: True classes [texts] integer, 0 or 1.
        texts: What is classified [texts] object, bytes of UTF-8.
        scores_of: Asks the model; called for the texts, and then for many of them
            with one word left out.
        class_names: Name of either class.

    Returns:
        What `_evaluation.classification` returns, and `roc_auc`: the probability that
        a text of class 1 has the higher score of two; absent where the texts are all
        of one class. Panels "confusion matrix", "ROC curve", "words that push most",
        "scores", "how sure it is" and "worst mistakes".

    Raises:
        ValueError: The arrays do not fit together, or there are no texts.
    """
    scores = scores_of(texts)
    judged = _evaluation.classification(labels, scores, None, class_names)
    positive = scores[:, 1].astype(np.float64)
    metrics = dict(judged.metrics)
    if 0 < labels.sum() < len(labels):
        metrics["roc_auc"] = roc_auc(labels, positive)
    pushes = word_pushes(texts, positive, scores_of)

    return Evaluation(
        metrics=metrics,
        panels={
            **judged.panels,
            "ROC curve": lambda axes: _text_panels.draw_roc(
                axes, labels, positive, metrics
            ),
            "words that push most": lambda axes: _text_panels.draw_pushes(
                axes, pushes, class_names
            ),
            "scores": lambda axes: _text_panels.draw_scores(
                axes, labels, positive, class_names
            ),
            "how sure it is": lambda axes: _text_panels.draw_sureness(
                axes, labels, scores
            ),
            "worst mistakes": lambda axes: _text_panels.draw_mistakes(
                axes, labels, texts, scores, class_names
            ),
        },
        text=f"{judged.text}\n\n{_pushes_text(pushes, class_names)}",
    )


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Returns the area under the ROC curve, from ranks (Mann-Whitney's U).

    Args:
        labels: [examples] 0 or 1, some of each.
        scores: [examples]; of equal ones half a point each.
    """
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last_rank = np.cumsum(counts)
    ranks = (last_rank - (counts - 1) / 2)[inverse]
    positives = int(labels.sum())
    above = ranks[labels == 1].sum() - positives * (positives + 1) / 2
    return float(above / (positives * (len(labels) - positives)))


def word_pushes(
    texts: np.ndarray, scores: np.ndarray, scores_of: Scores
) -> dict[str, float]:
    """Returns by how much a word raises the score, on average over some texts.

    Measured from outside: the score of a text less its score without the word. So it
    is what the word does in its place, with the words around it. Not all words of many
    texts are tried, but those whose texts' scores differ most from the others'.

    Args:
        texts: [texts] object, bytes of UTF-8.
        scores: Their scores [texts].
        scores_of: Asks the model.

    Returns:
        Lower-cased word to push, -1 to 1, for words that stand in 4 texts or more and
        were tried.
    """
    cut, words, places = [], [], []
    split = [text.decode("utf-8", "replace").split() for text in texts]
    holders = collections.defaultdict(list)
    for place, tokens in enumerate(split):
        for word in sorted({_bare(token) for token in tokens} - {""}):
            holders[word].append(place)
    for word in _most_telling(holders, scores):
        found = holders[word][:_MOST_TEXTS]
        if len(cut) + len(found) > _MOST_ANSWERS:
            break
        for place in found:
            left = [token for token in split[place] if _bare(token) != word]
            cut.append(" ".join(left).encode())
            words.append(word)
            places.append(place)
    if not cut:
        return {}
    changes = scores[places] - scores_of(np.array(cut, object))[:, 1]
    pushes = collections.defaultdict(list)
    for word, change in zip(words, changes, strict=True):
        pushes[word].append(float(change))
    return {word: float(np.mean(values)) for word, values in pushes.items()}


def _most_telling(
    holders: Mapping[str, Sequence[int]], scores: np.ndarray
) -> list[str]:
    """Words of enough texts; first where the scores of these would surprise most."""
    surprise = {
        # The more texts, the less their mean differs by chance.
        word: abs(scores[found].mean() - scores.mean()) * len(found) ** 0.5
        for word, found in holders.items()
        if len(found) >= _FEWEST_TEXTS
    }
    return sorted(surprise, key=lambda word: (-surprise[word], word))


def _bare(token: str) -> str:
    """A word without the signs around it."""
    return token.strip(_EDGES).lower()


def _pushes_text(pushes: dict[str, float], class_names: Sequence[str]) -> str:
    lines = [
        textwrap.fill(
            f"Words that push most towards {name}: "
            + (", ".join(f"{word} {pushes[word]:+.2f}" for word in words) or "none"),
            88,
            subsequent_indent="  ",
        )
        for name, words in zip(class_names, _text_panels.strongest(pushes), strict=True)
    ]
    return "\n".join(lines)
