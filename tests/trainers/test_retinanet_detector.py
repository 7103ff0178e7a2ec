"""What only the detector promises: boxes of any image, and one name an object."""

import dataclasses
import io

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from trainers import _detection_plan, _steps, retinanet_detector
from trainers._detect import Detector
from trainers.retinanet_detector import SMOKE

MOST = SMOKE.max_detections


class Finder:
    """Stands in for the network: tells what it is asked, answers what it is told."""

    def __init__(self, boxes, scores, classes):
        self.seen = []
        self._answer = boxes, scores, classes

    def detect(self, images, sizes):
        self.seen.append((images.numpy(), sizes.numpy()))
        boxes, scores, classes = self._answer
        room = MOST - len(scores)
        return {
            "detection_boxes": tf.constant([[*boxes, *[[0.0] * 4] * room]], tf.float32),
            "detection_scores": tf.constant([[*scores, *[0.0] * room]], tf.float32),
            "detection_classes": tf.constant([[*classes, *[0] * room]], tf.int32),
        }


class SpotFinder:
    """Stands in for the network: finds, in each image, the box around what is white."""

    def __init__(self):
        self.seen = None

    def detect(self, images, sizes):
        self.seen = images.numpy()
        boxes = []
        for image in self.seen:
            rows, columns = np.nonzero(image[..., 0] == 255)
            box = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            boxes.append([box])
        return {
            "detection_boxes": tf.constant(boxes, tf.float32),
            "detection_scores": tf.fill([len(boxes), 1], 0.9),
            "detection_classes": tf.ones([len(boxes), 1], tf.int32),
        }


@pytest.fixture(scope="module")
def config(datasets_dir):
    return dataclasses.replace(SMOKE, datasets_dir=str(datasets_dir))


@pytest.fixture(scope="module")
def plan(config):
    return _detection_plan.plan(config)


def detect(finder, plan, image=None, views=1):
    image = np.zeros([64, 64, 3], np.uint8) if image is None else image
    found = Detector(finder, plan, MOST, views).one(tf.constant(image))
    return {alias: value.numpy() for alias, value in found.items()}


def test_an_object_is_never_returned_under_two_names(plan):
    # Moved by 4 of 32 pixels: overlap 28 / 36 = 0.78; by 8: 24 / 40 = 0.6.
    boxes = [[0, 0, 32, 32], [0, 4, 32, 36], [0, 8, 32, 40]]
    found = detect(Finder(boxes, [0.9, 0.8, 0.7], [3, 9, 5]), plan)
    assert found["num_detections"] == 2
    assert found["detection_classes"][:2].tolist() == [2, 4]
    assert found["detection_labels"][:2].tolist() == [b"2", b"4"]
    assert found["detection_scores"][:2] == pytest.approx([0.9, 0.7])


def test_boxes_are_shares_of_the_image_and_not_of_the_square(plan):
    # 40x20 pixels fill 64x32 of the square: a box of all of it is the whole image.
    image = np.full([20, 40, 3], 7, np.uint8)
    finder = Finder([[0, 0, 32, 64], [8, 16, 24, 48]], [0.9, 0.8], [1, 2])
    found = detect(finder, plan, image)
    ((square, size),) = finder.seen
    np.testing.assert_array_equal(size, [[32, 64]])
    assert (square[0, :32] == 7).all()
    assert (square[0, 32:] == 0).all()
    np.testing.assert_allclose(
        found["detection_boxes"][:2], [[0, 0, 1, 1], [0.25, 0.25, 0.75, 0.75]]
    )


@pytest.mark.parametrize("views", [1, 2, 4])
def test_every_view_tells_of_the_image_as_it_is(plan, views):
    image = np.zeros([32, 64, 3], np.uint8)
    image[2:10, 40:60] = 255
    finder = SpotFinder()
    found = detect(finder, plan, image, views)
    assert len(finder.seen) == views
    assert len({view.tobytes() for view in finder.seen}) == views
    # One object, not one for each view: all of them agree.
    assert found["num_detections"] == 1
    np.testing.assert_allclose(
        found["detection_boxes"][0], [2 / 32, 40 / 64, 10 / 32, 60 / 64], rtol=1e-6
    )


def test_what_is_beyond_the_last_detection_is_empty(plan):
    found = detect(Finder([[0, 0, 32, 32]], [0.9], [3]), plan)
    assert found["num_detections"] == 1
    assert (found["detection_boxes"][1:] == 0).all()
    assert (found["detection_scores"][1:] == 0).all()
    assert (found["detection_classes"][1:] == -1).all()
    assert (found["detection_labels"][1:] == b"").all()


