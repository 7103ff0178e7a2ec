"""What only the autoencoder promises; test_every_trainer.py asks the rest."""

import dataclasses
import inspect

import numpy as np
import pytest
import tensorflow as tf

from savedmodels.errors import UsageError
from trainers import _config, _fit, _report, conv_autoencoder
from trainers.conv_autoencoder import SMOKE, Config


@pytest.fixture(scope="module")
def smoke(datasets_dir):
    return dataclasses.replace(SMOKE, datasets_dir=str(datasets_dir))


@pytest.fixture(scope="module")
def signatures(smoke):
    return conv_autoencoder.make_signatures(conv_autoencoder.make_model(smoke), smoke)


@pytest.fixture(scope="module")
def images(smoke):
    return conv_autoencoder.make_examples(smoke)["serving_default"]["image"]


def test_has_the_parameters_that_the_network_line_implies(datasets_dir):
    encoder = 3 * 3 * 1 * 64 + (3 * 3 * 64 * 32 + 32)
    decoder = 3 * 3 * 32 * 64 + (5 * 5 * 64 * 1 + 1)
    batch_norm = 4 * (64 + 64)
    model = conv_autoencoder.make_model(Config(datasets_dir=str(datasets_dir)))
    assert model.count_params() == encoder + decoder + batch_norm


def test_can_learn_one_batch_by_heart(smoke):
    # Epochs, so that the learning rate does not fall before the end.
    config = dataclasses.replace(smoke, filters=(32,), latent_channels=16, epochs=20)
    images, target = next(iter(conv_autoencoder.make_datasets(config)[0]))
    model = conv_autoencoder.make_model(config)
    again = tf.data.Dataset.from_tensors((images, target)).repeat(300)
    model.fit(again, verbose=0)
    scored = model.evaluate(images, target, verbose=0, return_dict=True)
    # A tenth of what the best single grey for all pixels would leave.
    assert scored["mean_squared_error"] < 0.1 * np.var(target)


def test_the_target_is_the_image_itself_in_0_to_1(smoke):
    for dataset in conv_autoencoder.make_datasets(smoke):
        image, target = next(iter(dataset))
        assert image.dtype == tf.uint8
        np.testing.assert_allclose(target, image.numpy() / 255, rtol=1e-6)


def test_the_error_is_the_mean_square_of_what_is_missing(signatures, smoke, images):
    answer = signatures["serving_default"](tf.constant(images))
    assert answer["reconstruction"].shape == (32, 28, 28, 1)
    assert answer["latent"].shape == (32, 7, 7, smoke.latent_channels)
    difference = answer["reconstruction"].numpy() - images / 255
    wanted = [np.mean(square) for square in difference**2]
    np.testing.assert_allclose(answer["reconstruction_error"], wanted, rtol=1e-5)


def test_decode_gives_back_what_was_reconstructed_from_the_latent(signatures, images):
    answer = signatures["serving_default"](tf.constant(images))
    decoded = signatures["decode"](answer["latent"])["reconstruction"]
    np.testing.assert_allclose(decoded, answer["reconstruction"], atol=1e-6)


def test_an_image_is_reconstructed_alike_whatever_else_is_in_its_batch(
    signatures, images
):
    # Batch normalisation must not look at the batch when it serves.
    alone = signatures["serving_default"](tf.constant(images[:1]))
    beside = np.concatenate([images[:1], np.full_like(images, 255)])
    together = signatures["serving_default"](tf.constant(beside))
    for alias, output in alone.items():
        np.testing.assert_allclose(output[0], together[alias][0], atol=1e-6)


def test_both_losses_can_be_trained_on(smoke):
    for loss in inspect.get_annotations(Config)["loss"].__args__:
        config = dataclasses.replace(smoke, loss=loss)
        train, _ = conv_autoencoder.make_datasets(config)
        model = conv_autoencoder.make_model(config)
        scored = model.evaluate(train.take(1), verbose=0, return_dict=True)
        assert scored["loss"] != scored.get(loss)  # each is reported once
        assert len(scored) == 2


def test_more_filters_halve_the_image_more_often(smoke):
    config = dataclasses.replace(smoke, filters=(4,), latent_channels=3)
    assert conv_autoencoder._latent_shape((32, 64, 3), config) == (8, 16, 3)
    deeper = dataclasses.replace(config, filters=(4, 4, 4))
    assert conv_autoencoder._latent_shape((32, 64, 3), deeper) == (2, 4, 3)


def test_colour_images_of_another_size_come_back_as_such(smoke, monkeypatch):
    # As those of `tfds:cifar10`, which are a download away.
    shape = (32, 32, 3)
    monkeypatch.setattr(conv_autoencoder, "_image_shape", lambda config: shape)
    model = conv_autoencoder.make_model(smoke)
    signatures = conv_autoencoder.make_signatures(model, smoke)
    answer = signatures["serving_default"](tf.zeros([2, *shape], tf.uint8))
    assert answer["reconstruction"].shape == (2, *shape)
    assert answer["latent"].shape == (2, 8, 8, smoke.latent_channels)
    decoded = signatures["decode"](answer["latent"])["reconstruction"]
    assert decoded.shape == (2, *shape)


def test_images_that_cannot_be_halved_so_often_are_refused(smoke):
    # 28 is 4 times 7: two halvings, and no third.
    config = dataclasses.replace(smoke, filters=(4, 4))
    with pytest.raises(UsageError, match=r"multiple of 8 pixels.*\[28, 28, 1\]"):
        conv_autoencoder.make_model(config)


@pytest.mark.parametrize(
    "assignment", ["filters=", "filters=0", "latent_channels=0", "loss=hinge"]
)
def test_values_that_make_no_network_are_refused(assignment):
    with pytest.raises(UsageError, match=assignment.partition("=")[0]):
        _config.override(Config(), [assignment])


def test_pictures_ask_the_version_to_decode_and_metrics_do_not(signatures, smoke):
    asked = []
    answer = _fit.answer_of(signatures)

    def recorded(inputs, signature_name="serving_default"):
        asked.append(signature_name)
        return answer(inputs, signature_name)

    evaluation = conv_autoencoder.evaluate(recorded, smoke, "test")
    assert set(asked) == {"serving_default"}
    assert {"binary_cross_entropy", "mean_squared_error"} <= set(evaluation.metrics)
    _report.picture("walk", evaluation.panels["walks through the latents"])
    assert asked[-1] == "decode"
