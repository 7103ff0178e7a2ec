"""Boxes stay around their objects, whatever happens to the image."""

import numpy as np
import pytest
import tensorflow as tf

from savedmodels.errors import UsageError
from trainers import _scenes
from trainers.datasets import _boxes, _features, _load

SIDE = 96
# Objects are so far apart that most parts show more than one, in colours of their own.
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
BOXES = np.array([[30, 20, 60, 44], [70, 90, 94, 120], [100, 30, 124, 60]])


@pytest.fixture
def image():
    pixels = np.zeros([150, 140, 3], np.uint8)
    for (top, left, bottom, right), colour in zip(BOXES, COLOURS, strict=True):
        pixels[top:bottom, left:right] = colour
    return pixels


def shares(pixels):
    return (BOXES / np.tile(pixels.shape[:2], 2)).astype(np.float32)


def distorted(image, seed, side=SIDE, symmetry="none"):
    found = _scenes.distort(
        tf.constant(image),
        tf.constant(shares(image)),
        tf.constant([0, 1, 2], tf.int64),
        tf.constant([seed, 5], tf.int64),
        side=side,
        symmetry=symmetry,
    )
    return [part.numpy() for part in found]


def extent(image, colour):
    """[ymin, xmin, ymax, xmax] of what has this colour, in pixels."""
    bright = image[..., colour] > 100
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])


@pytest.mark.parametrize("symmetry", ["none", "mirror", "all"])
def test_a_box_is_where_its_object_is_shown(image, symmetry):
    told = 0
    for seed in range(40):
        part, boxes, labels = distorted(image, seed, symmetry=symmetry)
        assert part.shape == (SIDE, SIDE, 3)
        for box, label in zip(boxes, labels, strict=True):
            np.testing.assert_allclose(box * SIDE, extent(part, label), atol=1.1)
            told += 1
    assert told > 40


def test_an_object_of_which_less_than_half_is_shown_is_not_told(image):
    seen = 0
    for seed in range(60):
        part, _, labels = distorted(image, seed)
        zoom = zoom_of(seed)
        for label in set(range(3)) - set(labels.tolist()):
            area = (part[..., label] > 100).sum() / zoom**2
            whole = np.prod(BOXES[label][2:] - BOXES[label][:2])
            assert area <= 0.55 * whole  # edges are blurred by half a pixel
            seen += area > 0
    assert seen  # some were cut


def zoom_of(seed):
    """By what the first random number makes of it: 0.8 to 1.25 times."""
    random = tf.random.stateless_uniform([7], tf.constant([seed, 5], tf.int64))
    return float(1.25 ** (2 * random[0] - 1))


def test_views_are_those_of_the_symmetry(image):
    """The red object is higher than wide, in all views but turned ones."""
    shapes = {"none": set(), "mirror": set(), "all": set()}
    for symmetry, found in shapes.items():
        for seed in range(60):
            _, boxes, labels = distorted(image, seed, 200, symmetry)
            assert set(labels) == {0, 1, 2}  # a larger part shows everything
            (first, second, third) = boxes[np.argsort(labels)]
            found.add((
                bool(np.subtract(*first[[2, 0]]) > np.subtract(*first[[3, 1]])),
                bool(first[1] < second[1]),
                bool(first[0] < third[0]),
            ))  # fmt: skip
    assert shapes["none"] == {(True, True, True)}
    assert shapes["mirror"] == {(True, True, True), (True, False, True)}
    assert len(shapes["all"]) == 8


def test_the_same_seed_gives_the_same_part(image):
    for a, b in zip(distorted(image, 3), distorted(image, 3), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_image_smaller_than_the_part_is_whole_in_it():
    image = np.full([20, 30, 3], 200, np.uint8)
    for seed in range(20):
        part, *_ = _scenes.distort(
            tf.constant(image),
            tf.zeros([0, 4]),
            tf.zeros([0], tf.int64),
            tf.constant([seed, 1], tf.int64),
            side=SIDE,
            symmetry="none",
        )
        height, width = np.subtract(*np.split(extent(part.numpy(), 0), 2)) * -1
        assert 0.8 * 20 - 2 <= height <= 1.25 * 20 + 2
        assert 0.8 * 30 - 2 <= width <= 1.25 * 30 + 2


@pytest.mark.parametrize(
    ("size", "enlarge", "wanted"),
    [
        ((50, 100), True, (32, 64)),
        ((10, 5), True, (64, 32)),
        ((10, 5), False, (10, 5)),
        ((128, 256), False, (32, 64)),
        ((1, 1), True, (64, 64)),
        ((8000, 1), True, (64, 1)),
    ],
)
def test_an_image_fills_the_upper_left_corner_of_the_square(size, enlarge, wanted):
    image = tf.fill([*size, 3], tf.constant(200, tf.uint8))
    square, taken = _scenes.onto_canvas(image, 64, enlarge=enlarge)
    assert tuple(taken.numpy()) == wanted
    height, width = wanted
    assert square.shape == (64, 64, 3)
    assert (square.numpy()[:height, :width] == 200).all()
    assert square.numpy().sum() == 600 * height * width


def test_a_split_is_read_with_its_sizes_and_boxes(datasets_dir):
    split = _scenes.read("tree_crowns", "test", str(datasets_dir))
    assert split.sizes.tolist() == [[450, 400]]
    ((boxes,), (labels,)) = split.boxes, split.labels
    assert boxes.shape == (len(labels), 4)
    assert ((boxes >= 0) & (boxes <= 1)).all()
    assert split.images[0].startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["tfds:voc/2007", "tfds:coco/2017", "tree_crowns"])
def test_data_sets_of_objects_in_images_fit(datasets_dir, name):
    found = _load._builder(name, datasets_dir).info.features
    _features.check(name, found, _boxes.features())


def test_a_data_set_without_boxes_is_refused_in_words(datasets_dir):
    with pytest.raises(UsageError) as caught:
        _scenes.examples("mnist", "train", str(datasets_dir))
    message = str(caught.value)
    assert "Data set `mnist` does not fit this model. Expected `image`" in message
    assert "Received: [28, 28, 1] uint8" in message
