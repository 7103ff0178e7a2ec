"""Brings a Keras model to its last epoch, from wherever its run is.

A new run, one that was killed and one that went wrong are the same here: the newest
checkpoint is taken up, if there is one, by a model that is made anew. After trouble the
checkpoints that led into it are gone first, and the learning rate is lower.
"""

import dataclasses
import time
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from savedmodels.signature import Signatures
from trainers import (
    _averages,
    _callbacks,
    _checkpoints,
    _flavour,
    _guard,
    _keras_multi_worker,
    _steps,
    _strategy,
)
from trainers._config import TrainConfig
from trainers._errors import PreemptedError
from trainers._evaluation import Answer
from trainers._guard import Trouble
from trainers._keeper import Keeper
from trainers._loop import Loop
from trainers._preemption import Preemption
from trainers._progress import Progress
from trainers._runs import Run
from trainers._workers import Team
from trainers.datasets import _pipeline

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
        team: The workers that train it.
        preemption: May ask for an end.
        profile: Whether TensorBoard gets a profile of some steps.
        answer_of: Makes a function of checked signatures, for pictures.
    """

    module: types.ModuleType
    config: TrainConfig
    run: Run
    devices: tf.distribute.Strategy
    team: Team
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
    run, team, goes_back = training.run, training.team, False
    progress, arrays = _newest(training)
    if arrays is not None:
        team.say(f"Going on with {run.path} after {progress.where}")
    while not progress.is_over(training.config):
        kept = None if arrays is None else progress.where
        try:
            with (
                Keeper(run.checkpoints, writes=team.is_chief) as keeper,
                _keras_multi_worker.mended(training.devices),
            ):
                _attempt(training, progress, arrays, keeper, rewrites=goes_back)
        except PreemptedError:
            raise
        except KeyboardInterrupt:
            if kept := keeper.kept or kept:
                team.say(f"\nStopped. The same command goes on after {kept}.")
            raise
        except Trouble as trouble:
            progress, arrays = _go_back(training, progress, trouble)
            goes_back = True
    return progress


def _newest(training: Training) -> tuple[Progress, list[np.ndarray] | None]:
    folder, team = training.run.checkpoints, training.team
    return team.restored(
        lambda: _checkpoints.newest(folder, tidy=team.is_chief) or (Progress(), None)
    )


def _attempt(
    training: Training,
    progress: Progress,
    arrays: list[np.ndarray] | None,
    keeper: Keeper,
    *,
    rewrites: bool,
) -> None:
    """Trains from a checkpoint on, or from the start, as long as all goes well."""
    module, run, devices = training.module, training.run, training.devices
    writes = training.team.is_chief
    config = _lowered(training.config, progress)
    _flavour.seed(config.seed)
    train_split, validation = module.make_datasets(config)
    with _strategy.precision(config), devices.scope():
        model = module.make_model(config)
        _steps.attach(model, config)
    model.jit_compile = _strategy.xla(config, devices)
    # Checked here, so that a mistake in a signature costs no training.
    answer = training.answer_of(module.make_signatures(model, config))
    _evaluate_once(model, validation, devices)
    with devices.scope():  # the optimizer makes its variables here
        loop = Loop(
            model,
            config,
            progress,
            keeper=keeper,
            preemption=training.preemption,
            team=training.team,
            takes_last=getattr(module, "TAKES_LAST", False),
        )
        if arrays is not None:
            loop.restore(arrays)
    if rewrites:  # so that what was learnt of the learning rate outlives a kill
        loop.save(must=True)
    callbacks = _callbacks.make_callbacks(
        _flavour.of(model), config, run, training.profile, writes=writes
    )
    with _callbacks.Pictures(run, progress, writes=writes) as pictures:

        def after_epoch(began: float) -> None:
            # On every worker: some variables of Keras 2 are means over all replicas,
            # which all workers read together.
            with _averages.used(model):
                result = module.evaluate(answer, config, "validation")
            pictures.draw(result)
            seconds = time.monotonic() - began
            training.team.say(_callbacks.line(progress, config.epochs, seconds))

        loop.run(train_split, validation, callbacks, after_epoch)
    training.team.check_alike(model)


def _evaluate_once(
    model: Any, validation: tf.data.Dataset, devices: tf.distribute.Strategy
) -> None:
    """Has the metrics make their variables, which they do with their first batch."""
    first = None
    # To the end: a cache that was left half full is emptied later, with bad luck while
    # somebody else reads it.
    for batch in validation:
        first = batch if first is None else first
    one = _pipeline.dealt(tf.data.Dataset.from_tensors(first), devices)
    model.evaluate(one, steps=1, verbose=0)


def _go_back(
    training: Training, progress: Progress, trouble: Trouble
) -> tuple[Progress, list[np.ndarray] | None]:
    """Returns the newest checkpoint that is not under suspicion."""
    tried, config = progress.rollbacks, training.config
    rate = _lowered(config, progress).learning_rate
    if len(tried) >= config.rollbacks:
        raise _guard.diverged(trouble, rate, len(tried)) from trouble
    if training.team.is_chief:
        _checkpoints.discard_from(training.run.checkpoints, trouble.bad)
    earlier, arrays = _newest(training)
    lower = {"at": trouble.where, "reason": f"the loss {trouble.what}"}
    lower |= {"to": earlier.where, "learning_rate": rate * _LOWER}
    earlier.rollbacks = [*tried, lower]
    training.team.say(
        f"Trouble: {trouble} (loss={trouble.loss:g}). Going back to {earlier.where} "
        f"with learning_rate={rate * _LOWER:g}, rollback {len(tried) + 1} of "
        f"{config.rollbacks}"
    )
    return earlier, arrays


def _lowered(config: TrainConfig, progress: Progress) -> TrainConfig:
    """What is trained after so many rollbacks."""
    rate = config.learning_rate * _LOWER ** len(progress.rollbacks)
    return dataclasses.replace(config, learning_rate=rate)
