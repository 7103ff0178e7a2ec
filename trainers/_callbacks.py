"""What happens around the steps of every training, whatever the model.

Each epoch: keep score, write a checkpoint, draw into TensorBoard, say one line.
Each step: stop if the loss is no longer a number.
"""

import math
import sys
import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from trainers import _checkpoints, _flavour, _report
from trainers._checkpoints import Progress
from trainers._config import TrainConfig
from trainers._errors import DivergedError, TrainingError
from trainers._evaluation import Evaluation
from trainers._runs import Run

# Steps of the first epoch that are profiled: past the slow first ones.
_PROFILED_STEPS = (5, 15)


def make_callbacks(
    flavour: Any,
    config: TrainConfig,
    run: Run,
    progress: Progress,
    evaluate: Callable[[], Evaluation],
    takes_last: bool,
    profile: bool,
) -> list[Any]:
    """Returns the callbacks of a run, in the order in which they act.

    Args:
        flavour: `keras` or `tf_keras`, whichever the model was built with: each
            takes only its own callbacks.
        config: What is trained.
        run: Where files go.
        progress: Counted on, epoch by epoch.
        evaluate: Judges the present weights on validation examples, for pictures.
        takes_last: Whether the last epoch counts as the best, and not the one with the
            lowest validation loss. That one counts all the same with early stopping.
        profile: Whether TensorBoard gets a profile of ten steps.
    """

    class Recorder(_Recorder, flavour.callbacks.Callback):
        """`_Recorder` as a callback of the model's flavour."""

    board = flavour.callbacks.TensorBoard(
        str(run.logs),
        write_graph=not run.resumed,
        profile_batch=_PROFILED_STEPS if profile else 0,
    )
    return [board, Recorder(config, run, progress, evaluate, takes_last)]


def draw(writer: Any, progress: Progress, result: Evaluation) -> None:
    """Writes the speed and the pictures of the last finished epoch for TensorBoard.

    Raises:
        OSError: The logs cannot be written.
        tf.errors.OpError: Likewise.
    """
    step = progress.epochs - 1  # counted from 0, as the curves of Keras are
    with writer.as_default(step):
        rate = progress.history["examples_per_second"][-1]
        tf.summary.scalar("examples_per_second", rate)
        for title, panel in result.panels.items():
            tf.summary.image(title, _report.picture(title, panel)[None])
    writer.flush()


def line(progress: Progress, epochs: int, seconds: float) -> str:
    """Returns what a log file shows of the last finished epoch.

    Args:
        progress: Already counts the epoch.
        epochs: How many there will be.
        seconds: What the epoch took, pictures included.
    """
    parts = [f"epoch {progress.epochs}/{epochs}", f"{seconds:.0f} s"]
    for name, curve in progress.history.items():
        if name == "examples_per_second":
            parts.append(f"{curve[-1]:,.0f} examples/s")
        elif name.endswith("accuracy"):
            parts.append(f"{name} {curve[-1]:.2%}")
        else:
            parts.append(f"{name} {curve[-1]:.4g}")
    return "  ".join(parts).replace("val_", "validation ").replace("_", " ")


def _diverged(where: str, loss: float, config: TrainConfig) -> DivergedError:
    return DivergedError(
        f"Training stopped: the loss is no longer a number, {where}. "
        f"A finite loss was expected. Received: loss={loss} with "
        f"learning_rate={config.learning_rate:g}. Nothing was exported. Try a lower "
        f'one: SET="learning_rate={config.learning_rate / 10:g}".'
    )


class _Recorder:
    """Keeps score of a training and writes it down."""

    def __init__(
        self,
        config: TrainConfig,
        run: Run,
        progress: Progress,
        evaluate: Callable[[], Evaluation],
        takes_last: bool,
    ) -> None:
        super().__init__()
        self._config = config
        self._run = run
        self._progress = progress
        self._evaluate = evaluate
        self._takes_last = takes_last and not config.early_stopping_epochs
        self._writer = tf.summary.create_file_writer(str(run.logs / "pictures"))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        del logs
        self._epoch = epoch + 1
        self._began = self._steps_ended = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self._steps_ended = time.monotonic()
        # A running mean: once a step spoils it, it stays spoilt.
        if not math.isfinite(logs["loss"]):
            raise _diverged(
                f"in epoch {self._epoch}, step {batch + 1} of {self.params['steps']}",
                logs["loss"],
                self._config,
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        del epoch
        scored = {name: float(value) for name, value in logs.items()}
        validation_loss = scored.get("val_loss", scored["loss"])
        if not math.isfinite(validation_loss):
            raise _diverged(
                f"on the validation examples after epoch {self._epoch}",
                validation_loss,
                self._config,
            )
        self._count(scored, self._epoch if self._takes_last else -validation_loss)
        _checkpoints.save(self._run.checkpoints, self.model, self._progress)
        self._draw(self._evaluate())
        if not sys.stdout.isatty():
            seconds = time.monotonic() - self._began
            print(line(self._progress, self._config.epochs, seconds), flush=True)
        if self._progress.stopped_early(self._config.early_stopping_epochs):
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        del logs
        self._writer.close()

    def _count(self, scored: dict[str, float], worth: float) -> None:
        """Adds the epoch to the progress; it is the best if none was worth as much."""
        progress = self._progress
        took = max(self._steps_ended - self._began, 1e-9)
        # The last batch may be smaller, which 1 part in 1,000 does not tell.
        examples = self.params["steps"] * self._config.global_batch_size
        # TensorBoard of Keras logs it under its own name already.
        scored.pop("learning_rate", None)
        scored["learning_rate"] = _flavour.learning_rate(self.model.optimizer)
        scored["examples_per_second"] = examples / took
        history = progress.history
        if progress.best_epoch == 0 or worth > progress.best_worth:
            progress.best_epoch, progress.best_worth = self._epoch, worth
        for name, value in scored.items():
            history.setdefault(name, []).append(value)
        progress.epochs = self._epoch
        progress.seconds += time.monotonic() - self._began
        progress.training_seconds += took
        progress.examples += examples

    def _draw(self, result: Evaluation) -> None:
        """Pictures for TensorBoard, of the weights as they are."""
        try:
            draw(self._writer, self._progress, result)
        except (OSError, tf.errors.OpError) as error:
            raise TrainingError(
                f"TensorBoard's logs cannot be written to `{self._run.logs}`. A folder "
                f"on a disk with free space was expected. Received: {error}. Free "
                f"some space and type the same command again: it goes on after "
                f"epoch {self._epoch}."
            ) from error