@pytest.fixture(scope="module")
def signatures(smoke_fitted):
    return smoke_fitted("retinanet_detector").signatures


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def ask(signatures, *files):
    found = signatures["serving_default"](tf.constant(list(files)))
    return {alias: value.numpy() for alias, value in found.items()}


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("L", "png"), ("RGBA", "png"), ("I;16", "png"), ("P", "png"), ("LA", "png"),
     ("L", "jpeg"), ("CMYK", "jpeg")],
)  # fmt: skip
def test_every_kind_of_image_is_answered(signatures, mode, kind):
    grey = PIL.Image.fromarray(np.arange(64 * 48, dtype=np.uint16).reshape(64, 48))
    image = grey if mode == "I;16" else grey.convert("L").convert("RGB").convert(mode)
    found = ask(signatures, encoded(image, kind))
    assert np.isfinite(found["detection_boxes"]).all()


def test_images_of_different_sizes_are_answered_in_one_batch(signatures):
    sizes = [(1, 1), (3, 200), (128, 128), (640, 31)]
    files = [encoded(PIL.Image.new("RGB", size, "red"), "png") for size in sizes]
    together = ask(signatures, *files)
    for row, file in enumerate(files):
        for alias, alone in ask(signatures, file).items():
            np.testing.assert_array_equal(together[alias][row], alone[0])


def test_a_photo_of_8000_pixels_is_answered(signatures):
    photo = PIL.Image.new("RGB", (8000, 6000), "green")
    assert ask(signatures, encoded(photo, "jpeg"))["num_detections"].shape == (1,)


@pytest.mark.parametrize("data", [b"", b"no image", b"GIF89a"])
def test_what_is_no_image_is_refused(signatures, data):
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected PNG or JPEG"):
        ask(signatures, data)


def test_a_damaged_image_is_refused(signatures):
    whole = encoded(PIL.Image.new("RGB", (64, 64), "red"), "png")
    with pytest.raises(tf.errors.InvalidArgumentError):
        ask(signatures, whole[: len(whole) // 2])


def test_pixels_are_answered_as_the_file_that_holds_them(signatures):
    pixels = np.random.default_rng(1).integers(0, 256, [2, 50, 70, 3], np.uint8)
    files = [encoded(PIL.Image.fromarray(image), "png") for image in pixels]
    found = signatures["pixels"](tf.constant(pixels))
    for alias, wanted in ask(signatures, *files).items():
        np.testing.assert_array_equal(found[alias].numpy(), wanted)


def test_an_epoch_of_a_small_data_set_goes_through_it_more_than_once(config):
    train, validation = retinanet_detector.make_datasets(config)
    # 48 scenes are 6 batches of 8: for 20 steps at least, four times.
    assert train.cardinality().numpy() == 24
    assert validation.cardinality().numpy() == 5  # 40 scenes, once


def test_every_weight_of_the_network_learns(config):
    model = retinanet_detector.make_model(config)
    assert model.name == "retinanet_detector"
    # The stage of the ResNet that no level reads is left out.
    batch = next(iter(retinanet_detector.make_datasets(config)[0]))
    with tf.GradientTape() as tape:
        outputs = model(batch[0], training=True)
        loss = sum(tf.reduce_sum(o**2) for part in outputs.values()
                   for o in tf.nest.flatten(part))  # fmt: skip
    gradients = tape.gradient(loss, model.trainable_variables)
    assert all(gradient is not None for gradient in gradients)


@pytest.mark.slow
def test_a_batch_in_more_parts_than_images_has_the_gradient_of_the_whole(config):
    (batch,) = retinanet_detector.make_datasets(config)[0].take(1)
    one = tf.nest.map_structure(lambda tensor: tensor[:1], batch)
    model = retinanet_detector.make_model(config)
    start = [weight.numpy() for weight in model.weights]
    found = []
    for parts in (1, 3):
        in_parts = dataclasses.replace(config, gradient_accumulation_steps=parts)
        _steps.attach(model, in_parts)
        for weight, value in zip(model.weights, start, strict=True):
            weight.assign(value)
        logs = model.train_step(one)
        found.append({name: float(value) for name, value in logs.items()})
    assert found[1] == pytest.approx(found[0], rel=1e-4)
    assert found[0]["gradient_norm"] > 0
