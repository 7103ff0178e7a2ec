"""What only the MNIST classifier promises; test_every_trainer.py asks the rest."""

import dataclasses
import io

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from savedmodels.errors import UsageError
from tests.tiny_packages import mnist as tiny_mnist
from trainers import _config, mnist_classifier
from trainers.mnist_classifier import SMOKE, Config


@pytest.fixture(scope="module")
def smoke(datasets_dir):
    return dataclasses.replace(SMOKE, datasets_dir=str(datasets_dir))


@pytest.fixture(scope="module")
def signatures(smoke):
    return mnist_classifier.make_signatures(mnist_classifier.make_model(smoke), smoke)


def test_conv_has_the_parameters_that_the_network_line_implies(datasets_dir):
    conv = 5 * 5 * 1 * 32 + 3 * 3 * 32 * 64 + 3 * 3 * 64 * 128
    batch_norm = 4 * (32 + 64 + 128)
    # Unpadded: 28 - 4, halved, - 2, halved, - 2.
    logits = (3 * 3 * 128) * 10 + 10
    model = mnist_classifier.make_model(Config(datasets_dir=str(datasets_dir)))
    assert model.count_params() == conv + batch_norm + logits


def test_conv_takes_more_layers_than_the_image_can_be_halved(smoke):
    config = dataclasses.replace(smoke, filters=(4,) * 7)
    model = mnist_classifier.make_model(config)
    assert model.output_shape == (None, 10)
    assert model.layers[-3].output.shape == (None, 4)  # one pixel is left


def test_dense_has_the_parameters_of_plain_layers(smoke):
    config = dataclasses.replace(smoke, network="dense", hidden_units=(10, 20))
    model = mnist_classifier.make_model(config)
    layers = (784 * 10 + 10) + (10 * 20 + 20) + (20 * 10 + 10)
    assert model.count_params() == layers


def test_can_learn_one_batch_by_heart(smoke):
    # Epochs, so that the learning rate does not fall before the end.
    config = dataclasses.replace(smoke, dropout=0.0, distortion=0.0, epochs=20)
    images, labels = next(iter(mnist_classifier.make_datasets(config)[0]))
    model = mnist_classifier.make_model(config)
    # One epoch of 100 steps: what an epoch costs around its steps is not the point.
    model.fit(tf.data.Dataset.from_tensors((images, labels)).repeat(100), verbose=0)
    scored = model.evaluate(images, labels, verbose=0, return_dict=True)
    assert scored["accuracy"] == 1


def test_the_learning_rate_rises_then_falls_to_zero(smoke):
    rates = mnist_classifier.make_model(smoke).optimizer._learning_rate
    steps = 2 * 38  # epochs, and 600 examples in batches of 16
    assert float(rates(7)) == pytest.approx(smoke.learning_rate)  # a tenth of them
    assert float(rates(0)) < float(rates(3)) < float(rates(7)) > float(rates(40))
    assert float(rates(steps)) == pytest.approx(0, abs=1e-9)


def test_scores_are_a_distribution_over_the_ten_digits(signatures):
    answer = signatures["serving_default"](tf.zeros([3, 28, 28, 1], tf.uint8))
    assert answer["scores"].shape == (3, 10)
    np.testing.assert_allclose(tf.reduce_sum(answer["scores"], axis=-1), 1, rtol=1e-6)
    assert answer["class_id"].dtype == tf.int64


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_classify_answers_as_serving_default_does(signatures, smoke, kind):
    image = mnist_classifier.make_examples(smoke)["serving_default"]["image"][:1]
    buffer = io.BytesIO()
    PIL.Image.fromarray(image[0, :, :, 0]).save(buffer, kind)
    if kind == "JPEG":  # the pixels have changed: decoded by another library
        image = np.asarray(PIL.Image.open(buffer))[None, :, :, None]
    record = tf.train.Example()
    record.features.feature["image/encoded"].bytes_list.value.append(buffer.getvalue())

    classified = signatures["classify"](tf.constant([record.SerializeToString()]))
    predicted = signatures["serving_default"](tf.constant(image))
    assert classified["classes"].numpy().tolist() == [[b"%d" % n for n in range(10)]]
    # JPEG decoders may differ by one step of brightness.
    np.testing.assert_allclose(classified["scores"], predicted["scores"], atol=5e-3)


def _distorted(image, **changes):
    config = Config(**changes)
    seed = tf.constant([1, 2], tf.int64)
    moved, _ = mnist_classifier._distort(
        image, tf.zeros(len(image)), seed=seed, config=config
    )
    return moved.numpy()


def test_distortion_moves_a_dot_by_a_few_pixels_and_no_more():
    images = np.zeros([200, 28, 28, 1], np.uint8)
    images[:, 13:15, 13:15] = 255  # at the centre: turning does not move it
    moved = _distorted(images)
    ink = moved[..., 0].astype(float)
    axis = np.arange(28) - 13.5
    x = (ink.sum(1) * axis).sum(1) / ink.sum((1, 2))
    y = (ink.sum(2) * axis).sum(1) / ink.sum((1, 2))
    # 2 pixels, 10 % of it for the stretch, and as much for what bilinear rounds.
    assert 1.5 < np.abs(x).max() < 2.5
    assert 1.5 < np.abs(y).max() < 2.5
    assert abs(x.mean()) < 0.3
    assert len(np.unique(np.stack([x, y]), axis=1).T) > 100  # each in its own way


def test_no_distortion_leaves_every_pixel():
    images = tiny_mnist.digits()["train"][0][:32, :, :, None]
    np.testing.assert_array_equal(_distorted(images, distortion=0.0), images)


@pytest.mark.parametrize(
    "assignment",
    ["network=transformer", "filters=", "filters=0", "dropout=1", "distortion=-1"],
)
def test_values_that_make_no_network_are_refused(assignment):
    with pytest.raises(UsageError, match=assignment.partition("=")[0]):
        _config.override(Config(), [assignment])
