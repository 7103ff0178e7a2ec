"""What a model is worth: metrics, pictures and text, from answers it gave.

An evaluation needs only a function from inputs to outputs. So the network that is
being trained, an exported version and a running server are judged by one code.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

Arrays = Mapping[str, np.ndarray]
# Runs one batch, alias to array in and out: of `serving_default`, or for a picture of
# the signature whose name is the second argument.
Answer = Callable[..., Arrays]
Panel = Callable[[Axes], None]

# Drawn by one panel: as many as stay readable side by side.
_PANEL_ROWS, _PANEL_COLUMNS = 3, 5
# The smallest score that a logarithm is taken of; a loss of 27.6 nats at most.
_SMALLEST_SCORE = 1e-12
# Larger matrices say more by their colours than by numbers nobody can read.
_MAX_NUMBERED_CLASSES = 20


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How good the answers were.

    Attributes:
        metrics: Name to value; `accuracy` 0..1, losses in nats per example.
        panels: Title to a function that draws this picture into given axes.
        text: The same for a terminal, a few lines.
    """

    metrics: Mapping[str, float]
    panels: Mapping[str, Panel]
    text: str


def ask(answer: Answer, inputs: Arrays, rows: int = 500) -> dict[str, np.ndarray]:
    """Returns the answers to many rows, asked for in pieces.

    Args:
        answer: Runs one batch.
        inputs: Alias to array [examples, ...]; all have the same first axis.
        rows: Examples in one batch, at least 1. The default keeps a request of
            28x28 images under 0.4 MB, far below any server's limit.

    Returns:
        Output alias to array [examples, ...].

    Raises:
        ValueError: There are no examples, or inputs of different lengths.
    """
    counts = {alias: len(array) for alias, array in inputs.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        raise ValueError(
            "`inputs` need the same number of examples each, and at least one. "
            f"Received: {counts}"
        )
    answers = [
        answer({alias: array[start : start + rows] for alias, array in inputs.items()})
        for start in range(0, next(iter(counts.values())), rows)
    ]
    return {
        alias: np.concatenate([part[alias] for part in answers]) for alias in answers[0]
    }


def classification(
    labels: np.ndarray,
    scores: np.ndarray,
    images: np.ndarray | None,
    class_names: Sequence[str],
) -> Evaluation:
    """Judges a classifier, of images or of something else.

    Args:
        labels: True classes [examples] integer, 0..classes-1.
        scores: Share given to each class [examples, classes] float; each row sums
            to 1.
        images: What was classified [examples, height, width, 1 or 3] uint8; None for
            something else, whose panels the caller draws.
        class_names: Name of each class, in the order of the scores.

    Returns:
        Metrics `accuracy`, `cross_entropy` in nats per example and
        `recall/<class>` (the share of that class's examples that was found; absent
        where the class has none); panels "confusion matrix" and, of images, "worst
        mistakes" and "first examples".

    Raises:
        ValueError: The arrays do not fit together, or there are no examples.
    """
    examples, classes = len(labels), len(class_names)
    shown_with = labels if images is None else images
    fits = scores.shape == (examples, classes) and len(shown_with) == examples
    if not fits or not examples:
        raise ValueError(
            "A classification needs labels [n], scores [n, classes] and images "
            f"[n, ...] with n at least 1 and {classes} classes. Received: labels "
            f"{labels.shape}, scores {scores.shape}, images {shown_with.shape}"
        )
    predicted = scores.argmax(axis=1)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    score_of_truth = scores[np.arange(examples), labels].astype(np.float64)

    def matrix(axes: Axes) -> None:
        _draw_confusion(axes, confusion, class_names)

    panels: dict[str, Panel] = {"confusion matrix": matrix}
    if images is not None:
        panels |= _image_panels(labels, scores, images, class_names)
    return Evaluation(
        metrics=_metrics(confusion, score_of_truth, class_names),
        panels=panels,
        text=_confusion_table(confusion, class_names),
    )


def _image_panels(
    labels: np.ndarray,
    scores: np.ndarray,
    images: np.ndarray,
    class_names: Sequence[str],
) -> dict[str, Panel]:
    """The worst mistakes and, for comparison, the first examples."""
    examples = len(labels)
    wrong = np.flatnonzero(scores.argmax(axis=1) != labels)
    score_of_truth = scores[np.arange(examples), labels].astype(np.float64)
    worst = wrong[np.argsort(score_of_truth[wrong], kind="stable")]
    shown = _PANEL_ROWS * _PANEL_COLUMNS

    def mistakes(axes: Axes) -> None:
        _draw_answers(axes, worst[:shown], images, labels, scores, class_names)

    def first(axes: Axes) -> None:
        _draw_answers(
            axes, np.arange(examples)[:shown], images, labels, scores, class_names
        )

    return {"worst mistakes": mistakes, "first examples": first}


def _metrics(
    confusion: np.ndarray, score_of_truth: np.ndarray, class_names: Sequence[str]
) -> dict[str, float]:
    """What `classification` promises, in its order."""
    losses = -np.log(np.maximum(score_of_truth, _SMALLEST_SCORE))
    metrics = {
        "accuracy": float(confusion.trace() / confusion.sum()),
        "cross_entropy": float(losses.mean()),
    }
    for name, row, found in zip(
        class_names, confusion, confusion.diagonal(), strict=True
    ):
        if row.sum():
            metrics[f"recall/{name}"] = float(found / row.sum())
    return metrics


def _confusion_table(confusion: np.ndarray, class_names: Sequence[str]) -> str:
    """Rows are the truth, columns the prediction; 0 is `.`, so mistakes stand out."""
    labels = max(map(len, [*class_names, "true"]))
    width = max(len(str(confusion.max())), *map(len, class_names), 4) + 1
    head = "true".rjust(labels) + " |"
    head += "".join(name.rjust(width) for name in class_names) + " | recall"
    lines = ["predicted".rjust(labels + 2 + width * len(class_names)), head]
    lines.append("-" * len(head))
    for name, row, found in zip(
        class_names, confusion, confusion.diagonal(), strict=True
    ):
        cells = "".join((str(count) if count else ".").rjust(width) for count in row)
        recall = f"{found / row.sum():7.2%}" if row.sum() else "      -"
        lines.append(f"{name.rjust(labels)} |{cells} |{recall}")
    return "\n".join(lines)


def _draw_confusion(
    axes: Axes, confusion: np.ndarray, class_names: Sequence[str]
) -> None:
    """Right answers in green, mistakes in red: on one scale mistakes would be white."""
    classes = len(class_names)
    right = np.eye(classes, dtype=bool)
    most_wrong = max(int(confusion[~right].max(initial=0)), 1)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(np.ma.masked_where(~right, shares), cmap="Greens", vmin=0, vmax=2)
    axes.imshow(
        np.ma.masked_where(right | (confusion == 0), confusion),
        cmap="Reds",
        vmin=-0.3 * max(most_wrong, 3),
        vmax=1.6 * max(most_wrong, 3),
    )
    if classes <= _MAX_NUMBERED_CLASSES:
        for true, predicted in np.argwhere(confusion):
            axes.text(
                predicted,
                true,
                str(confusion[true, predicted]),
                ha="center",
                va="center",
                fontsize=9,
            )
    axes.set_xticks(range(classes), class_names)
    axes.set_yticks(range(classes), class_names)
    if max(map(len, class_names)) > 2:
        axes.tick_params(axis="x", labelrotation=45)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    mistakes = int(confusion[~right].sum())
    axes.set_title(f"Confusion matrix: {mistakes:,} of {confusion.sum():,} wrong")


def _draw_answers(
    axes: Axes,
    chosen: np.ndarray,
    images: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    class_names: Sequence[str],
) -> None:
    """A grid of images, under each what was answered and, if wrong, the truth."""
    axes.axis("off")
    axes.set_xlim(0, _PANEL_COLUMNS)
    axes.set_ylim(_PANEL_ROWS * 1.4, 0)
    if not len(chosen):
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", fontsize=14)
        return
    for place, example in enumerate(chosen):
        row, column = divmod(place, _PANEL_COLUMNS)
        left, top = column + 0.06, row * 1.4
        axes.imshow(
            images[example].squeeze(),
            cmap="gray_r",
            vmin=0,
            vmax=255,
            extent=(left, left + 0.88, top + 0.88, top),
            aspect="auto",
        )
        true, predicted = int(labels[example]), int(scores[example].argmax())
        text = f"{class_names[predicted]} ({scores[example, predicted]:.0%})"
        if true != predicted:
            share = f"{scores[example, true]:.1%}"
            text = f"says {text}\nis {class_names[true]} ({share})"
        axes.text(
            column + 0.5,
            top + 0.93,
            text,
            ha="center",
            va="top",
            fontsize=9,
            color="tab:green" if true == predicted else "tab:red",
        )
    # `imshow` sets the limits to its own image.
    axes.set_xlim(0, _PANEL_COLUMNS)
    axes.set_ylim(_PANEL_ROWS * 1.4, 0)
