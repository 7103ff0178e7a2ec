"""One short training that all tests of the training loop share."""

import dataclasses

import keras
import pytest

from tests.trainers.fitting import EPOCHS
from trainers import _fit, mnist_classifier


@pytest.fixture(autouse=True)
def _same_randomness() -> None:
    """Weights and order do not depend on the tests that ran before."""
    keras.utils.set_random_seed(1)


@pytest.fixture(scope="session")
def config(datasets_dir):
    """The SMOKE Config on the tiny digits, for `EPOCHS` epochs."""
    return dataclasses.replace(
        mnist_classifier.SMOKE, datasets_dir=str(datasets_dir), epochs=EPOCHS
    )


@pytest.fixture(scope="session")
def quick(config):
    """A network that is traced in no time, where the network does not matter."""
    return dataclasses.replace(config, network="dense")


@pytest.fixture(scope="session")
def whole(config, tmp_path_factory):
    """A run that nothing interrupted. Not to be changed."""
    runs = tmp_path_factory.mktemp("whole")
    return _fit.fit(mnist_classifier, config, runs=runs, profile=True)
