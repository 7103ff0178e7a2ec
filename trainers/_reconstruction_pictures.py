"""The pictures that show what an autoencoder does to images."""

import dataclasses
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

_COLUMNS = 8  # images side by side: as many as stay readable
_GAP = 2  # pixels between them
_MAX_NAMED_CLASSES = 20
_AMPLIFIED = 4  # a difference is drawn this much stronger, or nobody would see it
_COLOURS = ("tab:green", "tab:red", "tab:orange", "tab:purple")


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Images, what became of them, and how far that is from them.

    Attributes:
        images: [examples, height, width, 1 or 3] uint8.
        reconstructions: The same shape, float, 0..1.
        errors: [examples] float.
    """

    images: np.ndarray
    reconstructions: np.ndarray
    errors: np.ndarray


def draw_reconstructions(known: Drawn, axes: Axes) -> None:
    """The first examples and the worst, each above what became of it."""
    worst = np.argsort(-known.errors, kind="stable")[:_COLUMNS]
    rows = []
    for name, chosen in (("first", np.arange(_COLUMNS)), ("worst", worst)):
        rows += _rows(f"{name}\nexamples", known, chosen[: len(known.images)])
    _draw_rows(axes, rows)
    axes.set_title("Examples above their reconstructions")


def draw_foreign(foreign: Mapping[str, Drawn], axes: Axes) -> None:
    """Foreign images, each above what became of it."""
    rows = []
    for name, drawn in foreign.items():
        shown = np.arange(min(_COLUMNS, len(drawn.images)))
        rows += _rows(name.replace("_", "\n"), drawn, shown)
    _draw_rows(axes, rows)
    axes.set_title("Foreign images above their reconstructions")


def draw_walks(axes: Axes, steps: np.ndarray) -> None:
    """Each row goes from one latent to another; [walks, steps, ...] float, 0..1."""
    _draw_rows(axes, [("", row) for row in steps])
    axes.set_title("Decoded: straight lines between the latents of two images")


def draw_map(
    axes: Axes, points: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> None:
    """Latents as points [examples, 2], coloured by class."""
    named = len(class_names) <= _MAX_NAMED_CLASSES
    colours = mpl.colormaps["tab10" if len(class_names) <= 10 else "tab20"]
    for place, label in enumerate(np.unique(labels)):
        own = points[labels == label]
        colour = colours(place % colours.N)
        axes.scatter(*own.T, s=8, alpha=0.6, linewidths=0, color=colour)
        if named:
            axes.text(
                *np.median(own, axis=0),
                class_names[label],
                ha="center",
                va="center",
                fontsize=12,
                bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": colour},
            )
    axes.set_title(f"Latents of {len(points):,} images: two principal components")
    axes.set_xticks([])
    axes.set_yticks([])


def draw_errors(known: Drawn, foreign: Mapping[str, Drawn], axes: Axes) -> None:
    """How often which reconstruction error occurs."""
    parts = {"examples": known, **foreign}
    everything = np.concatenate([drawn.errors for drawn in parts.values()])
    smallest = max(float(everything.min()), 1e-9)
    largest = max(float(everything.max()), 2 * smallest)
    bins = np.geomspace(smallest, largest, 80)
    for colour, (name, drawn) in zip(_COLOURS, parts.items(), strict=False):
        shown = name.replace("_", " ")
        look = {"color": colour, "label": shown, "linewidth": 1.5}
        axes.hist(drawn.errors, bins, histtype="step", **look)
    axes.set_xscale("log")
    axes.set_xlabel("reconstruction error (mean square)")
    axes.set_ylabel("images")
    axes.set_title("Reconstruction error")
    axes.legend()


def draw_roc(known: Drawn, foreign: Mapping[str, Drawn], axes: Axes) -> None:
    """Foreign images found against false alarms, over all thresholds."""
    for colour, (name, drawn) in zip(_COLOURS[1:], foreign.items(), strict=False):
        thresholds = np.sort(np.concatenate([known.errors, drawn.errors]))[::-1]
        alarms, found = (
            1 - np.searchsorted(np.sort(errors), thresholds, "left") / len(errors)
            for errors in (known.errors, drawn.errors)
        )
        area = np.trapezoid([0, *found, 1], [0, *alarms, 1])
        label = f"{name.replace('_', ' ')}, area {area:.3f}"
        axes.plot([0, *alarms, 1], [0, *found, 1], color=colour, label=label)
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="by chance, area 0.5")
    axes.set_xlabel("examples taken for foreign")
    axes.set_ylabel("foreign images found")
    axes.set_title("Foreign images told by their reconstruction error (ROC)")
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")


def _rows(name: str, drawn: Drawn, chosen: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Images, below them what became of them, and where that differs."""
    originals = drawn.images[chosen] / 255
    reconstructions = drawn.reconstructions[chosen]
    difference = np.abs(originals - reconstructions) * _AMPLIFIED
    return [
        (name, originals),
        ("drawn again", reconstructions),
        (f"difference\nx {_AMPLIFIED}", difference),
    ]


def _draw_rows(axes: Axes, rows: Sequence[tuple[str, np.ndarray]]) -> None:
    """Rows of images [columns, height, width, 1 or 3] 0..1, named on the left."""
    height, width, channels = rows[0][1].shape[1:]
    columns = max(len(images) for _, images in rows)
    # Grey is drawn as ink: what is stored as bright becomes dark.
    grey = channels == 1
    shape = (len(rows) * (height + _GAP), columns * (width + _GAP), channels)
    sheet = np.full(shape, 0.0 if grey else 1.0, np.float32)
    for row, (_, images) in enumerate(rows):
        top = row * (height + _GAP)
        for column, image in enumerate(images):
            left = column * (width + _GAP)
            sheet[top : top + height, left : left + width] = image
    colours = "gray_r" if grey else None
    axes.imshow(np.clip(sheet, 0, 1).squeeze(), cmap=colours, vmin=0, vmax=1)
    centres = np.arange(len(rows)) * (height + _GAP) + height / 2
    axes.set_yticks(centres, [name for name, _ in rows])
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
