"""Averages of the weights over the steps of a training, which do better than the last.

Training goes on with the weights themselves; what is judged, drawn, kept as the best
and exported are the averages: those of the optimizer, of either flavour, so that they
are part of its state and a resumed run has them.

Source: Polyak and Juditsky 1992, "Acceleration of Stochastic Approximation by
Averaging", SIAM Journal on Control and Optimization 30(4). Here later steps weigh more.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from trainers import _flavour

_IN_USE = "_averages_in_use"


def keep(model: Any, momentum: float) -> None:
    """Has the optimizer keep averages, and `evaluate` judge them.

    Args:
        model: Compiled, of either flavour; its optimizer not built yet.
        momentum: Share of an average that stays in a step, above 0 and below 1.
    """
    inner = _flavour.inner(model.optimizer)
    inner.use_ema, inner.ema_momentum = True, momentum
    # At the end of `fit` it would put them in the place of the weights, for good.
    model.optimizer.finalize_variable_values = lambda variables: None
    model.evaluate = judged(model, model.evaluate)


def judged(model: Any, judge: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that calls `judge` while the averages are in use."""

    def of_averages(*args: Any, **kwargs: Any) -> Any:
        with used(model):
            return judge(*args, **kwargs)

    return of_averages


@contextlib.contextmanager
def used(model: Any) -> Iterator[None]:
    """Puts the averages, if there are any, in the place of the weights for a while.

    Outside of steps, and on all replicas; no checkpoint may be made within.
    """
    if getattr(model, _IN_USE, False):
        yield
        return
    _exchange(model)
    try:
        yield
    finally:
        _exchange(model)


def served(model: Any) -> list[Any]:
    """Returns a variable for each of a model's weights: its average, or itself."""
    if getattr(model, _IN_USE, False):
        return list(model.weights)
    averages = {id(weight): average for weight, average in _pairs(model)}
    return [averages.get(id(weight), weight) for weight in model.weights]


def _exchange(model: Any) -> None:
    pairs = _pairs(model)
    for weight, average in pairs:
        value = tf.identity(weight)
        weight.assign(tf.identity(average))
        average.assign(value)
    setattr(model, _IN_USE, bool(pairs) and not getattr(model, _IN_USE, False))


def _pairs(model: Any) -> list[tuple[Any, Any]]:
    """Each trained weight with its average; nothing without them."""
    inner = _flavour.inner(model.optimizer)
    averages = getattr(inner, "_model_variables_moving_average", [])
    return list(zip(model.trainable_variables, averages, strict=False))
