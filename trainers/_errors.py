"""What stops a training run: mistakes and failures, and the wish of somebody else."""

import os

from savedmodels.errors import MaaskitError


class TrainingError(MaaskitError):
    """The run cannot go on: the loss diverged, or its files cannot be written."""


class DivergedError(TrainingError):
    """The loss is no number or has jumped: going on with this run leads nowhere."""


class LostWorkerError(TrainingError):
    """Another worker is gone. The same command on all of them goes on with the run."""

    exit_code = os.EX_TEMPFAIL  # as after SIGTERM: "resume me"


class PreemptedError(KeyboardInterrupt):
    """SIGTERM came. No mistake: the same command goes on with the run."""
