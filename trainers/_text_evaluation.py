"""A classifier of texts into negative and positive, judged from its answers."""

import collections
import textwrap
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes

from trainers import _evaluation
from trainers._evaluation import Evaluation

# [texts] object in, scores [texts, 2] out.
Scores = Callable[[np.ndarray], np.ndarray]

_SHOWN_WORDS = 14  # either way
_SHOWN_MISTAKES = 6
_MISTAKE_CHARACTERS = 240
_LINE_CHARACTERS = 74
# A word's push is the mean over so many texts at least, and at most.
_FEWEST_TEXTS, _MOST_TEXTS = 4, 8
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
        of one class. Panels "confusion matrix", "ROC curve", "words that push most"
        and "worst mistakes".

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
            "ROC curve": lambda axes: _draw_roc(axes, labels, positive, metrics),
            "words that push most": lambda axes: _draw_pushes(
                axes, pushes, class_names
            ),
            "worst mistakes": lambda axes: _draw_mistakes(
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
    is what the word does in its place, with the words around it.

    Args:
        texts: [texts] object, bytes of UTF-8.
        scores: Their scores [texts].
        scores_of: Asks the model.

    Returns:
        Lower-cased word to push, -1 to 1, for words that stand in 4 texts or more.
    """
    cut, words, places = [], [], []
    split = [text.decode("utf-8", "replace").split() for text in texts]
    holders = collections.defaultdict(list)
    for place, tokens in enumerate(split):
        for word in sorted({_bare(token) for token in tokens} - {""}):
            holders[word].append(place)
    for word, found in holders.items():
        if len(found) < _FEWEST_TEXTS:
            continue
        for place in found[:_MOST_TEXTS]:
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


def _bare(token: str) -> str:
    """A word without the signs around it."""
    return token.strip(_EDGES).lower()


def _strongest(pushes: dict[str, float]) -> tuple[list[str], list[str]]:
    """The words that push down and up most, the strongest first."""
    order = sorted(pushes, key=lambda word: pushes[word])
    down = [word for word in order[:_SHOWN_WORDS] if pushes[word] < 0]
    up = [word for word in order[: -_SHOWN_WORDS - 1 : -1] if pushes[word] > 0]
    return down, up


def _pushes_text(pushes: dict[str, float], class_names: Sequence[str]) -> str:
    lines = [
        textwrap.fill(
            f"Words that push most towards {name}: "
            + (", ".join(f"{word} {pushes[word]:+.2f}" for word in words) or "none"),
            88,
            subsequent_indent="  ",
        )
        for name, words in zip(class_names, _strongest(pushes), strict=True)
    ]
    return "\n".join(lines)


def _draw_roc(
    axes: Axes, labels: np.ndarray, scores: np.ndarray, metrics: dict[str, float]
) -> None:
    """Found positives against false ones, for every threshold."""
    order = np.argsort(-scores, kind="stable")
    # One point for texts of equal score: their order means nothing.
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    hits = labels[order] == 1
    found = np.append(0, np.cumsum(hits)[ends]) / max(hits.sum(), 1)
    false = np.append(0, np.cumsum(~hits)[ends]) / max((~hits).sum(), 1)
    axes.plot([0, 1], [0, 1], color="tab:gray", linestyle=":", label="guessing")
    axes.fill_between(false, found, alpha=0.12, color="tab:blue", linewidth=0)
    axes.plot(false, found, color="tab:blue", label="this model")
    at_half = scores >= 0.5
    axes.plot(
        np.mean(at_half[labels == 0]) if (labels == 0).any() else 0,
        np.mean(at_half[labels == 1]) if (labels == 1).any() else 0,
        "o",
        color="tab:red",
        label="at a score of 0.5",
    )
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_xlabel("share of negatives called positive")
    axes.set_ylabel("share of positives found")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    area = metrics.get("roc_auc")
    axes.set_title("ROC curve" + (f": area {area:.3f}" if area is not None else ""))


def _draw_pushes(
    axes: Axes, pushes: dict[str, float], class_names: Sequence[str]
) -> None:
    """A bar for each of the strongest words, negative ones below."""
    down, up = _strongest(pushes)
    words = [*down, *reversed(up)]
    if not words:
        axes.axis("off")
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", fontsize=14)
        return
    values = [pushes[word] for word in words]
    colours = ["tab:red" if value < 0 else "tab:green" for value in values]
    axes.barh(range(len(words)), values, color=colours, alpha=0.8)
    axes.set_yticks(range(len(words)), words, fontsize=9, parse_math=False)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.grid(axis="x", alpha=0.3)
    axes.set_ylim(-0.7, len(words) - 0.3)
    axes.set_xlabel(f"mean change of the score of `{class_names[1]}` by the word")
    axes.set_title("Words that push most, by leaving each out")


def _draw_mistakes(
    axes: Axes,
    labels: np.ndarray,
    texts: np.ndarray,
    scores: np.ndarray,
    class_names: Sequence[str],
) -> None:
    """The texts whose true class had the lowest scores."""
    axes.axis("off")
    axes.set_title("Worst mistakes")
    wrong = np.flatnonzero(scores.argmax(axis=1) != labels)
    of_truth = scores[wrong, labels[wrong]]
    worst = wrong[np.argsort(of_truth, kind="stable")][:_SHOWN_MISTAKES]
    if not len(worst):
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", fontsize=14)
    for place, example in enumerate(worst):
        true, said = int(labels[example]), int(scores[example].argmax())
        top = 1 - place / _SHOWN_MISTAKES
        axes.text(
            0,
            top,
            f"says {class_names[said]} ({scores[example, said]:.1%}), "
            f"rated {class_names[true]}",
            transform=axes.transAxes,
            va="top",
            fontsize=10,
            color="tab:red",
        )
        text = " ".join(texts[example].decode("utf-8", "replace").split())
        short = textwrap.shorten(text, _MISTAKE_CHARACTERS)
        axes.text(
            0,
            top - 0.035,
            textwrap.fill(short, _LINE_CHARACTERS),
            transform=axes.transAxes,
            va="top",
            fontsize=9,
            parse_math=False,
        )
