"""Sums of what a model was asked and answered: small, and added up over shards.

Scores lie in 0..1 and are counted in tenths. Inputs and outputs of numbers are counted
between the edges that a version's own statistics have (`savedmodels/distributions.py`),
so that the two can be compared.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipelines._batches import Batch
from savedmodels import distributions
from serving.servable import SignatureInfo

_TENTHS = 10
_SMALLEST_SCORE = 1e-12  # as in training: the largest loss that one row can have
_MOST_CLASSES = 1_000


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """What the sums are made of.

    Attributes:
        signature: Names the outputs.
        baseline: Statistics of the version; empty where it has none.
        truth: Place of the true answer among the values that rows bring along, or None.
    """

    signature: SignatureInfo
    baseline: Mapping[str, Any]
    truth: int | None = None


class Tally:
    """Adds up batches."""

    def __init__(self, judged: Judged) -> None:
        """Starts at nothing."""
        self._judged = judged
        outputs = judged.signature.outputs
        self._has_classes = "class_id" in outputs and len(
            outputs["class_id"].shape or ()
        ) in (1, 0)
        scores = outputs.get("scores")
        self._has_scores = scores is not None and len(scores.shape or ()) == 2
        self._classes: dict[str, int] = {}
        self._scores = np.zeros(_TENTHS, np.int64)
        self._drift = distributions.empty(judged.baseline)
        self._sums: dict[str, float] = {}

    def add(self, batch: Batch, outputs: Mapping[str, np.ndarray]) -> None:
        """Counts one batch and its answers."""
        if self._has_classes:
            found = outputs["class_id"].reshape(-1).astype(np.int64)
            for value, count in zip(*np.unique(found, return_counts=True), strict=True):
                self._count(self._classes, str(value), int(count))
        if self._has_scores and outputs["scores"].size:
            best = outputs["scores"].max(axis=1)
            tenths = np.clip(best * _TENTHS, 0, _TENTHS - 1).astype(np.int64)
            self._scores += np.bincount(tenths, minlength=_TENTHS)
        distributions.count(self._drift, self._judged.baseline, batch.inputs, outputs)
        if self._judged.truth is not None:
            self._compare(batch, outputs, self._judged.truth)

    def as_json(self) -> dict[str, Any]:
        """Returns the sums as a manifest holds them."""
        return {
            "classes": self._classes,
            "scores": self._scores.tolist() if self._has_scores else [],
            "drift": self._drift,
            "sums": self._sums,
        }

    def _compare(
        self, batch: Batch, outputs: Mapping[str, np.ndarray], place: int
    ) -> None:
        given = [row.carried[place] for row in batch.rows]
        if self._has_classes:
            self._compare_classes(given, outputs)
            return
        numbers = [
            alias
            for alias, array in outputs.items()
            if array.dtype.kind in "iuf" and array.size == len(given)
        ]
        values = np.array([_number(value) for value in given])
        known = ~np.isnan(values)
        if len(numbers) == 1 and known.any():
            errors = outputs[numbers[0]].reshape(-1)[known] - values[known]
            self._sum("regressed", int(known.sum()))
            self._sum("absolute", float(np.abs(errors).sum()))
            self._sum("squared", float((errors.astype(np.float64) ** 2).sum()))

    def _compare_classes(
        self, given: list[Any], outputs: Mapping[str, np.ndarray]
    ) -> None:
        """Labels are numbers of classes, or their names where there is `label`."""
        found = outputs["class_id"].reshape(-1)
        values = np.array([_number(value) for value in given])
        known = ~np.isnan(values)
        right = found == values
        if not known.all() and "label" in outputs:
            names = [_text(value) for value in outputs["label"].reshape(-1).tolist()]
            named = np.array([isinstance(value, str) for value in given])
            same = np.array([n == v for n, v in zip(names, given, strict=True)])
            right, known = np.where(named, same, right), known | named
        self._sum("labelled", int(known.sum()))
        self._sum("right", int((right & known).sum()))
        if self._has_scores:
            scores = outputs["scores"]
            inside = known & (values >= 0) & (values < scores.shape[1])
            rows = np.flatnonzero(inside)
            truth = scores[rows, values[rows].astype(np.int64)].astype(np.float64)
            losses = -np.log(np.maximum(truth, _SMALLEST_SCORE))
            self._sum("nats", float(losses.sum()))
            self._sum("with_nats", len(rows))

    def _sum(self, name: str, value: float) -> None:
        self._sums[name] = self._sums.get(name, 0) + value

    def _count(self, counts: dict[str, int], name: str, more: int) -> None:
        if name in counts or len(counts) < _MOST_CLASSES:
            counts[name] = counts.get(name, 0) + more


def added(tallies: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the sum of what `as_json` gave for several shards."""
    total: dict[str, Any] = {}
    for tally in tallies:
        total = _plus(total, tally)
    return total


def _plus(one: Any, other: Any) -> Any:
    if isinstance(other, Mapping):
        one = one or {}
        return {
            name: _plus(one.get(name), other[name]) if name in other else one[name]
            for name in [*one, *(name for name in other if name not in one)]
        }
    if isinstance(other, list):
        return [a + b for a, b in zip(one, other, strict=True)] if one else list(other)
    return (one or 0) + other


def metrics(sums: Mapping[str, float]) -> dict[str, float]:
    """Returns what the labels say about the answers, by name."""
    found = {}
    if rows := sums.get("labelled"):
        found["accuracy"] = sums["right"] / rows
    if rows := sums.get("with_nats"):
        found["cross entropy"] = sums["nats"] / rows
    if rows := sums.get("regressed"):
        found["mean absolute error"] = sums["absolute"] / rows
        found["root mean squared error"] = (sums["squared"] / rows) ** 0.5
    return found


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
