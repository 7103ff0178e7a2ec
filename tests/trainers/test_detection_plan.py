"""Sizes, levels and anchors against what the boxes ask for."""

import dataclasses

import numpy as np
import pytest

from trainers import _detection_plan
from trainers._detection_plan import canvas, levels, ratios, smallest_anchor
from trainers.retinanet_detector import Config


def squares(side, image_side, count=100):
    return np.tile([side, side, image_side], [count, 1]).astype(float)


def images(height, width, count=10):
    return np.tile([height, width], [count, 1])


def test_small_images_fill_a_square_of_their_own_size():
    assert canvas(images(96, 128), squares(30, 128), 0) == (128, 128)


def test_large_images_of_large_objects_are_made_smaller():
    assert canvas(images(480, 640), squares(200, 640), 0) == (256, 256)


def test_large_images_of_small_objects_keep_their_size():
    # 95 % of the objects are to fit twice into a part of 160 pixels.
    assert canvas(images(400, 390), squares(79, 400), 0) == (160, 400)
    assert canvas(images(400, 390), squares(81, 400), 0) == (256, 256)
    assert canvas(images(5000, 4000), squares(79, 5000), 0) == (160, 1024)


def test_the_side_that_a_config_asks_for_is_taken():
    assert canvas(images(128, 128), squares(47, 128), 64) == (64, 64)
    assert canvas(images(400, 400), squares(30, 400), 64) == (64, 400)


@pytest.mark.parametrize(
    ("smallest", "wanted"), [(16, 2.5), (19.2, 3.0), (2, 1.0), (200, 4.0)]
)
def test_the_smallest_anchor_is_a_quarter_larger_than_small_objects(smallest, wanted):
    # Anchors of level 3 are 8 pixels times their size.
    assert smallest_anchor([smallest] * 100) == wanted


def test_the_levels_end_where_the_largest_objects_do():
    # The last anchor of level n is size x 2^n x 2^(2/3); objects may be 1.25 larger.
    reach = 2 ** (2 / 3) * 1.25
    for level in (4, 5, 6, 7):
        most = 2.0 * 2**level * reach
        assert levels([most * 0.99] * 50, 2.0) == level
        assert levels([most * 1.01] * 50, 2.0) == min(level + 1, 7)
    assert levels([1.0] * 50, 2.0) == 4


def test_ratios_are_those_that_objects_have():
    assert ratios([1.0] * 50) == (1.0,)
    assert ratios([0.3] * 10 + [1.0] * 90) == (0.5, 1.0)
    assert ratios([0.3] * 10 + [1.0] * 80 + [3.0] * 10) == (0.5, 1.0, 2.0)
    assert ratios([0.3] * 2 + [1.0] * 98) == (1.0,)


@pytest.fixture
def config(datasets_dir):
    return Config(datasets_dir=str(datasets_dir))


def test_digits_are_never_mirrored_and_trees_are_turned(config):
    trees = dataclasses.replace(config, dataset="tree_crowns")
    digits = _detection_plan.plan(config)
    assert (digits.symmetry, digits.side, digits.served_side) == ("none", 128, 128)
    assert digits.class_names == tuple("0123456789")
    crowns = _detection_plan.plan(trees)
    assert (crowns.symmetry, crowns.side, crowns.enlarge) == ("all", 160, False)
    assert crowns.class_names == ("Tree",)
    # Every level halves the square once more.
    for plan in (digits, crowns):
        assert plan.side % 2**plan.max_level == 0
        assert plan.served_side % 2**plan.max_level == 0


def test_what_a_config_says_is_not_decided_again(config):
    said = dataclasses.replace(
        config, anchor_size=1.5, aspect_ratios=(3.0,), symmetry="mirror", epoch_steps=7
    )
    plan = _detection_plan.plan(said)
    assert (plan.anchor_size, plan.aspect_ratios) == (1.5, (3.0,))
    assert (plan.symmetry, plan.steps) == ("mirror", 7)


def test_an_epoch_has_fewer_steps_of_larger_images(config):
    assert _detection_plan.plan(config).steps == 500
    larger = dataclasses.replace(config, dataset="tree_crowns")
    assert _detection_plan.plan(larger).steps == 320  # 500 x (128 / 160)^2
