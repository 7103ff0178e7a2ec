"""What the processes that train one model together have to agree on.

One of them is the chief: it alone opens a run, writes files and speaks. The others
follow: they open the run that the chief has opened, restore what it restores, take
every step and every decision with it, and end after the last step. What the chief
tells goes through the collectives that gradients go through, so it needs no file, and
no clock: who asks waits for all others.

A process that trains alone is the chief of a team of one, and asks nobody.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from trainers import _runs, _tf_config
from trainers._checkpoints import UnusableCheckpointError
from trainers._config import TrainConfig
from trainers._errors import LostWorkerError, TrainingError
from trainers._progress import Progress
from trainers._runs import Run

# How far the run has come, and the arrays of the checkpoint, if there is any.
Restored = tuple[Progress, Any]

# What a collective raises when somebody is missing from it.
_GONE = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)
# Weights of two workers may differ by what their processors round differently.
_TOLERANCE = 1e-3


class Team:
    """The workers of a strategy, this process being one of them.

    Attributes:
        size: How many processes train together.
        is_chief: Whether this one writes and speaks.
        name: Of this one, as TensorFlow's messages have it.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        """Asks nobody yet.

        Args:
            strategy: What `_strategy.make_strategy` returned.
        """
        several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        cluster = _tf_config.read() if several else None
        self._strategy = strategy
        self._is_together = True
        self.size = len(cluster.addresses) if cluster else 1
        self.is_chief = cluster is None or cluster.is_chief
        self.name = f"{cluster.job}:{cluster.index}" if cluster else ""

    def told(self, text: str) -> str:
        """Returns the chief's `text`, on every worker. All have to call it."""
        if self.size == 1:
            return text
        said = np.frombuffer(text.encode() if self.is_chief else b"", np.uint8)
        length = int(self._sum(np.array([len(said)]))[0])
        if not length:
            return ""
        padded = np.zeros(length)
        padded[: len(said)] = said
        return self._sum(padded).astype(np.uint8).tobytes().decode()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any worker. All have to call it."""
        if self.size == 1:
            return flag
        return bool(self._sum(np.array([float(flag)]))[0])

    def open_run(self, runs: pathlib.Path, name: str, config: TrainConfig) -> Run:
        """Opens the same run on every worker: the one that the chief opens.

        Args:
            runs: Folder of all runs, which all workers share.
            name: Model name.
            config: What is trained.

        Raises:
            TrainingError: The folder cannot be written, a follower does not see it,
                or the others have ended.
        """
        if not self._is_together:
            raise TrainingError(
                "The best checkpoint of the run is damaged, which came out after the "
                "other workers had ended. Type the same command again on all of "
                "them: it starts a new run."
            )
        run = _runs.open_run(runs, name, config) if self.is_chief else None
        opened = {"run": run.path.name, "resumed": run.resumed} if run else {}
        answer = json.loads(self.told(json.dumps(opened)))
        if run is not None:
            return run
        path = runs / name / answer["run"]
        if not path.is_dir():
            raise TrainingError(
                f"The run that the chief has opened is not to be seen here. Expected a "
                f"folder that all workers share. Received: no `{path}`. "
                "Name a shared one with --runs."
            )
        return _Followed(path, answer["resumed"])

    def restored(self, restore: Callable[[], Restored]) -> Restored:
        """Restores the same checkpoint on every worker, or fails on all of them.

        Args:
            restore: Reads the newest checkpoint of the run; on the chief first, for it
                may clear up.

        Raises:
            UnusableCheckpointError: One worker at least cannot use it.
            TrainingError: This worker found another checkpoint than the chief did.
        """
        if self.size == 1:
            return restore()
        found = self._together(restore if self.is_chief else None)
        found = self._together(None if self.is_chief else restore) or found
        if found is None:
            raise TypeError("A checkpoint was expected. Received: None")
        content = json.dumps(dataclasses.asdict(found[0]), sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()
        if self.told(digest) != digest:
            raise TrainingError(
                "This worker has restored another checkpoint than the chief has. "
                "Expected a folder of runs that all workers share. Received: one after "
                f"{found[0].where}. Name a shared one with --runs."
            )
        return found

    def step(self, loss: float, asked: bool) -> tuple[float, bool]:
        """Returns the mean loss of all workers, and whether any was asked to end.

        So all go wrong and end after the same step. All have to call it.
        """
        if self.size == 1:
            return loss, asked
        losses, askers = self._sum(np.array([loss, float(asked)]))
        return float(losses) / self.size, bool(askers)

    def say(self, line: str) -> None:
        """Prints a line, if this is the chief."""
        if self.is_chief:
            print(line, flush=True)

    def check_alike(self, model: Any) -> None:
        """Checks that every worker holds the weights that the chief holds.

        Args:
            model: As it is after its last step.

        Raises:
            TrainingError: They have drifted apart.
        """
        if self.size == 1:
            return
        weights = [weight.numpy() for weight in model.trainable_variables]
        mine = np.array([np.abs(weight).mean() for weight in weights])
        chiefs = self._sum(mine if self.is_chief else np.zeros_like(mine))
        if self.any(not np.allclose(mine, chiefs, rtol=_TOLERANCE)):
            raise TrainingError(
                "The weights of the workers have drifted apart, and nothing was "
                "exported. Expected the same steps on all. See that all run the same "
                "version of this program, and of TensorFlow, on the same data."
            )

    def disband(self) -> None:
        """Says that the followers end now: nothing can be asked from here on."""
        self._is_together = self.size == 1

    @contextlib.contextmanager
    def noticing(self) -> Iterator[None]:
        """Turns what a collective raises about a lost worker into one message."""
        try:
            yield
        except _GONE as error:
            if self.size == 1:
                raise
            first_line = str(error).strip().splitlines()[0]
            raise LostWorkerError(
                f"Another worker is gone, or cannot be reached by {self.name}. All "
                f"{self.size} were expected until the last step. Received: "
                f"{first_line}. Its own messages say why. The same command on all "
                "workers goes on from the last checkpoint."
            ) from error

    def _together(self, restore: Callable[[], Restored] | None) -> Restored | None:
        """Restores, and fails where any worker fails to."""
        found, failure = None, None
        try:
            found = restore() if restore else None
        except UnusableCheckpointError as error:
            failure = error
        if self.any(failure is not None):
            raise failure or UnusableCheckpointError(
                "has a checkpoint that another worker cannot use"
            )
        return found

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """Adds up what all workers give: float32, which every collective takes."""
        given = tf.constant(values, tf.float32)
        return self._strategy.reduce("SUM", given, axis=None).numpy()


class _Followed(Run):
    """The chief's run, as another worker sees it: nothing in it is written here."""

    def __init__(self, path: pathlib.Path, resumed: bool) -> None:
        super().__init__(path, io.StringIO(), resumed)

    def _end(self, how: dict[str, str]) -> None:
        del how  # the chief writes it down
        self.close()
