"""Images with boxes: read, measured, and cut to what a detector is trained on."""

import dataclasses
import functools
import io
from typing import Any

import numpy as np
import PIL.Image
import tensorflow as tf
import tensorflow_datasets as tfds

from trainers.datasets import _boxes, _load

_MEASURED = 2000  # images, of which the sizes are asked
# A part of an object that is smaller than this share of it is no longer that object.
_LEAST_VISIBLE = 0.5
# In training: how much smaller or larger, darker or brighter an image may get.
_LARGEST_ZOOM = 1.25
_LARGEST_DIMMING = 1.25


@dataclasses.dataclass(frozen=True)
class Split:
    """All images of a split, still encoded.

    Attributes:
        images: [images] object, PNG or JPEG bytes.
        sizes: [images, 2] int, height and width in pixels.
        boxes: For each image [objects, 4] float32, [ymin, xmin, ymax, xmax] as shares
            of its height and width, 0 to 1.
        labels: For each image [objects] int64.
    """

    images: np.ndarray
    sizes: np.ndarray
    boxes: list[np.ndarray]
    labels: list[np.ndarray]


def examples(dataset: str, split: str, datasets_dir: str) -> tf.data.Dataset:
    """Returns (image [height, width, 3] uint8, boxes [n, 4], labels [n]) one by one."""
    return _load.load(dataset, split, datasets_dir, like=_boxes.features()).map(
        _flat, num_parallel_calls=tf.data.AUTOTUNE
    )


@functools.lru_cache(maxsize=3)
def read(
    dataset: str, split: str, datasets_dir: str, limit: int | None = None
) -> Split:
    """Returns a split, or its first `limit` images."""
    encoded = _load.load(
        dataset,
        split,
        datasets_dir,
        like=_boxes.features(),
        decoders={"image": tfds.decode.SkipDecoding()},
    )
    if limit is not None:
        encoded = encoded.take(limit)
    rows = list(encoded.map(_flat).as_numpy_iterator())
    images = np.empty(len(rows), object)
    images[:] = [image for image, _, _ in rows]
    return Split(
        images=images,
        sizes=np.array([_size(image) for image in images]).reshape(-1, 2),
        boxes=[boxes for _, boxes, _ in rows],
        labels=[labels for _, _, labels in rows],
    )


