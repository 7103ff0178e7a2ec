"""The pictures that show what a detector finds, misses and makes up."""

import dataclasses
import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

_ROWS, _COLUMNS = 2, 3  # images of a panel: as many as stay readable
_GAP = 0.04  # between them, of an image's side
_SIDE = 480  # pixels an image is drawn with at most
_MAX_NAMED_CLASSES = 10
_RIGHT, _WRONG, _MISSED = "lime", "red", "yellow"


@dataclasses.dataclass(frozen=True)
class Drawn:
    """An image, what is in it, and what was found.

    Attributes:
        image: PNG or JPEG.
        boxes: Objects [n, 4] float, shares of the image.
        labels: [n] int.
        found: Detections [m, 4] float.
        scores: [m] float.
        found_labels: [m] int.
        objects: The object that each detection has found [m] int; -1 for none.
    """

    image: bytes
    boxes: np.ndarray
    labels: np.ndarray
    found: np.ndarray
    scores: np.ndarray
    found_labels: np.ndarray
    objects: np.ndarray

    @property
    def mistakes(self) -> int:
        """Detections of nothing, and objects that were not found."""
        wrong = int((self.objects < 0).sum())
        return wrong + len(self.boxes) - (len(self.objects) - wrong)


def draw_images(drawn: Sequence[Drawn], axes: Axes, class_names: Sequence[str]) -> None:
    """The first images of `drawn`, with boxes: right, wrong, missed."""
    axes.axis("off")
    if not drawn:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", fontsize=14)
        return
    for place, one in enumerate(drawn[: _ROWS * _COLUMNS]):
        row, column = divmod(place, _COLUMNS)
        _draw_one(axes, one, column, row, class_names)
    axes.set_xlim(0, _COLUMNS)
    axes.set_ylim(_ROWS, 0)
    axes.set_aspect("equal")
    handles = [
        Rectangle((0, 0), 1, 1, fill=False, edgecolor=colour, linewidth=2, label=text)
        for colour, text in (
            (_RIGHT, "right"),
            (_WRONG, "wrong: nothing there, or another class"),
            (_MISSED, "missed"),
        )
    ]
    axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=3,
        facecolor="grey",
        labelcolor="white",
        fontsize=9,
    )


def draw_precisions(precisions: Any, class_names: Sequence[str], axes: Axes) -> None:
    """Precision over recall: of each class, or at several overlaps."""
    named = 1 < len(class_names) <= _MAX_NAMED_CLASSES
    for overlap in (0.5, 0.75, 0.9):
        row = int(np.argmin(np.abs(precisions.overlaps - overlap)))
        values = precisions.values[row]
        known = (values >= 0).all(axis=0)
        if not known.any():
            continue
        if overlap == 0.5 and named:
            for label in np.flatnonzero(known):
                axes.plot(
                    precisions.recalls,
                    values[:, label],
                    linewidth=0.8,
                    color=mpl.colormaps["tab10"](int(label) % 10),
                    label=f"{class_names[label]}, at 0.5",
                )
        mean = values[:, known].mean(axis=1)
        style = {0.5: "-", 0.75: "--", 0.9: ":"}[overlap]
        axes.plot(
            precisions.recalls,
            mean,
            style,
            color="black",
            linewidth=2,
            label=f"all, at {overlap:g}: ap {mean.mean():.3f}",
        )
    axes.set_xlabel("recall: objects found")
    axes.set_ylabel("precision: detections that are right")
    axes.set_title("Precision over recall, by overlap with the object")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", fontsize=8)


def draw_scores(
    truth: Any,
    found: Sequence[Any],
    match: Callable[..., np.ndarray],
    threshold: float,
    axes: Axes,
) -> None:
    """How often right and wrong detections have which score."""
    right, wrong = [np.zeros(0)], [np.zeros(0)]
    for boxes, labels, part in zip(truth.boxes, truth.labels, found, strict=True):
        hits = match(boxes, labels, part) >= 0
        right.append(part.scores[hits])
        wrong.append(part.scores[~hits])
    bins = np.linspace(0, 1, 41)
    parts = (("right", right, "tab:green"), ("wrong", wrong, "tab:red"))
    for name, scores, colour in parts:
        scores = np.concatenate(scores)
        label = f"{name}: {len(scores):,}, {int((scores >= threshold).sum()):,} drawn"
        axes.hist(scores, bins, histtype="step", color=colour, linewidth=2, label=label)
    axes.axvline(threshold, color="grey", linestyle=":", label="drawn from here on")
    axes.set_xlabel("score")
    axes.set_ylabel("detections")
    axes.set_yscale("symlog", linthresh=1)
    axes.set_xlim(0, 1)
    axes.set_title("Scores of right and wrong detections (overlap of 0.5)")
    axes.grid(alpha=0.3)
    axes.legend()


def _draw_one(
    axes: Axes, one: Drawn, column: int, row: int, class_names: Sequence[str]
) -> None:
    """One image in a cell of side 1, centred, with its proportions."""
    with PIL.Image.open(io.BytesIO(one.image)) as file:
        image = file.convert("RGB")
    image.thumbnail((_SIDE, _SIDE))
    scale = (1 - _GAP) / max(image.size)
    width, height = image.width * scale, image.height * scale
    left, top = column + (1 - width) / 2, row + (1 - height) / 2
    axes.imshow(image, extent=(left, left + width, top + height, top), zorder=0)
    crowded = len(one.found) + len(one.boxes) > 16

    def outline(box: np.ndarray, colour: str, text: str, *, below: bool) -> None:
        y0, x0, y1, x1 = box * [height, width, height, width]
        corner = (left + x0, top + y0)
        line = 1.0 if crowded else 1.6
        axes.add_patch(
            Rectangle(
                corner, x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=line
            )
        )
        if text:
            axes.text(
                corner[0],
                top + y1 if below else corner[1],
                text,
                fontsize=7,
                color="black",
                va="bottom" if below or y0 > 0.08 else "top",
                bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.8},
            )

    for index in np.setdiff1d(np.arange(len(one.boxes)), one.objects):
        name = "" if crowded else class_names[one.labels[index]]
        # Not where the name stands that it was given instead.
        outline(one.boxes[index], _MISSED, name, below=True)
    for box, score, label, found in zip(
        one.found, one.scores, one.found_labels, one.objects, strict=True
    ):
        name = f"{class_names[label]} {score:.2f}"
        outline(
            box, _RIGHT if found >= 0 else _WRONG, "" if crowded else name, below=False
        )
