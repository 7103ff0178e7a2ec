"""Short trainings of the MNIST classifier, as tests put them together."""

import types

import numpy as np
import pytest

from trainers import _checkpoints, _fit, mnist_classifier
from trainers._guard import Guard

EPOCHS = 3
STEPS = 38  # in an epoch: 600 / 16, rounded up


class Killed(BaseException):
    """Stands for the end of the process."""


def only_run(runs):
    (path,) = (runs / "mnist_classifier").iterdir()
    return path


def fit_and_close(config, runs, module=mnist_classifier, strategy="auto"):
    fitted = _fit.fit(module, config, runs=runs, strategy=strategy)
    fitted.run.close()  # as the end of the process would
    return fitted


def altered(**changes):
    """The model file with some of its functions replaced."""
    return types.SimpleNamespace(**(vars(mnist_classifier) | changes))


def at_step(patch, number, act, times=1):
    """Has `act` called within a step, counted from 1 over all epochs.

    Args:
        patch: A MonkeyPatch.
        number: The step.
        act: Called when the loss of the step has been judged.
        times: Not any more when the step is made once more often.
    """
    judge, left = Guard.step, [act] * times

    def judged(guard, mean):
        judge(guard, mean)
        progress = guard._progress
        if left and progress.epochs * guard._steps + progress.step + 1 == number:
            left.pop()()

    patch.setattr(Guard, "step", judged)


def summaries(patch, module):
    """Returns the names of the scalars that TensorBoard is to be told, as they come.

    Keras's callback tells of every step, even where that is written nowhere, which
    takes 2.7 ms of each.

    Args:
        patch: A MonkeyPatch.
        module: `tf.summary`, as the flavour has it.
    """
    scalar, names = module.scalar, []

    def noted(name, *args, **kwargs):
        names.append(name)
        return scalar(name, *args, **kwargs)

    patch.setattr(module, "scalar", noted)
    return names


def kill(*_):
    """Ends the training, as far as that can be had in this process."""
    raise Killed


def fit_until(step, config, runs, module=mnist_classifier, **options):
    """Trains until it is killed within a step; see `at_step`."""
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, step, kill)
        with pytest.raises(Killed):
            fit_and_close(config, runs, module, **options)


def assert_same_training(resumed, whole):
    """All but the time that it took is equal, to the last bit."""
    # The optimizer, its loss scale, the random states.
    found, wanted = (
        _checkpoints.newest(fitted.run.checkpoints)[1] for fitted in (resumed, whole)
    )
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)
    for found, wanted in zip(resumed.model.weights, whole.model.weights, strict=True):
        np.testing.assert_array_equal(found.numpy(), wanted.numpy())
    assert resumed.history.keys() == whole.history.keys()
    for name, curve in whole.history.items():
        if name != "examples_per_second":
            assert resumed.history[name] == curve, name
    assert resumed.metrics == whole.metrics