def measure(dataset: str, datasets_dir: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns what a detector is laid out by, from up to 2,000 training images.

    Returns:
        Sizes of images [images, 2] int, height and width in pixels; boxes
        [objects, 3] float, height and width in pixels, and the longer side of the
        image that they are in.
    """
    split = read(dataset, "train", datasets_dir, _MEASURED)
    boxes = [
        np.column_stack(
            [(part[:, 2:] - part[:, :2]) * size, np.full(len(part), size.max())]
        )
        for part, size in zip(split.boxes, split.sizes, strict=True)
    ]
    return split.sizes, np.concatenate([np.zeros([0, 3]), *boxes])


def onto_canvas(
    image: tf.Tensor, side: int, *, enlarge: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Puts an image into the upper left corner of a black square.

    Args:
        image: [height, width, 3] uint8.
        side: Of the square, in pixels.
        enlarge: See `fitted`.

    Returns:
        The square [side, side, 3] uint8, and how much of it the image takes: height
        and width [2] float32, in pixels.
    """
    placed, size = fitted(image, side, enlarge=enlarge)
    square = tf.image.pad_to_bounding_box(placed, 0, 0, side, side)
    return tf.ensure_shape(square, [side, side, 3]), size


def fitted(
    image: tf.Tensor, side: int, *, enlarge: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes an image of a size that a square has room for.

    Args:
        image: [height, width, 3] uint8.
        side: Of the square, in pixels. A larger image is made smaller, with its
            proportions kept.
        enlarge: Whether a smaller image is made larger, so as to fill the square.

    Returns:
        The image [height, width, 3] uint8, and its height and width [2] float32.
    """
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    scale = side / tf.reduce_max(size)
    scale = scale if enlarge else tf.minimum(scale, 1.0)
    wanted = tf.clip_by_value(tf.round(size * scale), 1.0, float(side))
    placed = tf.cond(
        tf.reduce_all(tf.equal(wanted, size)),
        lambda: image,
        lambda: _resized(image, tf.cast(wanted, tf.int32)),
    )
    return placed, wanted


def distort(
    image: tf.Tensor,
    boxes: tf.Tensor,
    labels: tf.Tensor,
    seed: tf.Tensor,
    *,
    side: int,
    symmetry: str,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Shows another part of an image each time: moved, zoomed, mirrored, dimmed.

    Args:
        image: [height, width, 3] uint8.
        boxes: [n, 4] float32, shares of the image.
        labels: [n] int64.
        seed: [2] int64: the same seed gives the same part.
        side: Of the part, in pixels.
        symmetry: `none`; `mirror`, left and right may change places; or `all`, which
            adds turns by right angles.

    Returns:
        The part [side, side, 3] uint8; of the boxes those of which it shows half or
        more, as shares of it, and their labels.
    """
    random = tf.random.stateless_uniform([7], seed)
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    zoom = _LARGEST_ZOOM ** (2 * random[0] - 1)
    window = side / zoom
    # A larger image is looked at through the window; a smaller one moves inside it.
    corner = (size - window) * random[1:3]
    first = corner + 0.5 / zoom - 0.5  # centres of pixels, in pixels of the image
    frame = tf.concat([first, first + (side - 1) / zoom], 0)
    part = tf.image.crop_and_resize(
        tf.cast(image, tf.float32)[None],
        (frame / tf.tile(tf.maximum(size - 1, 1), [2]))[None],
        [0],
        [side, side],
    )[0]
    pixels = boxes * tf.tile(size, [2]) - tf.tile(corner, [2])
    shown = tf.clip_by_value(pixels, 0.0, window)
    kept = _areas(shown) >= tf.maximum(_LEAST_VISIBLE * _areas(pixels), 1.0)
    boxes, labels = shown[kept] / window, labels[kept]
    part, boxes = _turned(part, boxes, random[3:6] < 0.5, symmetry)
    part *= _LARGEST_DIMMING ** (2 * random[6] - 1)
    return tf.cast(tf.clip_by_value(tf.round(part), 0, 255), tf.uint8), boxes, labels


def _turned(
    image: tf.Tensor, boxes: tf.Tensor, chosen: tf.Tensor, symmetry: str
) -> tuple[tf.Tensor, tf.Tensor]:
    """One of the views of a square that are as good as the first."""
    views = {"none": 0, "mirror": 1, "all": 3}[symmetry]
    for index in range(views):
        top, left, bottom, right = tf.unstack(boxes, axis=1)
        view, edges = (
            (image[:, ::-1], [top, 1 - right, bottom, 1 - left]),
            (image[::-1], [1 - bottom, left, 1 - top, right]),
            (tf.transpose(image, [1, 0, 2]), [left, top, right, bottom]),
        )[index]
        image = tf.where(chosen[index], view, image)
        boxes = tf.where(chosen[index], tf.stack(edges, axis=1), boxes)
    return image, boxes


def _flat(image: tf.Tensor, objects: dict[str, Any]) -> tuple[tf.Tensor, ...]:
    """What is to be found; crowds, which some data sets have as one box, are not."""
    boxes, labels = objects["bbox"], objects["label"]
    if "is_crowd" in objects:
        single = ~objects["is_crowd"]
        boxes, labels = boxes[single], labels[single]
    return image, boxes, labels


def _size(encoded: bytes) -> tuple[int, int]:
    """Height and width, from the head of the file."""
    with PIL.Image.open(io.BytesIO(encoded)) as image:
        return image.height, image.width


def _resized(image: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    resized = tf.image.resize(image, size, antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)


def _areas(boxes: tf.Tensor) -> tf.Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
