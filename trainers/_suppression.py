"""From many boxes around each object to the one that is answered.

no area    What lies beside the image, where its square is padded, is no answer.
suppress   Of boxes of one class that overlap, the one of the highest score stays
           (non-maximum suppression).
vote       It takes the mean of those that overlap it much, weighted by the squares
           of their scores: the surest box is seldom the most exact one.
           Source: Gidaris and Komodakis 2015, "Object Detection via a Multi-Region
           and Semantic Segmentation-Aware CNN Model", ICCV, box voting.
one name   Of boxes of several classes that are as good as the same, one stays.
"""

from typing import NamedTuple

import tensorflow as tf

# Shared area over joint area, from which on a box is suppressed by a better one of its
# class, votes for one of its class, and is taken for the same object as any other.
_SUPPRESSED = 0.5
_VOTES = 0.65
_SAME_OBJECT = 0.7


class Boxes(NamedTuple):
    """What was found in one image.

    Attributes:
        boxes: [n, 4] float32, [ymin, xmin, ymax, xmax] in shares of the image, 0 to 1.
        scores: [n] float32.
        classes: [n] int64.
    """

    boxes: tf.Tensor
    scores: tf.Tensor
    classes: tf.Tensor

    def only(self, places: tf.Tensor) -> "Boxes":
        """Returns those at these places [m] int32, in that order."""
        return Boxes(*(tf.gather(part, places) for part in self))


def one_for_each_object(found: Boxes, most: int) -> Boxes:
    """Returns at most `most` boxes, the best one first.

    Args:
        found: Boxes of all places and sizes, several of them around each object.
        most: Boxes.
    """
    sizes = found.boxes[:, 2:] - found.boxes[:, :2]
    found = found.only(_places(tf.reduce_all(sizes > 0, axis=1) & (found.scores > 0)))
    same_class = found.classes[:, tf.newaxis] == found.classes
    overlaps = tf.where(same_class, _overlaps(found.boxes), 0.0)
    kept = tf.image.non_max_suppression_overlaps(
        overlaps, found.scores, most, overlap_threshold=_SUPPRESSED
    )
    # Each overlaps itself wholly, so none is without a vote.
    votes = tf.where(tf.gather(overlaps, kept) >= _VOTES, found.scores**2, 0.0)
    means = votes @ found.boxes / tf.reduce_sum(votes, axis=1, keepdims=True)
    found = found.only(kept)._replace(boxes=means)
    return found.only(
        tf.image.non_max_suppression(
            found.boxes, found.scores, most, iou_threshold=_SAME_OBJECT
        )
    )


def _overlaps(boxes: tf.Tensor) -> tf.Tensor:
    """Shared area over joint area [n, n] of boxes [n, 4], none of them empty."""
    upper = tf.maximum(boxes[:, tf.newaxis, :2], boxes[:, :2])
    lower = tf.minimum(boxes[:, tf.newaxis, 2:], boxes[:, 2:])
    shared = tf.reduce_prod(tf.maximum(lower - upper, 0), axis=2)
    areas = tf.reduce_prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return shared / (areas[:, tf.newaxis] + areas - shared)


def _places(chosen: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.where(chosen)[:, 0], tf.int32)
