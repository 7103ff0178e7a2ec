"""How inputs and answers are distributed, to notice when they come to be otherwise.

Statistics are counts between edges, kept in a version's provenance:

    rows        how many rows were counted
    features    name to {"edges": [...], "counts": [...]}: one count more than edges
    classes     number of a class to how often it was answered, where classes are

The features of numbers with few values a row are these values, `x[0]`, `x[1]`, ...; of
others, as images, the mean of each row, `image mean`; of strings their length in bytes.
Answers that are one number, and the best of a row of scores, are features too.

Two distributions are compared by the population stability index, the sum over all bins
of (p - q) ln(p / q): below 0.1 they count as alike, above 0.25 as different.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]

MODERATE, LARGE = 0.1, 0.25
_BINS = 10
_MOST_VALUES = 32  # of a row that are features each by itself
_MOST_CLASSES = 1_000
_MOST_ROWS = 100_000  # whose features are kept to find the edges
_LEAST_SHARE = 1e-4  # an empty bin would make the index infinite


class Recorder:
    """Passes calls on to what answers them, and counts what it was asked and said.

    Attributes:
        uncounted: What answers them.
    """

    def __init__(self, answer: Callable[..., Arrays]) -> None:
        """Wraps a function from inputs, and maybe the name of a signature, to outputs.

        Calls that name a signature are passed on only.
        """
        # For what is asked because it is unlike the data.
        self.uncounted = answer
        self._rows = 0
        self._features: dict[str, list[np.ndarray]] = {}
        self._classes: dict[str, int] = {}

    def __call__(self, inputs: Arrays, *name: str) -> Arrays:
        """Answers."""
        outputs = self.uncounted(inputs, *name)
        if not name and self._rows < _MOST_ROWS:
            for feature, values in features(inputs, outputs).items():
                self._features.setdefault(feature, []).append(values)
            _count_classes(self._classes, outputs)
            self._rows += max((len(array) for array in inputs.values()), default=0)
        return outputs

    def statistics(self) -> dict[str, Any]:
        """Returns what a provenance keeps; the edges are the tenths of each feature."""
        found = {}
        for feature, parts in self._features.items():
            values = np.concatenate(parts)
            values = values[np.isfinite(values)]
            if values.size:
                shares = np.arange(1, _BINS) / _BINS
                edges = np.unique(np.quantile(values, shares))
                counts = _counts(values, edges)
                found[feature] = {"edges": edges.tolist(), "counts": counts.tolist()}
        return {"rows": self._rows, "features": found, "classes": self._classes}


def features(inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
    """Returns the features of a batch by name, each [rows] float64.

    Args:
        inputs: Alias to array [rows, ...].
        outputs: Likewise.
    """
    found: dict[str, np.ndarray] = {}
    for alias, array in inputs.items():
        array = np.asarray(array)
        if array.ndim == 0 or not array.size:
            continue
        flat = array.reshape(len(array), -1)
        if array.dtype.kind in "OSU":
            if flat.shape[1] == 1:
                lengths = [len(value) for value in flat[:, 0].tolist()]
                found[f"{alias} bytes"] = np.array(lengths, np.float64)
        elif flat.shape[1] == 1:
            found[alias] = flat[:, 0].astype(np.float64)
        elif flat.shape[1] <= _MOST_VALUES:
            for place in range(flat.shape[1]):
                found[f"{alias}[{place}]"] = flat[:, place].astype(np.float64)
        else:
            found[f"{alias} mean"] = flat.mean(axis=1, dtype=np.float64)
    for alias, array in outputs.items():
        array = np.asarray(array)
        if not array.size or array.dtype.kind not in "iuf" or alias == "class_id":
            continue
        if array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1):
            found[f"{alias} (answer)"] = array.reshape(-1).astype(np.float64)
        elif array.ndim == 2 and alias == "scores":
            found["best score (answer)"] = array.max(axis=1).astype(np.float64)
    return found


def empty(baseline: Mapping[str, Any]) -> dict[str, list[int]]:
    """Returns a count of 0 for each bin of a version's statistics."""
    known = baseline.get("features", {})
    return {name: [0] * len(feature["counts"]) for name, feature in known.items()}


def count(
    counts: dict[str, list[int]],
    baseline: Mapping[str, Any],
    inputs: Arrays,
    outputs: Arrays,
) -> None:
    """Adds a batch to counts that `empty` began."""
    if not counts:
        return
    for name, values in features(inputs, outputs).items():
        if name in counts:
            edges = np.array(baseline["features"][name]["edges"])
            more = _counts(values[np.isfinite(values)], edges)
            counts[name] = [a + int(b) for a, b in zip(counts[name], more, strict=True)]


def stability_index(expected: list[int], found: list[int]) -> float | None:
    """Returns the population stability index of two lists of counts.

    Args:
        expected: Of the version's own data, one a bin.
        found: Of the data compared with it.

    Returns:
        The index, 0 for the same shares; None where chance alone would give 0.1.
    """
    rows, known = sum(found), sum(expected)
    if not rows or not known:
        return None
    # Of two samples of one distribution the index is chi-square times this, so that by
    # chance it is seldom more than two standard deviations above its mean.
    free = len(expected) - 1
    if (free + 2 * math.sqrt(2 * free)) * (1 / rows + 1 / known) > MODERATE:
        return None
    p = np.maximum(np.array(found) / rows, _LEAST_SHARE)
    q = np.maximum(np.array(expected) / known, _LEAST_SHARE)
    return float(np.sum((p - q) * np.log(p / q)))


def indices(
    baseline: Mapping[str, Any], drift: Mapping[str, Any], classes: Mapping[str, int]
) -> dict[str, float]:
    """Returns the index of every feature, and of `classes`, that can be judged.

    Args:
        baseline: A version's statistics.
        drift: Counts of its features, from `count`.
        classes: Number of a class to how often it was answered.
    """
    found = {}
    for name, feature in baseline.get("features", {}).items():
        index = stability_index(feature["counts"], drift.get(name, []))
        if name in drift and index is not None:
            found[name] = index
    expected = baseline.get("classes", {})
    names = sorted({*expected, *classes})
    if expected and classes:
        index = stability_index(
            [expected.get(name, 0) for name in names],
            [classes.get(name, 0) for name in names],
        )
        if index is not None:
            found["classes"] = index
    return found


def verdict(index: float) -> str:
    """Returns what an index is taken for."""
    if math.isnan(index) or index >= LARGE:
        return "drifted"
    return "moved" if index >= MODERATE else "alike"


def _counts(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    places = np.searchsorted(edges, values, side="right")
    return np.bincount(places, minlength=len(edges) + 1)


def _count_classes(classes: dict[str, int], outputs: Arrays) -> None:
    if "class_id" not in outputs or np.asarray(outputs["class_id"]).ndim != 1:
        return
    found, counts = np.unique(np.asarray(outputs["class_id"]), return_counts=True)
    for value, more in zip(found.tolist(), counts.tolist(), strict=True):
        if str(value) in classes or len(classes) < _MOST_CLASSES:
            classes[str(value)] = classes.get(str(value), 0) + more
