"""The pictures of a run: `report.png`, and single panels for TensorBoard."""

import io
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from savedmodels import whole_files
from trainers._evaluation import Evaluation, Panel

_PANELS_PER_ROW = 3
_SHORT_RUN = 4  # epochs

History = Mapping[str, Sequence[float]]


def write(path: pathlib.Path, title: str, history: History, result: Evaluation) -> None:
    """Draws learning curves above the panels of an evaluation, as one PNG.

    Args:
        path: The file; replaced in one step, so never seen half-written.
        title: First lines of the picture.
        history: Curve name to one value per epoch. `val_x` is drawn with `x`.
        result: Its panels follow below the curves, in their order.

    Raises:
        OSError: The file cannot be written.
    """
    curves = [name for name in history if not name.startswith("val_")]
    rows = math.ceil(len(result.panels) / _PANELS_PER_ROW)
    heights = [4, 6 * rows]
    figure = Figure(figsize=(18, sum(heights)), layout="constrained")
    figure.suptitle(title, fontsize=15)
    upper, lower = figure.subfigures(2, 1, height_ratios=heights, hspace=0.03)
    top = upper.subplots(1, len(curves), squeeze=False)[0]
    for axes, name in zip(top, curves, strict=True):
        _draw_curve(axes, name, history)
    grid = lower.subplots(
        rows, _PANELS_PER_ROW, squeeze=False, gridspec_kw={"wspace": 0.06}
    )
    below = list(grid.flat)
    for axes, (name, draw) in zip(below, result.panels.items(), strict=False):
        axes.set_title(name.capitalize())
        draw(axes)
    for axes in below[len(result.panels) :]:
        axes.axis("off")

    whole_files.write(path, _png(figure, dots_per_inch=100))


def heading(
    name: str,
    metrics: Mapping[str, float],
    best: str,
    seconds: float,
    examples_per_second: float,
    hardware: Mapping[str, Any],
) -> str:
    """Returns two lines: what was reached, and at what cost."""
    reached = ", ".join(
        f"{metric.replace('_', ' ')} "
        + (f"{value:.2%}" if metric == "accuracy" else f"{value:.4g}")
        for metric, value in metrics.items()
        if "/" not in metric  # those of single classes
    )
    cores = f"{hardware['cpu']}, {hardware['cpu_cores']} cores"
    return (
        f"{name}: test {reached}\n"
        f"{best}, {seconds / 60:.1f} minutes, {examples_per_second:,.0f} examples/s "
        f"on {', '.join(hardware['gpus']) or cores}"
    )


def picture(title: str, draw: Panel) -> np.ndarray:
    """Returns one panel as an image [height, width, 3] uint8."""
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title.capitalize())
    draw(axes)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _png(figure: Figure, dots_per_inch: int) -> bytes:
    buffer = io.BytesIO()
    # A figure of its own, not pyplot's: nothing global to set up or to leak.
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def _draw_curve(axes: Axes, name: str, history: History) -> None:
    """One curve for training and, where there is one, one for validation."""
    epochs = range(1, len(history[name]) + 1)
    axes.plot(epochs, history[name], marker=".", label="train")
    validation = history.get(f"val_{name}")
    title = name.replace("_", " ").capitalize()
    shown = list(history[name][1:])
    if validation:
        axes.plot(epochs, validation, marker=".", label="validation")
        axes.legend()
        shown += validation[1:]
        title += f", {validation[-1]:.4g} after the last epoch"
    axes.set_title(title)
    if name.endswith(("loss", "error")) and min(history[name]) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif name.endswith("accuracy") and len(history[name]) > _SHORT_RUN:
        # The first epoch is far below, and would press the others together.
        span = max(shown) - min(shown)
        axes.set_ylim(min(shown) - 0.1 * span, max(shown) + 0.1 * span)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
