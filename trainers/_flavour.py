"""Keras 3 and tf_keras, Keras 2: what the training loop has to do differently.

Models of our own are Keras 3. Those of tf-models-official are tf_keras, which is
imported by the files of such models alone; so nothing here imports it either.
"""

import importlib
import sys
import types
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

_KERAS_2 = "tf_keras"
# What a step tells of itself alone, among the running means of its epoch.
OF_ONE_STEP = ("gradient_norm",)


def of(model: Any) -> types.ModuleType:
    """Returns the library that a model was built with: `keras` or `tf_keras`.

    Raises:
        TypeError: It is a model of neither.
    """
    for kind in type(model).__mro__:
        name = kind.__module__.partition(".")[0]
        if name in ("keras", _KERAS_2):
            return importlib.import_module(name)
    raise TypeError(
        "A model of Keras or tf_keras was expected. "
        f"Received: {type(model).__module__}.{type(model).__qualname__}"
    )


def seed(number: int) -> None:
    """Seeds weights, dropout and order of whatever model is built next."""
    keras.utils.set_random_seed(number)
    if (keras_2 := sys.modules.get(_KERAS_2)) is not None:
        # It draws from a generator of its own as soon as anybody has seeded that.
        keras_2.utils.set_random_seed(number)
        # Else its dropout draws from the state of TensorFlow's kernels, which no
        # checkpoint can hold.
        keras_2.backend.experimental.enable_tf_random_generator()


def dtype_policy() -> tuple[Any, Any]:
    """Returns what `set_dtype_policy` takes to come back to the present policies."""
    keras_2 = sys.modules.get(_KERAS_2)
    policy = None if keras_2 is None else keras_2.mixed_precision.global_policy()
    return keras.config.dtype_policy(), policy


def set_dtype_policy(policy: Any, keras_2_policy: Any) -> None:
    """Makes layers that are built from now on compute in another precision.

    Args:
        policy: Of Keras 3: a name, or what `dtype_policy` returned.
        keras_2_policy: Of tf_keras, if that is imported; None leaves it.
    """
    keras.config.set_dtype_policy(policy)
    if (keras_2 := sys.modules.get(_KERAS_2)) is not None and keras_2_policy:
        keras_2.mixed_precision.set_global_policy(keras_2_policy)


def state(model: Any) -> list[Any]:
    """Returns the variables that the next step depends on, in a fixed order.

    Among them are the running metrics of the epoch; not a learning rate that is a
    plain number, which follows from the Config.

    Args:
        model: Compiled model of either flavour that has been evaluated: only then it
            has the variables of its metrics. Its optimizer is built if need be.
    """
    optimizer = model.optimizer
    if of(model) is keras:
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        others = []  # all that tf_keras has elsewhere is among the variables
    else:
        optimizer.build(model.trainable_variables)  # does nothing the second time
        others = [*_loss_scale(optimizer), *_generators(model)]
    metrics = [variable for metric in model.metrics for variable in metric.variables]
    variables = [*model.variables, *optimizer.variables, *others, *metrics]
    # A tf_keras model has metrics that are its attributes among its variables too.
    once = {id(variable): variable for variable in variables}
    once.pop(id(inner(optimizer)._learning_rate), None)
    return list(once.values())


def results(model: Any, logs: Mapping[str, float]) -> dict[str, float]:
    """Returns the metrics of the epoch under way, over all replicas.

    Args:
        model: Has made the steps of the epoch.
        logs: What its last step returned. A step of a model's own that returns other
            names than those of its metrics has the last word.
    """
    logs = {name: value for name, value in logs.items() if name not in OF_ONE_STEP}
    found = {name: float(value) for name, value in model.get_metrics_result().items()}
    return found if found.keys() == logs.keys() else logs


def learning_rate(optimizer: Any) -> float:
    """Returns the step size that the next step will have, of either flavour.

    The `learning_rate` of tf_keras is that of the last step.
    """
    optimizer = inner(optimizer)
    rate = optimizer._learning_rate
    return float(
        tf.convert_to_tensor(rate(optimizer.iterations) if callable(rate) else rate)
    )


def inner(optimizer: Any) -> Any:
    """Returns the optimizer itself, without what scales its loss in half precision."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def _loss_scale(optimizer: Any) -> list[Any]:
    """What tf_keras adapts in half precision, beside the optimizer's own state."""
    if not getattr(optimizer, "dynamic", False):
        return []
    return [optimizer.dynamic_counter, optimizer._loss_scale.current_loss_scale]


def _generators(model: Any) -> list[Any]:
    """The random states of tf_keras's layers, which it keeps out of their weights."""
    owners = (getattr(layer, "_random_generator", None) for layer in model.submodules)
    generators = (getattr(owner, "_generator", None) for owner in owners)
    return [generator.state for generator in generators if generator is not None]
