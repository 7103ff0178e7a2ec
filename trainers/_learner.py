"""Models that another library trains, one epoch after the other, in our own loop.

Such a model file gives `make_learner` instead of `make_datasets` and `make_model`.
Runs, resume, evaluation, reports and TensorBoard are those of every other model; only
the steps within an epoch are the library's. What a run keeps to go on from:

    checkpoints/epoch-<n>/   `progress.json`, and what the learner saved after epoch n

The folder appears in one rename, so a killed run goes on at its last finished epoch, or
at the one before where the newest folder is damaged. An epoch is not interrupted by
SIGTERM, but is the last one then.
There is no validation loss here, so the last epoch counts as the best.

The libraries know no replicas. So a strategy of several devices changes nothing, and of
several workers the chief trains, on its processor, while the others stand by: the model
is the same under every strategy, and trained no faster.
"""

import dataclasses
import json
import math
import pathlib
import shutil
import time
import types
from collections.abc import Mapping
from typing import Any, Protocol

import tensorflow as tf

from trainers import _callbacks, _checkpoints, _flavour, _guard, _runs
from trainers._checkpoints import UnusableCheckpointError
from trainers._config import TrainConfig
from trainers._errors import TrainingError
from trainers._evaluation import Evaluation
from trainers._guard import Trouble
from trainers._progress import Progress
from trainers._runs import Run
from trainers._training import Training

_PROGRESS = "progress.json"


class Learner(Protocol):
    """What `make_learner(config)` returns, ready for its first epoch.

    Attributes:
        model: What the signatures answer from. Follows every epoch and restore.
    """

    model: tf.Module

    def epoch(self, epoch: int) -> tuple[Mapping[str, float], int]:
        """Trains one epoch, counted from 0.

        Returns:
            Curve name to value, `loss` and `learning_rate` among them; and the number
            of examples trained on.
        """

    def save(self, folder: pathlib.Path) -> None:
        """Writes all that the next epoch depends on into an empty folder."""

    def restore(self, folder: pathlib.Path) -> None:
        """Takes up what `save` wrote.

        Raises:
            UnusableCheckpointError: It was saved by a learner of another shape.
        """

    def write_logs(self, folder: pathlib.Path) -> None:
        """Writes what TensorBoard shows besides curves and pictures, after an epoch."""


def is_used(module: types.ModuleType) -> bool:
    """Whether a model file gives a learner instead of a Keras model."""
    return hasattr(module, "make_learner")


def train(training: Training) -> Progress:
    """Brings the run to its last epoch and says how it went; all workers call it.

    Raises:
        PreemptedError: The training is to end here; all is kept.
        SignatureError: The signatures break the contract; told before training.
        TrainingError: The loss became NaN, or files cannot be written.
    """
    module, config, run = training.module, training.config, training.run
    team = training.team
    _flavour.seed(config.seed)
    learner: Learner = module.make_learner(config)
    answer = training.answer_of(module.make_signatures(learner.model, config))
    progress, _ = team.restored(lambda: (_restore(run.checkpoints, learner), None))
    if progress.epochs:
        team.say(f"Going on with {run.path} after epoch {progress.epochs}")
    elif team.size > 1:
        team.say(
            "The chief alone trains this model, for its library knows no replicas: "
            f"of {team.size} workers {team.size - 1} stand by"
        )
    if not team.is_chief:
        return _stand_by(training, progress)
    writer = tf.summary.create_file_writer(str(run.logs / "train"))
    while progress.epochs < config.epochs:
        began = time.monotonic()
        with training.preemption.held():
            curves, examples = learner.epoch(progress.epochs)
            # Of the mean over all workers, of which the others have none.
            loss = curves["loss"] * team.size
            _, ends = team.step(loss, training.preemption.asked)
            _count(progress, curves, examples, time.monotonic() - began, config)
            progress.seconds += time.monotonic() - began
            _save(run.checkpoints, learner, progress)
        if ends or (training.preemption.asked and team.size == 1):
            training.preemption.obey(progress.where)
        result = module.evaluate(answer, config, "validation")
        _log(run, writer, learner, progress, result)
        line = _callbacks.line(progress, config.epochs, time.monotonic() - began)
        print(line, flush=True)
    writer.close()
    return progress


