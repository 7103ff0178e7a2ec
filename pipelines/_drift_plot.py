"""The picture of drift: what a version was measured on beside what it was asked now."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from savedmodels import distributions

_MOST_PANELS = 12
_COLUMNS = 3


def draw(
    path: pathlib.Path,
    title: str,
    statistics: Mapping[str, Any],
    counts: Mapping[str, Any],
) -> None:
    """Draws the most drifted distributions, two bars a bin.

    Args:
        path: PNG to write.
        title: First line.
        statistics: The version's own.
        counts: Of the rows scored.

    Raises:
        OSError: The file cannot be written.
    """
    indices = distributions.indices(statistics, counts["drift"], counts["classes"])
    names = sorted(indices, key=lambda name: -indices[name])[:_MOST_PANELS]
    lines = math.ceil(len(names) / _COLUMNS)
    figure = Figure(figsize=(5 * _COLUMNS, 3.2 * lines), layout="constrained")
    figure.suptitle(f"{title}: held-out data (blue) and the rows scored (orange)")
    panels = figure.subplots(lines, _COLUMNS, squeeze=False).reshape(-1)
    for axes, name in zip(panels, names, strict=False):
        if name == "classes":
            classes = sorted({*statistics["classes"], *counts["classes"]}, key=int)
            expected = [statistics["classes"].get(key, 0) for key in classes]
            found = [counts["classes"].get(key, 0) for key in classes]
            _bars(axes, classes, expected, found)
        else:
            feature = statistics["features"][name]
            labels = _labels(feature["edges"])
            _bars(axes, labels, feature["counts"], counts["drift"][name])
        verdict = distributions.verdict(indices[name])
        axes.set_title(f"{name}: PSI {indices[name]:.3f}, {verdict}")
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    FigureCanvasAgg(figure)
    figure.savefig(path)


def _bars(
    axes: Axes, labels: Sequence[str], expected: list[int], found: list[int]
) -> None:
    places = np.arange(len(labels))
    axes.bar(places - 0.2, np.array(expected) / max(sum(expected), 1), 0.4)
    axes.bar(places + 0.2, np.array(found) / max(sum(found), 1), 0.4)
    axes.set_xticks(places, labels, rotation=60, fontsize="small")
    axes.set_ylabel("share")


def _labels(edges: Sequence[float]) -> list[str]:
    # As few digits as tell them apart: scores of a good classifier are all nearly 1.
    for digits in range(4, 18):
        texts = [f"{edge:.{digits}g}" for edge in edges]
        if len({*texts}) == len(edges):
            break
    inner = [f"{a}..{b}" for a, b in zip(texts, texts[1:], strict=False)]
    return [f"< {texts[0]}", *inner, f">= {texts[-1]}"] if texts else ["all"]
