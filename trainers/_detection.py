"""What a detector is worth: average precision as the COCO challenge counts it.

A detection is right if it overlaps an object of its class that no better detection has
taken, from a threshold on; see `_average_precision.py`.
"""

import functools
from collections.abc import Sequence

import numpy as np

from savedmodels.errors import UsageError
from trainers import _detection_pictures as pictures
from trainers import _evaluation
from trainers._average_precision import Found, Precisions, average_precisions
from trainers._evaluation import Answer, Evaluation
from trainers._scenes import Split
from trainers.datasets import _boxes

_ROWS = 64  # images in one request
# Where a detection counts as one when images are judged: what is drawn too.
SHOWN_SCORE = 0.3
_RIGHT_OVERLAP = 0.5


def judge(answer: Answer, truth: Split, class_names: Sequence[str]) -> Evaluation:
    """Judges a detector.

    Args:
        answer: Runs `serving_default`: `image` [batch] encoded, to `detection_boxes`,
            `detection_scores`, `detection_labels` and `num_detections`.
        truth: Images and what is to be found in them.
        class_names: Name of each class.

    Returns:
        Metrics `ap`, `ap50` and `ap75` (the average precision, also where an overlap
        of 0.50 or 0.75 is enough), and `ap/<class>` of each class that occurs.

    Raises:
        UsageError: The detector knows other classes.
    """
    found = detections(answer, truth.images, class_names)
    precisions = average_precisions(truth, found, len(class_names))
    metrics = {
        "ap": precisions.average(),
        "ap50": precisions.average(0.5),
        "ap75": precisions.average(0.75),
    }
    counts = np.bincount(
        np.concatenate([np.zeros(0, np.int64), *truth.labels]),
        minlength=len(class_names),
    )
    for label in np.flatnonzero(counts):
        metrics[f"ap/{class_names[label]}"] = precisions.average(label=int(label))
    return Evaluation(
        metrics=metrics,
        panels=_panels(truth, found, precisions, class_names),
        text=_text(precisions, truth, found, counts, class_names),
    )


def detections(
    answer: Answer, images: np.ndarray, class_names: Sequence[str]
) -> list[Found]:
    """Returns what is found in each image.

    Args:
        answer: As for `judge`. What it calls by none of the names is left out, and so
            is a box that is not finite.
        images: [images] object, PNG or JPEG bytes.
        class_names: Name of each class.

    Raises:
        UsageError: It has no other names than other ones.
    """
    answers = _evaluation.ask(answer, {"image": images}, _ROWS)
    # By name: a model trained on other data has other numbers for the same classes.
    numbers = {name: label for label, name in enumerate(class_names)}
    found, strange = [], set()
    for boxes, scores, names, count in zip(
        answers["detection_boxes"],
        answers["detection_scores"],
        answers["detection_labels"],
        answers["num_detections"],
        strict=True,
    ):
        texts = [name.decode("utf-8", "replace") for name in names[:count]]
        labels = np.array([numbers.get(text, -1) for text in texts], int)
        strange.update(set(texts) - set(numbers))
        # COCO's code takes a box of no numbers for one that fits every object.
        known = (labels >= 0) & np.isfinite(boxes[:count]).all(axis=1)
        found.append(Found(boxes[:count][known], scores[:count][known], labels[known]))
    if strange and not any(len(part.labels) for part in found):
        raise UsageError(
            "The model does not know the classes of this data set. Expected "
            f"{_boxes.listed(class_names)}. "
            f"Received: {_boxes.listed(sorted(strange))}."
        )
    return found


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns shared area over joint area [n, m] of boxes [n, 4] and [m, 4]."""
    upper = np.maximum(boxes[:, None, :2], others[None, :, :2])
    lower = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(lower - upper, 0, None).prod(axis=2)
    areas, others_areas = (
        (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (boxes, others)
    )
    joint = areas[:, None] + others_areas[None] - shared
    return shared / np.maximum(joint, 1e-12)


def matches(
    boxes: np.ndarray, labels: np.ndarray, found: Found, least_overlap: float
) -> np.ndarray:
    """Returns which object each detection has found, [detections] int; -1 for none.

    The best detection chooses first, of the objects of its class the one that it
    overlaps most.
    """
    free = np.ones(len(boxes), bool)
    taken = np.full(len(found.boxes), -1)
    shared = overlaps(found.boxes, boxes)
    for detection, label in enumerate(found.labels):
        suits = free & (labels == label) & (shared[detection] >= least_overlap)
        if suits.any():
            best = int(np.argmax(np.where(suits, shared[detection], -1)))
            taken[detection], free[best] = best, False
    return taken


def _panels(
    truth: Split,
    found: Sequence[Found],
    precisions: Precisions,
    class_names: Sequence[str],
) -> dict[str, _evaluation.Panel]:
    shown = [
        Found(
            *(part[f.scores >= SHOWN_SCORE] for part in (f.boxes, f.scores, f.labels))
        )
        for f in found
    ]
    taken = [
        matches(boxes, labels, part, _RIGHT_OVERLAP)
        for boxes, labels, part in zip(truth.boxes, truth.labels, shown, strict=True)
    ]
    drawn = [
        pictures.Drawn(
            image, boxes, labels, part.boxes, part.scores, part.labels, objects
        )
        for image, boxes, labels, part, objects in zip(
            truth.images, truth.boxes, truth.labels, shown, taken, strict=True
        )
    ]
    worst = sorted(drawn, key=lambda d: -d.mistakes)  # stable: the first ones first
    draw = functools.partial(pictures.draw_images, class_names=class_names)
    return {
        "precision and recall": functools.partial(
            pictures.draw_precisions, precisions, class_names
        ),
        "worst images": functools.partial(draw, [d for d in worst if d.mistakes]),
        "first images": functools.partial(draw, drawn),
        "scores": functools.partial(
            pictures.draw_scores,
            truth,
            found,
            functools.partial(matches, least_overlap=_RIGHT_OVERLAP),
            SHOWN_SCORE,
        ),
    }


def _text(
    precisions: Precisions,
    truth: Split,
    found: Sequence[Found],
    counts: np.ndarray,
    class_names: Sequence[str],
) -> str:
    """A table by class."""
    right, told = np.zeros_like(counts), np.zeros_like(counts)
    for boxes, labels, part in zip(truth.boxes, truth.labels, found, strict=True):
        sure = part.scores >= SHOWN_SCORE
        part = Found(part.boxes[sure], part.scores[sure], part.labels[sure])
        hits = matches(boxes, labels, part, _RIGHT_OVERLAP) >= 0
        np.add.at(told, part.labels, 1)
        np.add.at(right, part.labels[hits], 1)
    width = max([len("all"), *map(len, class_names)])
    lines = [
        f"{len(truth.images):,} images; from a score of {SHOWN_SCORE} on:",
        f"{'':>{width}}      ap    ap50  objects  found   wrong",
    ]
    rows = [
        (class_names[label], label, counts[label], right[label], told[label])
        for label in range(len(class_names))
        if counts[label] or told[label]
    ]
    rows.append(("all", None, counts.sum(), right.sum(), told.sum()))
    for name, label, objects, hits, claims in rows:
        ap = precisions.average(label=label)
        ap50 = precisions.average(0.5, label)
        share = f"{hits / objects:6.1%}" if objects else "     -"
        lines.append(
            f"{name:>{width}}  {ap:6.3f}  {ap50:6.3f}  {objects:7,}  {share}  "
            f"{claims - hits:6,}"
        )
    return "\n".join(lines)
