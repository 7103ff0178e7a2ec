"""Passes over the data and the steps in them, from any step on.

Keras's own `fit` begins with whole epochs, and with metrics of 0. Its train function,
its evaluation and its callbacks are used as they are.

Between two steps a checkpoint may be due; between the last one and the validation it
always is, so that whatever stops the validation costs no step.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainers import _averages, _checkpoints, _flavour
from trainers._config import TrainConfig
from trainers._guard import Guard
from trainers._keeper import Keeper
from trainers._preemption import Preemption
from trainers._progress import Progress
from trainers._workers import Team
from trainers.datasets import _pipeline


class Loop:
    """Brings one model from where its run is to the last epoch."""

    def __init__(
        self,
        model: Any,
        config: TrainConfig,
        progress: Progress,
        *,
        keeper: Keeper,
        preemption: Preemption,
        team: Team,
        takes_last: bool,
    ) -> None:
        """Changes nothing yet.

        Args:
            model: Compiled and evaluated once; brought into the state that `progress`
                tells of by `restore`.
            config: What is trained.
            progress: Counted on, step by step.
            keeper: Has the checkpoints written.
            preemption: May ask for an end after any step.
            team: Agrees after each step on how it went.
            takes_last: Whether the last epoch counts as the best, and not the one with
                the lowest validation loss. That one counts all the same with early
                stopping.
        """
        self._model = model
        self._config = config
        self._progress = progress
        self._keeper = keeper
        self._preemption = preemption
        self._team = team
        self._takes_last = takes_last and not config.early_stopping_epochs
        self._variables = _flavour.state(model)
        self._clock = time.monotonic()

    def restore(self, arrays: Sequence[np.ndarray]) -> None:
        """Puts the model into the state of a checkpoint.

        Raises:
            UnusableCheckpointError: It is of another network.
        """
        _checkpoints.assign(self._variables, arrays)

    def save(
        self, *, best: Sequence[np.ndarray] | None = None, must: bool = False
    ) -> None:
        """Has the present state written; see `Keeper.save`."""
        arrays = _checkpoints.values(self._variables)
        self._keeper.save(arrays, self._progress, best=best, must=must)

    def run(
        self,
        train: tf.data.Dataset,
        validation: tf.data.Dataset,
        callbacks: list[Any],
        after_epoch: Callable[[float], None],
    ) -> None:
        """Trains until no epoch is left.

        Args:
            train: Its next pass is the first one of all.
            validation: Judged after each epoch.
            callbacks: Of the model's flavour.
            after_epoch: Called once an epoch is counted and kept, with the monotonic
                time at which it began.

        Raises:
            Trouble: The loss is no number, or has jumped.
            PreemptedError: The training is to end here; all is kept.
            TrainingError: A checkpoint cannot be written.
        """
        steps = int(train.cardinality())
        self._guard = Guard(self._progress, steps)
        self._callbacks = self._called(callbacks, steps)
        self._model.make_train_function()
        self._callbacks.on_train_begin()
        try:
            for passed in self._passes(train):
                began = self._clock = time.monotonic()
                self._callbacks.on_epoch_begin(self._progress.epochs)
                self._steps(passed, steps)
                self._end_epoch(validation, steps)
                after_epoch(began)
        except BaseException:
            # What TensorBoard was told is written, if that is what still works.
            with contextlib.suppress(Exception):
                self._callbacks.on_train_end()
            raise
        self._callbacks.on_train_end()

    def _called(self, callbacks: list[Any], steps: int) -> Any:
        return _flavour.of(self._model).callbacks.CallbackList(
            callbacks, model=self._model, epochs=self._config.epochs, steps=steps
        )

    def _passes(self, train: tf.data.Dataset) -> Iterator[Any]:
        """The rest of the pass that the run is in, and then whole ones."""
        strategy = self._model.distribute_strategy
        whole, done = _pipeline.dealt(train, strategy), self._progress.step
        _pipeline.skip_epochs(train, self._progress.epochs)
        while not self._progress.is_over(self._config):
            if done:
                yield iter(_pipeline.dealt(_pipeline.rest(train, done), strategy))
            else:
                self._model.reset_metrics()
                yield iter(whole)
            done = 0

    def _steps(self, batches: Any, steps: int) -> None:
        """Makes the steps that the epoch still lacks."""
        progress, first = self._progress, self._progress.step
        with self._model.distribute_strategy.scope():
            for step in range(first, steps):
                # The first one may take long to trace, and there is nothing to keep.
                with self._preemption.held(step > first):
                    self._callbacks.on_train_batch_begin(step)
                    logs = self._model.train_function(batches)
                    asked = self._preemption.asked
                    loss, ends = self._team.step(float(logs["loss"]), asked)
                    self._guard.step(loss)
                    self._callbacks.on_train_batch_end(step, logs)
                    progress.step += 1
                    self._after_step(logs, steps)
                if ends or (self._preemption.asked and self._team.size == 1):
                    self._note(logs)
                    self.save(must=True)
                    self._keeper.wait()
                    self._preemption.obey(progress.where)

    def _after_step(self, logs: dict[str, Any], steps: int) -> None:
        """Has a checkpoint written, if one is due."""
        self._keeper.check()
        step, every = self._progress.step, self._config.checkpoint_steps
        is_last = step == steps
        if is_last or (every > 0 and step % every == 0):
            self._note(logs)
            # While a loss is suspected, the checkpoints before it are not given up.
            if not self._progress.suspects:
                self.save(must=is_last)

    def _note(self, logs: dict[str, Any]) -> None:
        """Brings the progress to this step."""
        self._progress.logs = {name: float(value) for name, value in logs.items()}
        self._tick(training=True)

    def _end_epoch(self, validation: tf.data.Dataset, steps: int) -> None:
        """Validates, counts and keeps the epoch whose steps are done."""
        progress = self._progress
        scored = _flavour.results(self._model, progress.logs)
        strategy = self._model.distribute_strategy
        found = self._model.evaluate(
            _pipeline.dealt(validation, strategy),
            # Keras 2 asks for it under any strategy, be it of one replica.
            steps=int(validation.cardinality()),
            callbacks=self._callbacks,
            return_dict=True,
            verbose=0,
        )
        scored |= {f"val_{name}": float(value) for name, value in found.items()}
        self._guard.validation(scored["val_loss"])
        epoch = progress.epochs
        is_best = self._count(scored, steps)
        # The weights that were judged, which are those that the model is to have.
        judged = _averages.served(self._model)
        best = _checkpoints.values(judged) if is_best else None
        self._callbacks.on_epoch_end(epoch, scored)
        self.save(best=best, must=True)

    def _count(self, scored: dict[str, float], steps: int) -> bool:
        """Adds the epoch to the progress; whether none was worth as much before."""
        progress = self._progress
        self._tick(training=False)
        # The last batch may be smaller, which 1 part in 1,000 does not tell.
        examples = steps * self._config.global_batch_size
        curves = scored | {
            "learning_rate": _flavour.learning_rate(self._model.optimizer),
            "examples_per_second": examples / max(progress.epoch_seconds, 1e-9),
        }
        for name, value in curves.items():
            progress.history.setdefault(name, []).append(value)
        progress.epochs += 1
        progress.step, progress.logs = 0, {}
        progress.training_seconds += progress.epoch_seconds
        progress.epoch_seconds = 0.0
        progress.examples += examples
        worth = float(progress.epochs) if self._takes_last else -scored["val_loss"]
        is_best = progress.best_epoch == 0 or worth > progress.best_worth
        if is_best:
            progress.best_epoch, progress.best_worth = progress.epochs, worth
        return is_best

    def _tick(self, *, training: bool) -> None:
        """Counts the time since the last one."""
        now = time.monotonic()
        self._progress.seconds += now - self._clock
        if training:
            self._progress.epoch_seconds += now - self._clock
        self._clock = now
