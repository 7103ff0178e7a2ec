"""The one training loop: every model is trained, judged and reported by `fit`.

A model file says what is trained; here is how: on which devices, from which
checkpoint on, with which files written. What a run leaves in its folder:

    checkpoints/     the best epoch's weights, and the states to go on from
    logs/            TensorBoard
    metrics.json     configuration, curves, test metrics, speed, machine
    report.png       curves, confusion matrix, worst mistakes

A run that was stopped, however that was, goes on after its last kept step when the same
command is given again; after its last epoch it goes on at the evaluation.
"""

import dataclasses
import pathlib
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from savedmodels import distributions, signature
from savedmodels.signature import SERVING_DEFAULT, Signatures
from trainers import (
    _checkpoints,
    _learner,
    _machine,
    _report,
    _runs,
    _strategy,
    _training,
    _workers,
)
from trainers._checkpoints import UnusableCheckpointError
from trainers._config import TrainConfig, as_dict
from trainers._errors import DivergedError, TrainingError
from trainers._evaluation import Answer, Arrays, Evaluation
from trainers._preemption import Preemption
from trainers._progress import Progress
from trainers._runs import Run
from trainers._training import Training


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A trained model, and what is known of it.

    Attributes:
        model: With the weights of the epoch that had the lowest validation loss, or
            of the last one if the model file says `TAKES_LAST`; in float32 and on one
            device, whatever it was trained on.
        signatures: Of this model, checked.
        run: Its folder; call `run.finish` once the model is exported.
        history: Curve name to one value per epoch.
        evaluation: On the test split.
        metrics: Those of `evaluation`.
        seconds: Spent in epochs, all processes of a resumed run together.
        examples_per_second: In training steps, all replicas together.
        hardware: What it was trained on.
        statistics: Of what the evaluation asked and was answered, as
            `savedmodels.distributions` counts it.
    """

    model: Any
    signatures: Signatures
    run: Run
    history: Mapping[str, list[float]]
    evaluation: Evaluation
    metrics: Mapping[str, float]
    seconds: float
    examples_per_second: float
    hardware: Mapping[str, Any]
    statistics: Mapping[str, Any]


def fit(
    module: types.ModuleType,
    config: TrainConfig,
    *,
    runs: pathlib.Path,
    strategy: str = "auto",
    tpu: str | None = None,
    profile: bool = False,
) -> Fitted | None:
    """Trains a model, or goes on with a run that was interrupted.

    Where several workers train together, all call this with the same arguments. All
    take every step; what lies before and after, the chief does alone.

    Args:
        module: The model file, such as `trainers.mnist_classifier`.
        config: Its `Config`.
        runs: Folder of all runs.
        strategy: `auto`, `default`, `mirrored`, `multi_worker` or `tpu`; see
            `_strategy.make_strategy`.
        tpu: Address of a TPU.
        profile: Whether TensorBoard gets a profile of some steps.

    Returns:
        The trained model. The caller exports it and calls `run.finish`. None for a
        worker that is not the chief: it has nothing more to do.

    Raises:
        UsageError: No such strategy or data set.
        TrainingError: The loss became NaN or jumped, and lower learning rates did not
            help; files cannot be written; or another worker is gone.
        PreemptedError: SIGTERM came. The same call goes on with the run.
        SignatureError: The model's signatures break the contract; told before
            training.
    """
    name = module.__name__.rpartition(".")[2]
    devices = _strategy.make_strategy(strategy, tpu)
    team = _workers.Team(devices)
    with team.noticing():
        run = team.open_run(runs, name, config)
    try:
        with Preemption() as preemption:
            training = Training(
                module, config, run, devices, team, preemption, profile, answer_of
            )
            try:
                return _train_and_finish(training)
            except UnusableCheckpointError as error:
                team.say(f"{run.path} {error}: starting anew")
                run.fail(str(error))
                run = team.open_run(runs, name, config)
                return _train_and_finish(dataclasses.replace(training, run=run))
    except DivergedError as error:
        run.fail(str(error))
        raise
    except BaseException:
        run.close()
        raise


def answer_of(signatures: Signatures) -> Answer:
    """Returns a function that runs the signatures of a live model.

    Raises:
        SignatureError: They break the contract.
    """
    specs = signature.check(signatures)

    def answer(inputs: Arrays, name: str = SERVING_DEFAULT) -> dict[str, np.ndarray]:
        aliases = specs[name].inputs
        outputs = signatures[name](*(tf.constant(inputs[a]) for a in aliases))
        return {alias: output.numpy() for alias, output in outputs.items()}

    return answer


def _train_and_finish(training: Training) -> Fitted | None:
    """Trains on every worker, and goes on to the report on the chief."""
    team = training.team
    with team.noticing():
        progress = _train(training)
    team.disband()
    if team.is_chief:
        return _finish(training, progress)
    training.run.close()
    return None


def _train(training: Training) -> Progress:
    """Brings the run to its last epoch and says how it went."""
    if _learner.is_used(training.module):
        return _learner.train(training)
    return _training.train(training)


def _finish(training: Training, progress: Progress) -> Fitted:
    """Judges the best epoch on the test split and writes the report."""
    module, config, run = training.module, training.config, training.run
    # Built anew: plain variables and float32, whatever it was trained on.
    if _learner.is_used(module):
        model = _learner.trained(module, config, run, progress)
    else:
        model = module.make_model(config)
        _checkpoints.restore_best(run.checkpoints, model, progress)
    signatures = module.make_signatures(model, config)
    asked = distributions.Recorder(answer_of(signatures))
    result = module.evaluate(asked, config, "test")
    fitted = Fitted(
        model=model,
        signatures=signatures,
        run=run,
        history=progress.history,
        evaluation=result,
        metrics=result.metrics,
        seconds=progress.seconds,
        examples_per_second=progress.examples / progress.training_seconds,
        hardware=_machine.describe(),
        statistics=asked.statistics(),
    )
    _write_down(fitted, module.__name__, config, progress)
    return fitted


def _write_down(
    fitted: Fitted, name: str, config: TrainConfig, progress: Progress
) -> None:
    """Writes `metrics.json` and `report.png`."""
    content = {
        "config": as_dict(config),
        "history": fitted.history,
        "best_epoch": progress.best_epoch,
        "rollbacks": progress.rollbacks,
        "test": dict(fitted.metrics),
        "seconds": round(fitted.seconds, 1),
        "examples_per_second": round(fitted.examples_per_second, 1),
        "hardware": fitted.hardware,
    }
    title = _report.heading(
        name.rpartition(".")[2],
        fitted.metrics,
        f"best epoch {progress.best_epoch} of {progress.epochs}",
        fitted.seconds,
        fitted.examples_per_second,
        fitted.hardware,
    )
    try:
        _runs.write_json(fitted.run.path / "metrics.json", content)
        _report.write(
            fitted.run.path / "report.png", title, fitted.history, fitted.evaluation
        )
    except OSError as error:
        raise TrainingError(
            f"The report cannot be written to `{fitted.run.path}`. A folder on a disk "
            f"with free space was expected. Received: {error}. Free some space and "
            f"type the same command again: it goes on at the report."
        ) from error
