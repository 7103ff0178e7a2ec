"""How a detector is laid out for a data set: sizes, levels and anchors.

What a Config leaves open follows from the boxes of the training split:

    canvas    Images are made to fill a square, whose side is the median of the longer
              sides of the images, 256 pixels at most. Where images are larger and 95 %
              of the objects smaller than 80 pixels, images keep their size instead (up
              to 1,024 pixels): the network is trained on parts of twice that, and
              answers for a square that holds the largest image.
    anchors   The smallest fits the 5 % smallest objects. Ratios of width to height are
              1, and 1/2 or 2 where 5 % of the objects are that narrow or wide.
    levels    As many, from 3 on, as bring the largest anchor to the 98 % size.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from trainers import _scenes
from trainers.datasets import _load

MIN_LEVEL = 3  # its places are 8 pixels apart
ANCHOR_SCALES = 3  # anchors a place and ratio, each 2^(1/3) larger than the one before

_MOST_FILLED = 256  # pixels of a canvas that images fill
_PART, _MOST_KEPT = 160, 1024  # pixels, where images keep their size
_SMALL_OBJECT = 0.5  # of a part's side: larger objects would seldom be whole in one
_MAX_LEVEL = 7
# A box and an anchor of the same shape overlap by half where their sizes differ by
# 1.41; 1.25 leaves room for those of other shapes.
_REACH = 1.25
_STEPS = 500  # of an epoch at least, for canvases of 128 pixels


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a data set and a Config make of a detector.

    Attributes:
        class_names: By label.
        side: Of the square that the network is trained on, in pixels.
        served_side: Of the square that it answers for.
        enlarge: Whether images smaller than the square are made larger.
        max_level: The pyramid's last level; the first is 3.
        anchor_size: Side of the smallest anchor of a level, in its steps.
        aspect_ratios: Width to height of anchors.
        symmetry: What may be done to an image in training; see `_scenes.distort`.
        steps: Of an epoch at least: smaller data sets are repeated.
    """

    class_names: tuple[str, ...]
    side: int
    served_side: int
    enlarge: bool
    max_level: int
    anchor_size: float
    aspect_ratios: tuple[float, ...]
    symmetry: str
    steps: int


def plan(config: Any) -> Plan:
    """Returns the plan of a `retinanet_detector.Config`.

    Raises:
        UsageError: No such data set, or it has no boxes.
        DatasetError: It cannot be fetched or read.
    """
    return _planned(
        config.dataset,
        config.datasets_dir,
        config.image_size,
        config.anchor_size,
        config.aspect_ratios,
        config.symmetry,
        config.epoch_steps,
    )


@functools.lru_cache(maxsize=4)
def _planned(
    dataset: str,
    datasets_dir: str,
    image_size: int,
    anchor_size: float,
    aspect_ratios: tuple[float, ...],
    symmetry: str,
    steps: int,
) -> Plan:
    builder = _load.prepare(dataset, datasets_dir)
    images, boxes = _scenes.measure(dataset, datasets_dir)
    side, served = canvas(images, boxes, image_size)
    # Sizes as the network sees them.
    scale = served / boxes[:, 2]
    scale = scale if side == served else np.minimum(scale, 1)
    sizes = np.sqrt(boxes[:, 0] * boxes[:, 1]) * scale
    anchor_size = anchor_size or smallest_anchor(sizes)
    max_level = levels(sizes, anchor_size)
    symmetry = (
        symmetry if symmetry != "auto" else getattr(builder, "SYMMETRY", "mirror")
    )
    return Plan(
        class_names=tuple(builder.info.features["objects"]["label"].names),
        side=_multiple(side, 2**max_level),
        served_side=_multiple(served, 2**max_level),
        enlarge=side == served,
        max_level=max_level,
        anchor_size=anchor_size,
        aspect_ratios=aspect_ratios or ratios(boxes[:, 1] / boxes[:, 0]),
        symmetry=symmetry,
        steps=steps or max(round(_STEPS * (128 / side) ** 2), 1),
    )


def canvas(images: np.ndarray, boxes: np.ndarray, given: int) -> tuple[int, int]:
    """Returns the sides in pixels of the square to train on and of the one to serve.

    They are equal where images are to fill the square.

    Args:
        images: [images, 2] int, height and width.
        boxes: [objects, 3] float: height, width, and the image's longer side.
        given: The side that the Config asks for; 0 for none.
    """
    typical = float(np.median(images.max(axis=1)))
    side = given or min(math.ceil(typical), _MOST_FILLED)
    sizes = np.sqrt(boxes[:, 0] * boxes[:, 1])
    part = given or _PART
    if typical <= side or np.percentile(sizes, 95) > _SMALL_OBJECT * part:
        return side, side
    return part, min(int(images.max()), _MOST_KEPT)


def smallest_anchor(sizes: Sequence[float]) -> float:
    """Returns the size of anchors in steps of their level, 1 to 4 in halves.

    Args:
        sizes: Roots of the areas of boxes, in pixels of the canvas.
    """
    wanted = float(np.percentile(sizes, 5)) * _REACH / 2**MIN_LEVEL
    return min(max(round(2 * wanted) / 2, 1.0), 4.0)


def levels(sizes: Sequence[float], anchor_size: float) -> int:
    """Returns the last level that the sizes need, 4 to 7."""
    largest = float(np.percentile(sizes, 98))
    of_level_0 = anchor_size * 2 ** ((ANCHOR_SCALES - 1) / ANCHOR_SCALES) * _REACH
    needed = math.ceil(math.log2(max(largest / of_level_0, 1)))
    return min(max(needed, MIN_LEVEL + 1), _MAX_LEVEL)


def ratios(widths_to_heights: Sequence[float]) -> tuple[float, ...]:
    """Returns the anchors' ratios of width to height, rising."""
    narrow, wide = np.percentile(widths_to_heights, [5, 95])
    # Nearer to 1/2, or to 2, than to 1.
    return (
        *((0.5,) if narrow < math.sqrt(0.5) else ()),
        1.0,
        *((2.0,) if wide > math.sqrt(2) else ()),
    )


def _multiple(side: int, of: int) -> int:
    return math.ceil(side / of) * of
