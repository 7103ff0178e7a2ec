"""The pictures of an evaluation of translations; see `_translation`."""

import collections
import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.axes import Axes

from trainers._fonts import families, readable, wrapped

Panel = Callable[[Axes], None]

_SHOWN_MISTAKES = 12
_SHOWN_GROUPS = 15
_SHOWN_SAMPLES = 5
_SAMPLE_POINTS = 8
_LENGTH_BINS = 8
_LINE = 92  # columns


@dataclasses.dataclass(frozen=True)
class Judged:
    """Texts with what was answered.

    Attributes:
        sources: [examples] object, str.
        targets: Right translations, likewise.
        answers: What the model says, likewise.
        scores: How sure it is [examples] float, 0..1.
    """

    sources: np.ndarray
    targets: np.ndarray
    answers: np.ndarray
    scores: np.ndarray


def worst(judged: Judged) -> np.ndarray:
    """Returns the places of wrong answers, those of the highest scores first."""
    wrong = np.flatnonzero(judged.answers != judged.targets)
    return wrong[np.argsort(-judged.scores[wrong], kind="stable")]


def samples(values: np.ndarray) -> list[int]:
    """Returns places from the best to the worst, evenly over the ranks."""
    order = np.argsort(-values, kind="stable")
    shares = np.linspace(0.05, 0.95, min(_SHOWN_SAMPLES, len(order)))
    return [int(order[int(share * len(order))]) for share in shares]


