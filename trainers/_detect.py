"""From the raw outputs of a detector to what is answered for an image.

An answer may look at the image in several views: as it is, mirrored, and both upside
down. The boxes that are found in each are turned back and joined: what one view misses
another may see.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from trainers import _scenes, _suppression
from trainers._detection_plan import Plan
from trainers._suppression import Boxes

# Of which axes, height and width, each view runs backwards.
_BACKWARDS = ((), (1,), (0,), (0, 1))


class Detector:
    """Finds the objects in images of any size."""

    def __init__(self, network: Any, plan: Plan, most: int, views: int) -> None:
        """Keeps what an answer needs.

        Args:
            network: A `_retinanet.RetinaNet`, or what else has its `detect`.
            plan: Of the data set that it learnt from.
            most: Boxes that an answer has room for.
            views: In which each image is looked at: 1, 2 or 4.
        """
        self._network = network
        self._plan = plan
        self._most = most
        self._backwards = _BACKWARDS[:views]

    def each(
        self, images: tf.Tensor, pixels: Callable[[tf.Tensor], tf.Tensor] = tf.identity
    ) -> dict[str, tf.Tensor]:
        """Answers image by image: sizes may differ, and none depends on the others.

        Args:
            images: [batch, ...].
            pixels: Makes [height, width, 3] uint8 of one of them.

        Returns:
            What `one` does, with [batch] before each shape.
        """
        return tf.map_fn(
            lambda image: self.one(pixels(image)),
            images,
            fn_output_signature={
                "detection_boxes": tf.TensorSpec([self._most, 4], tf.float32),
                "detection_scores": tf.TensorSpec([self._most], tf.float32),
                "detection_classes": tf.TensorSpec([self._most], tf.int64),
                "detection_labels": tf.TensorSpec([self._most], tf.string),
                "num_detections": tf.TensorSpec([], tf.int32),
                "canvas_size": tf.TensorSpec([], tf.int32),
            },
        )

    def one(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the objects in one image, the best one first.

        Args:
            image: [height, width, 3] uint8.

        Returns:
            `detection_boxes` [most, 4] in shares of the image, `detection_scores`
            [most], `detection_classes` [most] and `detection_labels` [most], all padded
            at the end; `num_detections` [] and `canvas_size` [].
        """
        found = _suppression.one_for_each_object(self._candidates(image), self._most)
        count = tf.size(found.scores)
        room = self._most - count
        labels = tf.gather(tf.constant(self._plan.class_names), found.classes)
        return {
            "detection_boxes": tf.pad(found.boxes, [[0, room], [0, 0]]),
            "detection_scores": tf.pad(found.scores, [[0, room]]),
            "detection_classes": tf.pad(found.classes, [[0, room]], constant_values=-1),
            "detection_labels": tf.pad(labels, [[0, room]], constant_values=""),
            "num_detections": count,
            "canvas_size": tf.constant(self._plan.served_side),
        }

    def _candidates(self, image: tf.Tensor) -> Boxes:
        """What all views show, as boxes in the image."""
        side = self._plan.served_side
        placed, size = _scenes.fitted(image, side, enlarge=self._plan.enlarge)
        views = [tf.reverse(placed, axes) for axes in self._backwards]
        squares = tf.image.pad_to_bounding_box(tf.stack(views), 0, 0, side, side)
        sizes = tf.tile(size[tf.newaxis], [len(views), 1])
        raw = self._network.detect(squares, sizes)
        shares = raw["detection_boxes"] / tf.tile(size, [2])
        boxes = [
            _forwards(boxes, axes)
            for boxes, axes in zip(tf.unstack(shares), self._backwards, strict=True)
        ]
        return Boxes(
            tf.clip_by_value(tf.concat(boxes, axis=0), 0.0, 1.0),
            tf.reshape(raw["detection_scores"], [-1]),
            # Class 0 is the background.
            tf.reshape(tf.cast(raw["detection_classes"], tf.int64) - 1, [-1]),
        )


def _forwards(boxes: tf.Tensor, axes: tuple[int, ...]) -> tf.Tensor:
    """Boxes [n, 4] of a view that runs backwards along some axes, in the image."""
    edges = list(tf.unstack(boxes, axis=1))
    for axis in axes:
        edges[axis], edges[axis + 2] = 1 - edges[axis + 2], 1 - edges[axis]
    return tf.stack(edges, axis=1)
