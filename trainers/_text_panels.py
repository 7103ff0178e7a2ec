"""The pictures of an evaluation of texts; see `_text_evaluation`."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

_SHOWN_WORDS = 14  # either way
_SHOWN_MISTAKES = 6
_MISTAKE_CHARACTERS = 240
_LINE_CHARACTERS = 74
_SCORE_BINS = 20
_SURENESS_BINS = 5


def strongest(pushes: dict[str, float]) -> tuple[list[str], list[str]]:
    """The words that push down and up most, the strongest first."""
    order = sorted(pushes, key=lambda word: pushes[word])
    down = [word for word in order[:_SHOWN_WORDS] if pushes[word] < 0]
    up = [word for word in order[: -_SHOWN_WORDS - 1 : -1] if pushes[word] > 0]
    return down, up


def draw_roc(
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


def draw_pushes(
    axes: Axes, pushes: dict[str, float], class_names: Sequence[str]
) -> None:
    """A bar for each of the strongest words, negative ones below."""
    down, up = strongest(pushes)
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


def draw_scores(
    axes: Axes, labels: np.ndarray, scores: np.ndarray, class_names: Sequence[str]
) -> None:
    """How the scores of either true class spread: apart where the model is good."""
    colours = ("tab:red", "tab:green")
    for label, (name, colour) in enumerate(zip(class_names, colours, strict=True)):
        axes.hist(
            scores[labels == label],
            bins=_SCORE_BINS,
            range=(0, 1),
            alpha=0.55,
            color=colour,
            label=f"rated {name}",
        )
    axes.axvline(0.5, color="black", linewidth=0.8)
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"score of `{class_names[1]}`")
    axes.set_ylabel("texts")
    axes.legend(loc="upper center")
    axes.set_title("Scores, by what people said")


def draw_sureness(axes: Axes, labels: np.ndarray, scores: np.ndarray) -> None:
    """Whether answers of 90 % are right in 90 of 100 cases."""
    sureness = scores.max(axis=1).astype(np.float64)
    right = scores.argmax(axis=1) == labels
    edges = np.linspace(0.5, 1, _SURENESS_BINS + 1)
    bins = np.clip(np.digitize(sureness, edges) - 1, 0, _SURENESS_BINS - 1)
    axes.plot([0.5, 1], [0.5, 1], color="tab:gray", linestyle=":", label="as it should")
    found = [place for place in range(_SURENESS_BINS) if (bins == place).any()]
    means = [sureness[bins == place].mean() for place in found]
    shares = [right[bins == place].mean() for place in found]
    axes.plot(means, shares, "o-", color="tab:blue", label="this model")
    for place, mean, share in zip(found, means, shares, strict=True):
        axes.annotate(
            f"{np.count_nonzero(bins == place):,}",
            (mean, share),
            textcoords="offset points",
            xytext=(0, -16),
            ha="center",
            fontsize=9,
        )
    axes.set(xlim=(0.48, 1.02), ylim=(min([0.4, *shares]) - 0.05, 1.03))
    axes.set_xlabel("score of the answer (below each point: texts)")
    axes.set_ylabel("share that is right")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    axes.set_title("Right as often as it is sure?")


def draw_mistakes(
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
