"""Metrics of autoencoders against figures worked out by hand or a second way."""

import math

import numpy as np
import pytest

from trainers import _reconstruction, _report


@pytest.fixture(scope="module")
def images():
    drawn = np.random.default_rng(3).integers(0, 256, [24, 4, 6, 1], np.uint8)
    drawn[0] = 0
    return drawn


@pytest.fixture(scope="module")
def evaluation(images):
    labels = np.arange(len(images)) % 3
    return _reconstruction.judge(blurred, images, labels, ["ant", "bee", "cow"])


def blurred(inputs, signature_name="serving_default"):
    """An autoencoder whose latent is the mean of two rows."""
    if signature_name == "decode":
        return {"reconstruction": np.repeat(inputs["latent"], 2, axis=1)}
    target = inputs["image"] / np.float32(255)
    latent = (target[:, ::2] + target[:, 1::2]) / 2
    reconstruction = np.repeat(latent, 2, axis=1)
    error = ((reconstruction - target) ** 2).mean(axis=(1, 2, 3))
    return {
        "reconstruction": reconstruction,
        "latent": latent,
        "reconstruction_error": error,
    }


def test_cross_entropy_is_the_mean_over_pixels_in_nats():
    images = np.array([[0, 255], [51, 255]], np.uint8)  # 51 is a fifth of white
    reconstructions = np.array([[0.5, 0.5], [0.2, 0.25]])
    fifth = -(0.2 * math.log(0.2) + 0.8 * math.log(0.8))
    found = _reconstruction.binary_cross_entropies(images, reconstructions)
    np.testing.assert_allclose(
        found, [math.log(2), (fifth + math.log(4)) / 2], rtol=1e-6
    )


def test_cross_entropy_of_a_certain_mistake_is_finite():
    found = _reconstruction.binary_cross_entropies(
        np.array([[255]], np.uint8), np.array([[0.0]])
    )
    assert found[0] == pytest.approx(-math.log(1e-7), rel=1e-4)


def test_the_area_under_the_curve_is_the_share_of_pairs_in_the_right_order():
    randomness = np.random.default_rng(5)
    known = randomness.integers(0, 6, 40).astype(np.float32)  # small: ties occur
    foreign = randomness.integers(2, 9, 30).astype(np.float32)
    above = (foreign[:, None] > known[None]).mean()
    equal = (foreign[:, None] == known[None]).mean()
    assert _reconstruction.roc_auc(known, foreign) == pytest.approx(above + equal / 2)
    assert _reconstruction.roc_auc(foreign, known) == pytest.approx(
        1 - above - equal / 2
    )


def test_shuffled_blocks_are_the_same_quarters_in_another_order(images):
    shuffled = _reconstruction.foreign_images(images)["shuffled_blocks"]
    assert shuffled.shape == images.shape
    for image, other in zip(images[1:], shuffled[1:], strict=True):
        parts = [_quarters(image), _quarters(other)]
        assert sorted(parts[0]) == sorted(parts[1])
        assert parts[0] != parts[1]


def _quarters(image):
    height, width = (side // 2 for side in image.shape[:2])
    return [
        image[y : y + height, x : x + width].tobytes()
        for y in (0, height)
        for x in (0, width)
    ]


def test_upside_down_is_turned_by_half_a_turn(images):
    turned = _reconstruction.foreign_images(images)["upside_down"]
    for image, other in zip(images, turned, strict=True):
        np.testing.assert_array_equal(other, np.rot90(image, 2))


def test_foreign_images_are_the_same_each_time(images):
    first, second = (_reconstruction.foreign_images(images) for _ in range(2))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_the_plane_is_that_of_the_two_largest_singular_values():
    latents = np.random.default_rng(2).normal(size=[30, 2, 3, 4])
    flat = latents.reshape(30, -1) - latents.reshape(30, -1).mean(axis=0)
    left, values, _ = np.linalg.svd(flat, full_matrices=False)
    wanted = left[:, :2] * values[:2]
    found = _reconstruction.plane(latents)
    np.testing.assert_allclose(np.abs(found), np.abs(wanted), atol=1e-9)


def test_a_walk_begins_at_one_latent_and_ends_at_the_other(images):
    latents = blurred({"image": images[:4]})["latent"]
    steps = _reconstruction.walks(blurred, latents)
    decoded = blurred({"latent": latents}, "decode")["reconstruction"]
    np.testing.assert_allclose(steps[:, 0], decoded[::2], atol=1e-6)
    np.testing.assert_allclose(steps[:, -1], decoded[1::2], atol=1e-6)
    middle = steps[:, 2:6].mean(axis=1)  # the steps lie evenly
    np.testing.assert_allclose(middle, (decoded[::2] + decoded[1::2]) / 2, atol=1e-6)


def test_metrics_are_those_of_all_examples(evaluation, images):
    answer = blurred({"image": images})
    target = images / 255
    squares = (answer["reconstruction"] - target) ** 2
    assert evaluation.metrics["mean_squared_error"] == pytest.approx(squares.mean())
    for name in ("shuffled_blocks", "upside_down"):
        assert 0 <= evaluation.metrics[f"roc_auc_{name}"] <= 1


def test_the_text_tells_classes_and_foreign_images_apart(evaluation):
    first_words = [line.split()[0] for line in evaluation.text.splitlines() if line]
    assert ["ant", "bee", "cow", "all"] == first_words[1:5]
    assert {"shuffled", "upside"} <= set(first_words)


@pytest.mark.parametrize(("count", "channels"), [(2, 1), (3, 3), (24, 1)])
def test_every_panel_can_be_drawn_of_grey_and_colour_few_and_many(count, channels):
    images = np.random.default_rng(1).integers(0, 256, [count, 4, 4, channels])
    labels = np.zeros(count, np.int64)
    result = _reconstruction.judge(blurred, images.astype(np.uint8), labels, ["one"])
    for title, panel in result.panels.items():
        picture = _report.picture(title, panel)
        assert picture.min() < 128  # something is drawn on the white
