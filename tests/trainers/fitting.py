"""Short trainings of the MNIST classifier, as tests put them together."""

import types

from trainers import _fit, mnist_classifier

EPOCHS = 3


def only_run(runs):
    (path,) = (runs / "mnist_classifier").iterdir()
    return path


def fit_and_close(config, runs, module=mnist_classifier):
    fitted = _fit.fit(module, config, runs=runs)
    fitted.run.close()  # as the end of the process would
    return fitted


def altered(**changes):
    """The model file with some of its functions replaced."""
    return types.SimpleNamespace(**(vars(mnist_classifier) | changes))
