"""Brings a Keras model to its last epoch, from wherever its run is.

A new run, one that was killed and one that went wrong are the same here: the newest
checkpoint is taken up, if there is one, by a model that is made anew. After trouble the
checkpoints that led into it are gone first, and the learning rate is lower.
"""

import dataclasses
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from savedmodels.signature import Signatures
from trainers import _callbacks, _checkpoints, _flavour, _guard, _strategy
from trainers._config import TrainConfig
from trainers._errors import PreemptedError
from trainers._evaluation import Answer
from trainers._guard import Trouble
from trainers._keeper import Keeper
from trainers._loop import Loop
from trainers._preemption import Preemption
from trainers._progress import Progress
from trainers._runs import Run

# What the learning rate is multiplied by after each trouble.
_LOWER = 0.5


@dataclasses.dataclass(frozen=True)
class Training:
    """What is trained, and with what.

    Attributes:
        module: The model file.
        config: What is trained.
        run: Where files go.
        devices: What it is trained on.
        preemption: May ask for an end.
        profile: Whether TensorBoard gets a profile of some steps.
        answer_of: Makes a function of checked signatures, for pictures.
    """

    module: types.ModuleType
    config: TrainConfig
    run: Run
    devices: tf.distribute.Strategy
    preemption: Preemption
    profile: bool
    answer_of: Callable[[Signatures], Answer]


def train(training: Training) -> Progress:
    """Brings the run to its last epoch and says how it went.

    Raises:
        DivergedError: The loss was no number or jumped, once too often.
        PreemptedError: The training is to end here; all is kept.
        SignatureError: The signatures break the contract; told before training.
        TrainingError: Files cannot be written.
        UnusableCheckpointError: The run cannot go on.
    """
    run, goes_back = training.run, False
    progress, arrays = _newest(training)
    if arrays is not None:
        print(f"Going on with {run.path} after {progress.where}", flush=True)
    while not progress.is_over(training.config):
        kept = None if arrays is None else progress.where
        try:
            with Keeper(run.checkpoints) as keeper:
                _attempt(training, progress, arrays, keeper, rewrites=goes_back)
        except PreemptedError:
            raise
        except KeyboardInterrupt:
            if kept := keeper.kept or kept:
                print(f"\nStopped. The same command goes on after {kept}.")
            raise
        except Trouble as trouble:
            progress, arrays = _go_back(training, progress, trouble)
            goes_back = True
    return progress


def _newest(training: Training) -> tuple[Progress, list[np.ndarray] | None]:
    return _checkpoints.newest(training.run.checkpoints) or (Progress(), None)


def _attempt(
    training: Training,
    progress: Progress,
    arrays: list[np.ndarray] | None,
    keeper: Keeper,
    *,
    rewrites: bool,
) -> None:
    """Trains from a checkpoint on, or from the start, as long as all goes well."""
    module, run = training.module, training.run
    config = _lowered(training.config, progress)
    _flavour.seed(config.seed)
    train_split, validation = module.make_datasets(config)
    with _strategy.precision(config), training.devices.scope():
        model = module.make_model(config)
    model.jit_compile = _strategy.xla(config, training.devices)
    # Checked here, so that a mistake in a signature costs no training.
    answer = training.answer_of(module.make_signatures(model, config))
    _evaluate_once(model, validation)
    with training.devices.scope():  # the optimizer makes its variables here
        loop = Loop(
            model,
            config,
            progress,
            keeper=keeper,
            preemption=training.preemption,
            takes_last=getattr(module, "TAKES_LAST", False),
        )
        if arrays is not None:
            loop.restore(arrays)
    if rewrites:  # so that what was learnt of the learning rate outlives a kill
        loop.save(must=True)
    callbacks = _callbacks.make_callbacks(_flavour.of(model), run, training.profile)
    with _callbacks.Pictures(run, progress) as pictures:

        def after_epoch(began: float) -> None:
            pictures.draw(module.evaluate(answer, config, "validation"))
            if not sys.stdout.isatty():
                seconds = time.monotonic() - began
                print(_callbacks.line(progress, config.epochs, seconds), flush=True)

        loop.run(train_split, validation, callbacks, after_epoch)


def _evaluate_once(model: Any, validation: tf.data.Dataset) -> None:
    """Has the metrics make their variables, which they do with their first batch."""
    first = None
    # To the end: a cache that was left half full is emptied later, with bad luck while
    # somebody else reads it.
    for batch in validation:
        first = batch if first is None else first
    model.evaluate(tf.data.Dataset.from_tensors(first), verbose=0)


def _go_back(
    training: Training, progress: Progress, trouble: Trouble
) -> tuple[Progress, list[np.ndarray] | None]:
    """Returns the newest checkpoint that is not under suspicion."""
    tried, config = progress.rollbacks, training.config
    rate = _lowered(config, progress).learning_rate
    if len(tried) >= config.rollbacks:
        raise _guard.diverged(trouble, rate, len(tried)) from trouble
    _checkpoints.discard_from(training.run.checkpoints, trouble.bad)
    earlier, arrays = _newest(training)
    lower = {"at": trouble.where, "reason": f"the loss {trouble.what}"}
    lower |= {"to": earlier.where, "learning_rate": rate * _LOWER}
    earlier.rollbacks = [*tried, lower]
    print(
        f"Trouble: {trouble} (loss={trouble.loss:g}). Going back to {earlier.where} "
        f"with learning_rate={rate * _LOWER:g}, rollback {len(tried) + 1} of "
        f"{config.rollbacks}",
        flush=True,
    )
    return earlier, arrays


def _lowered(config: TrainConfig, progress: Progress) -> TrainConfig:
    """What is trained after so many rollbacks."""
    rate = config.learning_rate * _LOWER ** len(progress.rollbacks)
    return dataclasses.replace(config, learning_rate=rate)