def _stand_by(training: Training, progress: Progress) -> Progress:
    """Ends when the chief has, and for its reasons."""
    config, preemption = training.config, training.preemption
    while progress.epochs < config.epochs:
        with preemption.held():
            loss, ends = training.team.step(0.0, preemption.asked)
            _count(progress, {"loss": loss}, 0, 0.0, config)
        if ends:
            preemption.obey(progress.where)
    return progress


def trained(
    module: types.ModuleType, config: TrainConfig, run: Run, progress: Progress
) -> tf.Module:
    """Returns the model as it was after the last epoch, built anew."""
    learner: Learner = module.make_learner(config)
    learner.restore(_folder(run.checkpoints, progress.epochs))
    return learner.model


def _folder(checkpoints: pathlib.Path, epoch: int) -> pathlib.Path:
    return checkpoints / f"epoch-{epoch:04d}"


def _restore(checkpoints: pathlib.Path, learner: Learner) -> Progress:
    """The newest checkpoint that is whole, or the beginning."""
    damaged: list[str] = []
    for folder in sorted(checkpoints.glob("epoch-*"), reverse=True):
        try:
            progress = Progress(**json.loads((folder / _PROGRESS).read_text()))
            learner.restore(folder)
        except UnusableCheckpointError:
            raise
        except Exception:  # whatever the library raises over a damaged file
            damaged.append(folder.name)
            continue
        if damaged:
            print(_checkpoints.passed_over(checkpoints, damaged, progress), flush=True)
            for name in damaged:
                shutil.rmtree(checkpoints / name, ignore_errors=True)
        return progress
    if damaged:
        raise UnusableCheckpointError(f"has a damaged checkpoint, {damaged[0]}")
    return Progress()


def _count(
    progress: Progress,
    curves: Mapping[str, float],
    examples: int,
    seconds: float,
    config: TrainConfig,
) -> None:
    """Adds one epoch to the score, unless its loss is no number."""
    epoch = progress.epochs + 1
    if not math.isfinite(curves["loss"]):
        trouble = Trouble(
            "is no longer a number", f"in epoch {epoch}", curves["loss"], (epoch, 0)
        )
        raise _guard.diverged(trouble, config.learning_rate, rollbacks=0)
    seconds = max(seconds, 1e-9)
    rate = {"examples_per_second": examples / seconds}
    for name, value in {**curves, **rate}.items():
        progress.history.setdefault(name, []).append(float(value))
    progress.epochs = progress.best_epoch = epoch
    progress.training_seconds += seconds
    progress.examples += examples


def _save(checkpoints: pathlib.Path, learner: Learner, progress: Progress) -> None:
    """Writes the checkpoint of an epoch, and removes all but the newest two."""
    folder = _folder(checkpoints, progress.epochs)
    aside = checkpoints / ".writing"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        learner.save(aside)
        _runs.write_json(aside / _PROGRESS, dataclasses.asdict(progress))
        aside.rename(folder)
        for old in sorted(checkpoints.glob("epoch-*"))[: -_checkpoints.KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise _unwritten(
            f"The checkpoint of epoch {progress.epochs}", folder, error
        ) from error


def _log(
    run: Run, writer: Any, learner: Learner, progress: Progress, result: Evaluation
) -> None:
    """Curves, validation metrics and pictures for TensorBoard."""
    try:
        with writer.as_default(progress.epochs - 1):
            for name, curve in progress.history.items():
                # As Keras's own callback names it, so that models can be compared.
                tf.summary.scalar(f"epoch_{name}", curve[-1])
            for name, value in result.metrics.items():
                tf.summary.scalar(f"validation/{name}", value)
        _callbacks.draw(writer, progress, result)
        learner.write_logs(run.logs / "train")
    except (OSError, tf.errors.OpError) as error:
        raise _unwritten("TensorBoard's logs", run.logs, error) from error


def _unwritten(what: str, folder: pathlib.Path, error: Exception) -> TrainingError:
    return TrainingError(
        f"{what} cannot be written to `{folder}`. A folder on a disk with free space "
        f"was expected. Received: {error}. Free some space and type the same command "
        f"again: it goes on after the last finished epoch."
    )
