"""What data sets of images with boxes share: features, and boxes cut by a tile.

A box is [ymin, xmin, ymax, xmax]. TFDS holds it as shares of the image's height and
width, 0 to 1; while a data set is read it is in pixels, counted from the upper left
corner of the image to the box's edges.
"""

import dataclasses
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds

# A part of an object that is smaller than this share of it is no longer that object.
_LEAST_VISIBLE = 0.5


@dataclasses.dataclass(frozen=True)
class Annotated:
    """One image file, and what somebody says is in it.

    Attributes:
        path: The image.
        boxes: [objects, 4] float, in pixels; they may leave the image.
        labels: [objects] int.
    """

    path: pathlib.Path
    boxes: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Annotations:
    """What files of annotations say.

    Attributes:
        class_names: By label.
        images: In the order of the files.
        sha256: Of all files of annotations.
        notes: What was left out on the way, a sentence each.
    """

    class_names: tuple[str, ...]
    images: tuple[Annotated, ...]
    sha256: str
    notes: tuple[str, ...]


def features(class_names: Sequence[str] | None = None) -> tfds.features.FeaturesDict:
    """Returns `image` [height, width, 3] uint8 and `objects` with `bbox` and `label`.

    Args:
        class_names: Names of the classes; None for any, to say what a model takes.
    """
    label = tfds.features.ClassLabel(names=class_names)
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "objects": tfds.features.Sequence(
                {"bbox": tfds.features.BBoxFeature(), "label": label}
            ),
        }
    )


def example(
    encoded: bytes, boxes: np.ndarray, labels: Sequence[int], size: Sequence[int]
) -> Mapping[str, Any]:
    """Returns one example as TFDS writes it.

    Args:
        encoded: PNG or JPEG.
        boxes: [objects, 4] float, in pixels, within the image.
        labels: Class of each object.
        size: (height, width) of the image.
    """
    shares = boxes / np.tile(np.asarray(size, np.float64), 2)
    return {
        "image": io.BytesIO(encoded),
        "objects": [
            {"bbox": tfds.features.BBox(*map(float, box)), "label": int(label)}
            for box, label in zip(shares, labels, strict=True)
        ],
    }


def encode(image: np.ndarray, kind: str, **options: Any) -> bytes:
    """Returns an image [height, width, 3] uint8 as a file.

    Args:
        image: The pixels.
        kind: `png` or `jpeg`.
        options: Pillow's, as `quality`.
    """
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def clip(
    boxes: np.ndarray, frame: Sequence[float], least: float = _LEAST_VISIBLE
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what a part of an image shows of boxes.

    Args:
        boxes: [objects, 4] float, pixels of the image.
        frame: [ymin, xmin, ymax, xmax] of the part.
        least: The share of a box's area that has to lie in the frame. Of the two parts
            that a cut makes, at least one shows half of an object or more.

    Returns:
        Which boxes are shown, [objects] bool; and those, clipped, [shown, 4] float in
        pixels of the part.
    """
    top, left, bottom, right = frame
    inside = np.clip(boxes, [top, left, top, left], [bottom, right, bottom, right])
    shown = areas(inside) > 0
    shown &= areas(inside) >= least * areas(boxes)
    return shown, inside[shown] - [top, left, top, left]


def listed(names: Sequence[str], most: int = 5) -> str:
    """Returns the first names in backticks, and how many more there are."""
    shown = ", ".join(f"`{name}`" for name in names[:most])
    more = len(names) - most
    return f"{shown} and {more:,} more" if more > 0 else shown


def areas(boxes: np.ndarray) -> np.ndarray:
    """Returns [...] float, the areas of boxes [..., 4]."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
