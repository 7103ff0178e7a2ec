"""What a training shows of itself: TensorBoard, pictures, and a line per epoch."""

from typing import Any

import tensorflow as tf

from trainers import _meters, _report
from trainers._config import TrainConfig
from trainers._errors import TrainingError
from trainers._evaluation import Evaluation
from trainers._progress import Progress
from trainers._runs import Run

# Steps of the first epoch that are profiled: past the slow first ones.
_PROFILED_STEPS = (5, 15)


def make_callbacks(
    flavour: Any, config: TrainConfig, run: Run, profile: bool, *, writes: bool
) -> list[Any]:
    """Returns the callbacks of a run, in the order in which they act.

    Args:
        flavour: `keras` or `tf_keras`, whichever the model was built with: each
            takes only its own callbacks.
        config: What is trained.
        run: Where files go.
        profile: Whether TensorBoard gets a profile of ten steps.
        writes: Whether this process does; another of the same training only measures.
    """
    meters = _meters.make_meters(flavour, config, run.logs, writes)
    if not writes:
        return meters
    board = _board(flavour)(
        str(run.logs),
        write_graph=not run.resumed,
        profile_batch=_PROFILED_STEPS if profile else 0,
    )
    return [*meters, board]


def _board(flavour: Any) -> type[Any]:
    """The callback of a flavour that writes what it knows at the ends of epochs."""

    class Board(flavour.callbacks.TensorBoard):  # type: ignore[misc]
        """Keras's own, which would make summaries after each step that nobody keeps."""

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            del logs
            super().on_train_batch_end(batch, None)

    return Board


class Pictures:
    """Draws into TensorBoard after each epoch; for a `with` block."""

    def __init__(self, run: Run, progress: Progress, *, writes: bool) -> None:
        """Opens TensorBoard's file.

        Args:
            run: Whose logs.
            progress: Kept up to date.
            writes: Whether this process does.
        """
        self._logs = run.logs
        self._progress = progress
        self._writer = None
        if writes:
            self._writer = tf.summary.create_file_writer(str(run.logs / "pictures"))

    def __enter__(self) -> "Pictures":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def draw(self, result: Evaluation) -> None:
        """Draws what a model did on the validation examples.

        Raises:
            TrainingError: The logs cannot be written.
        """
        if self._writer is None:
            return
        try:
            draw(self._writer, self._progress, result)
        except (OSError, tf.errors.OpError) as error:
            raise TrainingError(
                f"TensorBoard's logs cannot be written to `{self._logs}`. A folder "
                f"on a disk with free space was expected. Received: {error}. Free "
                f"some space and type the same command again: it goes on after "
                f"{self._progress.where}."
            ) from error


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
