"""Average precision, counted by the code of the COCO challenge.

Overlap is the shared area of two boxes over their joint area. A detection is right if
it overlaps an object of its class, that no better detection has taken, from a threshold
on. Precision is the share of detections that are right, recall the share of objects
that are found. What is averaged is the precision, over 101 recalls, over thresholds of
0.50 to 0.95, and over classes.
"""

import contextlib
import dataclasses
import io
from collections.abc import Sequence

import numpy as np

from trainers._scenes import Split


@dataclasses.dataclass(frozen=True)
class Found:
    """What was found in one image.

    Attributes:
        boxes: [detections, 4] float, shares of the image, the best one first.
        scores: [detections] float.
        labels: [detections] int.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Precisions:
    """Precision at recalls of 0, 0.01, ..., 1.

    Attributes:
        values: [thresholds, recalls, classes] float; -1 where a class has no objects.
        overlaps: [thresholds] float, 0.50, 0.55, ..., 0.95.
        recalls: [recalls] float.
    """

    values: np.ndarray
    overlaps: np.ndarray
    recalls: np.ndarray

    def average(self, overlap: float | None = None, label: int | None = None) -> float:
        """Returns the mean over thresholds, recalls and classes, or one of them.

        Args:
            overlap: A threshold; None for all.
            label: A class; None for all that have objects.

        Returns:
            0 to 1; NaN where there are no objects.
        """
        values = self.values
        if overlap is not None:
            values = values[np.isclose(self.overlaps, overlap)]
        if label is not None:
            values = values[:, :, label]
        known = values[values >= 0]
        return float(known.mean()) if known.size else float("nan")


def average_precisions(
    truth: Split, found: Sequence[Found], classes: int
) -> Precisions:
    """Returns precisions by COCO's own code.

    Args:
        truth: What is to be found.
        found: What was found, in the same images.
        classes: Number of classes.
    """
    # Late, as they are needed here alone.
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # it tells every step
        known = COCO()
        known.dataset = _as_coco(truth, classes)
        known.createIndex()
        results = _as_results(truth, found)
        if not results:
            return _nothing_found(truth, classes)
        evaluation = COCOeval(known, known.loadRes(results), "bbox")
        evaluation.params.areaRng = [[0, 1e10]]  # of any size
        evaluation.params.areaRngLbl = ["all"]
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
        evaluation.accumulate()
    return Precisions(
        evaluation.eval["precision"][:, :, :, 0, 0],
        evaluation.params.iouThrs,
        evaluation.params.recThrs,
    )


def _as_coco(truth: Split, classes: int) -> dict:
    """The content of a COCO annotation file."""
    annotations = []
    for image, (size, boxes, labels) in enumerate(
        zip(truth.sizes, truth.boxes, truth.labels, strict=True)
    ):
        for box, label in zip(_pixels(boxes, size), labels, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(label),
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    return {
        "images": [{"id": image} for image in range(len(truth.images))],
        "categories": [{"id": label} for label in range(classes)],
        "annotations": annotations,
    }


def _as_results(truth: Split, found: Sequence[Found]) -> list[dict]:
    """The content of a COCO result file."""
    return [
        {
            "image_id": image,
            "category_id": int(label),
            "bbox": box,
            "score": float(score),
        }
        for image, (size, part) in enumerate(zip(truth.sizes, found, strict=True))
        for box, score, label in zip(
            _pixels(part.boxes, size), part.scores, part.labels, strict=True
        )
    ]


def _pixels(boxes: np.ndarray, size: np.ndarray) -> list[list[float]]:
    """COCO's [left, top, width, height]."""
    height, width = map(float, size)
    return [
        [
            float(left * width),
            float(top * height),
            float((right - left) * width),
            float((bottom - top) * height),
        ]
        for top, left, bottom, right in boxes.astype(np.float64)
    ]


def _nothing_found(truth: Split, classes: int) -> Precisions:
    """COCO's code refuses an empty list of results."""
    overlaps = np.linspace(0.5, 0.95, 10)
    recalls = np.linspace(0, 1, 101)
    values = np.full([len(overlaps), len(recalls), classes], -1.0)
    for label in np.unique(np.concatenate([np.zeros(0, np.int64), *truth.labels])):
        values[:, :, label] = 0
    return Precisions(values, overlaps, recalls)
