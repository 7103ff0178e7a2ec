"""How far a run has come, and all that it remembers beside its variables."""

import dataclasses
import math
from typing import Any

from trainers._config import TrainConfig


@dataclasses.dataclass
class Progress:
    """What every checkpoint holds; plain values, as JSON takes them.

    Attributes:
        epochs: Epochs that are finished: trained, validated and counted.
        step: Steps done in the epoch after them.
        logs: Running means of that epoch after its last step.
        best_epoch: The one that did best on the validation examples, from 1; 0 before
            any.
        best_worth: How well: the higher the better.
        history: Curve name to one value per finished epoch.
        seconds: Spent in epochs, validation and checkpoints included.
        training_seconds: Spent in training steps alone, of the finished epochs.
        epoch_seconds: The same of the epoch under way.
        examples: Trained on in the finished epochs.
        losses: Of the last steps that were as usual.
        suspects: Losses of the steps since, far above them.
        rollbacks: What was gone back from: `reason`, `at`, `to`, `learning_rate`.
    """

    epochs: int = 0
    step: int = 0
    logs: dict[str, float] = dataclasses.field(default_factory=dict)
    best_epoch: int = 0
    best_worth: float = -math.inf
    history: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    training_seconds: float = 0.0
    epoch_seconds: float = 0.0
    examples: int = 0
    losses: list[float] = dataclasses.field(default_factory=list)
    suspects: list[float] = dataclasses.field(default_factory=list)
    rollbacks: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @property
    def position(self) -> tuple[int, int]:
        """Finished epochs, and steps since: what orders checkpoints."""
        return self.epochs, self.step

    @property
    def where(self) -> str:
        """The last thing that was done, in words."""
        if self.step:
            return f"step {self.step} of epoch {self.epochs + 1}"
        return f"epoch {self.epochs}" if self.epochs else "the start"

    def stopped_early(self, early_stopping_epochs: int) -> bool:
        """Whether so many epochs passed without a better one (0: never)."""
        since_best = self.epochs - self.best_epoch
        return 0 < early_stopping_epochs <= since_best

    def is_over(self, config: TrainConfig) -> bool:
        """Whether there is no epoch left to train."""
        return self.epochs >= config.epochs or self.stopped_early(
            config.early_stopping_epochs
        )