def draw_map(attention: Callable[[], Mapping[str, np.ndarray]], axes: Axes) -> None:
    """How much each target token, a row, looked at each source token, a column."""
    known = attention()
    shown = known["attention"]
    sources, targets = (
        [readable(token.replace("▁", " ")) for token in known[side]]
        for side in ("source_tokens", "target_tokens")
    )
    axes.set_title("Attention: where the answer looks")
    if not shown.size:
        axes.axis("off")
        return
    axes.imshow(shown, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    size = 11 if len(sources) <= 32 else 8
    turned = 0 if max(map(len, sources)) == 1 else 60
    looks = {"fontsize": size, "fontfamily": families(), "parse_math": False}
    axes.set_xticks(range(len(sources)), sources, rotation=turned, **looks)
    axes.set_yticks(range(len(targets)), targets, **looks)
    axes.tick_params(length=0)
    axes.set_xlabel("source")
    axes.set_ylabel("answer")


def draw_mistakes(judged: Judged, axes: Axes) -> None:
    """Wrong answers, the surest first."""
    chosen = worst(judged)[:_SHOWN_MISTAKES]
    axes.axis("off")
    axes.set_title("Mistakes that it is surest of")
    if not len(chosen):
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", fontsize=14)
    for row, place in enumerate(chosen):
        top = 1 - row / _SHOWN_MISTAKES
        answer = readable(judged.answers[place]) or "nothing"
        texts = (
            (readable(judged.sources[place]), "black", 0.0),
            (
                f"says {answer} ({judged.scores[place]:.0%}), "
                f"is {readable(judged.targets[place])}",
                "tab:red",
                0.033,
            ),
        )
        for text, colour, below in texts:
            axes.text(
                0,
                top - below,
                wrapped(text, _LINE, lines=1)[0],
                transform=axes.transAxes,
                va="top",
                fontsize=9.5,
                fontfamily=families(),
                color=colour,
                parse_math=False,
            )


def draw_by_length(judged: Judged, axes: Axes) -> None:
    """The share of right answers for texts of some length."""
    right = judged.answers == judged.targets
    centres, shares, sizes = _by_length(judged, right.astype(float))
    axes.plot(centres, 100 * shares, "o-")
    for centre, share, size in zip(centres, shares, sizes, strict=True):
        axes.annotate(
            f"{size:,}",
            (centre, 100 * share),
            textcoords="offset points",
            xytext=(0, -15),
            ha="center",
            fontsize=9,
        )
    axes.set_ylim(max(0, 100 * shares.min() - 3), 100.8)
    axes.set_xlabel("characters of the source (below each point: texts)")
    axes.set_ylabel("right, %")
    axes.set_title("Right answers by length")
    axes.grid(alpha=0.3)


def draw_scores(judged: Judged, axes: Axes) -> None:
    """How sure it is of right answers and of wrong ones."""
    right = judged.answers == judged.targets
    for of, name, colour in ((right, "right", "green"), (~right, "wrong", "red")):
        axes.hist(
            judged.scores[of],
            bins=25,
            range=(0, 1),
            alpha=0.6,
            color=f"tab:{colour}",
            label=f"{name}, {of.sum():,}",
        )
    axes.set_yscale("log")
    axes.set_xlim(0, 1)
    axes.set_xlabel("score of the answer")
    axes.set_ylabel("texts")
    axes.set_title("Is it sure where it is right?")
    axes.legend(loc="upper left")


def draw_groups(right: np.ndarray, groups: np.ndarray, name: str, axes: Axes) -> None:
    """The groups with most mistakes."""
    wrong = collections.Counter(groups[~right].tolist())
    sizes = collections.Counter(groups.tolist())
    shown = wrong.most_common(_SHOWN_GROUPS)[::-1]
    clean = len(sizes) - len(wrong)
    axes.set_title(f"By {name}: no mistake in {clean:,} of {len(sizes):,}")
    if not shown:
        axes.axis("off")
        return
    labels = [
        f"{readable(group)}  ({count} of {sizes[group]})" for group, count in shown
    ]
    shares = [100 * count / sizes[group] for group, count in shown]
    axes.barh(range(len(shown)), shares, color="tab:red", alpha=0.7)
    looks = {"fontsize": 9, "fontfamily": families(), "parse_math": False}
    axes.set_yticks(range(len(shown)), labels, **looks)
    axes.set_xlabel("wrong, %")
    axes.grid(axis="x", alpha=0.3)


def draw_samples(judged: Judged, values: np.ndarray, axes: Axes) -> None:
    """Texts from the best translated to the worst."""
    axes.axis("off")
    axes.set_title("From good to bad")
    chosen = samples(values)
    for row, place in enumerate(chosen):
        top = 1 - row / len(chosen)
        parts = (
            (judged.sources[place], "black"),
            (f"says {readable(judged.answers[place])}", "tab:blue"),
            (f"is {readable(judged.targets[place])}", "tab:gray"),
        )
        above = 0
        for text, colour in parts:
            lines = wrapped(text, _LINE, lines=2)
            # In points: pictures of TensorBoard are smaller than the report's panels.
            axes.annotate(
                "\n".join(lines),
                (0, top),
                xycoords="axes fraction",
                xytext=(0, -_SAMPLE_POINTS * 1.35 * above),
                textcoords="offset points",
                va="top",
                fontsize=_SAMPLE_POINTS,
                fontfamily=families(),
                color=colour,
                parse_math=False,
            )
            above += len(lines)


def draw_against(own: np.ndarray, theirs: np.ndarray, axes: Axes) -> None:
    """The chrF of each text, by the model and by the baseline."""
    most = max(float(own.max()), float(theirs.max()), 1) * 1.03
    axes.scatter(theirs, own, s=9, alpha=0.4, linewidths=0)
    axes.plot([0, most], [0, most], color="tab:gray", linestyle=":")
    axes.set(xlim=(0, most), ylim=(0, most), aspect="equal")
    axes.set_xlabel("chrF of the nearest known text's translation")
    axes.set_ylabel("chrF of the model")
    axes.set_title(f"Each text: the model is better in {np.mean(own > theirs):.0%}")
    axes.grid(alpha=0.3)


def draw_overlap_by_length(
    judged: Judged, own: np.ndarray, theirs: np.ndarray, axes: Axes
) -> None:
    """The mean chrF for texts of some length."""
    for values, name in ((own, "this model"), (theirs, "nearest known")):
        centres, means, _ = _by_length(judged, values)
        axes.plot(centres, means, "o-", label=name)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("characters of the source")
    axes.set_ylabel("mean chrF")
    axes.set_title("By length")
    axes.grid(alpha=0.3)
    axes.legend()


def _by_length(
    judged: Judged, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean lengths, mean values and sizes of groups of about the same size."""
    lengths = np.array([len(source) for source in judged.sources])
    parts = np.array_split(np.argsort(lengths, kind="stable"), _LENGTH_BINS)
    parts = [part for part in parts if len(part)]
    return (
        np.array([lengths[part].mean() for part in parts]),
        np.array([values[part].mean() for part in parts]),
        np.array([len(part) for part in parts]),
    )
