"""What stops a training run: `MaaskitError` subclasses that only trainers raise."""

from savedmodels.errors import MaaskitError


class TrainingError(MaaskitError):
    """The run cannot go on: the loss diverged, or its files cannot be written."""


class DivergedError(TrainingError):
    """The loss is no longer a number: going on with this run leads nowhere."""
