"""Answers of a model as text for a person: a chart for one, a line each for several."""

from collections.abc import Mapping

import numpy as np

from pipelines import _boxes

SHOWN = 10  # classes of one instance, and values of an array
_BAR = 40  # characters of a score of 1

Outputs = Mapping[str, np.ndarray]  # alias to one instance's value


def one(key: object, outputs: Outputs) -> str:
    """Returns the answer to a single instance.

    Args:
        key: What was asked about, as a file's name.
        outputs: Values without the batch axis. `scores` of numbers in a vector is
            drawn, largest first; its names are `classes`, `labels`, or the positions;
            `label` alone names the best. Boxes of objects are listed.
    """
    if _boxes.are_given(outputs):
        return _boxes.text(key, outputs)
    names = _names(outputs)
    if names is None:
        values = [f"  {alias}: {text(value)}" for alias, value in outputs.items()]
        return "\n".join([f"{key}", *values])
    scores = outputs["scores"].astype(np.float64)
    order = np.argsort(-scores, kind="stable")
    best = names[_best(outputs, scores)]
    lines = [f"{key}: class {best}, score {scores[order[0]]:.4f}", ""]
    width = max(len(names[index]) for index in order[:SHOWN])
    for index in order[:SHOWN]:
        bar = "█" * round(_BAR * float(np.clip(np.nan_to_num(scores[index]), 0, 1)))
        lines.append(f"  {names[index]:>{width}}  {scores[index]:.4f}  {bar}".rstrip())
    if len(scores) > SHOWN:
        lines.append(f"  and {len(scores) - SHOWN:,} more with lower scores")
    lines += [f"  {alias}: {text(value)}" for alias, value in _others(outputs)]
    return "\n".join(lines)


def line(key: object, outputs: Outputs) -> str:
    """Returns the answer to one of several instances on one line; see `one`."""
    if _boxes.are_given(outputs):
        return _boxes.line(key, outputs)
    names = _names(outputs)
    if names is None:
        cells = [f"{alias} {text(value)}" for alias, value in outputs.items()]
        return "  ".join([f"{key}", *cells])
    scores = outputs["scores"].astype(np.float64)
    top = int(np.argsort(-scores, kind="stable")[0])
    cells = [f"{alias} {text(value)}" for alias, value in _others(outputs)]
    best = names[_best(outputs, scores)]
    return "  ".join([f"{key}", f"class {best}", f"score {scores[top]:.4f}", *cells])


def text(value: np.ndarray) -> str:
    """Returns a value in short: all of a few numbers, the ends of many."""
    if value.ndim == 0:
        return _scalar(value.item())
    shown = value
    if value.dtype == object:
        shown = np.array([_scalar(item) for item in value.reshape(-1).tolist()])
        shown = shown.reshape(value.shape)
    if value.size > SHOWN:
        shown = shown.reshape(-1)  # the ends of every axis would fill the screen
    body = np.array2string(
        shown, precision=4, threshold=SHOWN, edgeitems=3, suppress_small=True
    )
    if value.size <= SHOWN:
        return " ".join(body.split())
    return f"{' '.join(body.split())} of shape {list(value.shape)}"


def _names(outputs: Outputs) -> list[str] | None:
    """The class names, in the order of `scores`; None where there are no scores."""
    scores = outputs.get("scores")
    if scores is None or scores.ndim != 1 or not scores.size or scores.dtype == object:
        return None
    for alias in ("classes", "labels"):
        names = outputs.get(alias)
        if names is not None and names.shape == scores.shape:
            return [_scalar(name) for name in names.tolist()]
    positions = [str(index) for index in range(scores.size)]
    label = outputs.get("label")
    if label is not None and not label.ndim:
        positions[_best(outputs, scores)] = _scalar(label.item())
    return positions


def _best(outputs: Outputs, scores: np.ndarray) -> int:
    """The class that the model itself names, else the one of the largest score."""
    class_id = outputs.get("class_id")
    if class_id is None or class_id.ndim or not 0 <= int(class_id) < scores.size:
        return int(np.argmax(scores))
    return int(class_id)


def _others(outputs: Outputs) -> list[tuple[str, np.ndarray]]:
    told = {"scores", "class_id", "classes", "label", "labels"}
    return [(alias, value) for alias, value in outputs.items() if alias not in told]


def _scalar(value: object) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return f"{len(value):,} bytes"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
