"""Shards on a cluster by Apache Beam: each is scored by the worker that it lands on."""

from collections.abc import Sequence

from pipelines._lanes import Done, Numbered
from pipelines._scorer import Listener
from pipelines._shard import Job


def check() -> None:
    raise NotImplementedError


def run(
    job: Job,
    todo: Sequence[Numbered],
    watch: Listener,
    done: Done,
    runner: str,
    options: Sequence[str],
) -> None:
    raise NotImplementedError
