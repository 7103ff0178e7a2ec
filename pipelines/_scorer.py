"""Batch scoring: instances -> batches -> servable -> file, each of them replaceable.

The next batches are read and decoded in a thread while the model runs. Every instance
that is read ends as one that is written or one that is refused; that is counted on both
sides and compared before the file appears.
"""

import collections
import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent import futures
from typing import Protocol

import numpy as np

from pipelines._batches import Batch, ahead, batches, size_of
from pipelines._inputs import Inputs
from pipelines._outputs import ScoresFile
from pipelines._sources import Refusal, Row
from pipelines._tally import Tally
from savedmodels.errors import MaaskitError
from serving.errors import ServingError

_MOST_THREADS = 8  # beyond that one reader cannot keep them busy
# The fastest batches of a model may be of a few rows: writing takes more of them.
_WRITTEN_ROWS = 256
_WRITTEN_BYTES = 4 * 2**20  # of inputs, which wait as long


class Runs(Protocol):
    """What answers: a loaded `serving.servable.Servable`, or a client of a server."""

    def run(self, signature_name: str, inputs: Inputs) -> dict[str, np.ndarray]:
        """Returns the outputs by alias for one batch; raises ServingError to refuse."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What the model gave for a batch.

    Attributes:
        batch: The batch.
        outputs: Alias to array, whose first axis is the instances.
    """

    batch: Batch
    outputs: dict[str, np.ndarray]


def answers(
    servable: Runs,
    signature_name: str,
    read: Iterable[Batch | Refusal],
    threads: int | None = None,
) -> Iterator[Answer | Refusal]:
    """Yields the answers to batches, in their order, several running at once.

    A batch that the model refuses is halved until the instances that it refuses stand
    alone: the others get their scores.

    Args:
        servable: Answers; its `run` is called from several threads.
        signature_name: Signature.
        read: Batches and refusals; the next ones are made ready in a thread.
        threads: Batches run at once; None for as many as there are cores. 0 reads and
            runs in turn, in this thread: where each core has a shard of its own,
            threads would only take the interpreter's lock from each other.
    """
    if threads == 0:
        for item in read:
            yield from _run(servable, signature_name, item)
        return
    threads = threads or min(os.cpu_count() or 1, _MOST_THREADS)
    pending: collections.deque[futures.Future[list[Answer | Refusal]]]
    pending = collections.deque()
    with futures.ThreadPoolExecutor(threads, "score") as pool:
        for item in ahead(read):
            pending.append(pool.submit(_run, servable, signature_name, item))
            # One more than run, so that no thread waits for the file to be written.
            if len(pending) > threads + 1:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


def _run(
    servable: Runs, signature_name: str, item: Batch | Refusal
) -> list[Answer | Refusal]:
    if isinstance(item, Refusal):
        return [item]
    try:
        return [Answer(item, servable.run(signature_name, item.inputs))]
    except ServingError as error:
        if len(item.rows) == 1:
            row = item.rows[0]
            return [Refusal(row.file, row.row, f"The model refused it: {error}")]
    middle = len(item.rows) // 2
    return [
        answer
        for half in (slice(None, middle), slice(middle, None))
        for answer in _run(servable, signature_name, _part(item, half))
    ]


def _part(batch: Batch, rows: slice) -> Batch:
    inputs = {alias: array[rows] for alias, array in batch.inputs.items()}
    return Batch(batch.rows[rows], inputs)


def _joined(answered: Iterable[Answer | Refusal]) -> Iterator[Answer | Refusal]:
    """Yields answers to several batches as one, where they are small and alike."""
    waiting: list[Answer] = []
    rows = size = 0
    for item in answered:
        if isinstance(item, Refusal):
            yield item
            continue
        if waiting and not _alike(waiting[0], item):
            yield _one(waiting)
            waiting, rows, size = [], 0, 0
        waiting.append(item)
        rows += len(item.batch.rows)
        size += size_of(item.batch.inputs)
        if rows >= _WRITTEN_ROWS or size >= _WRITTEN_BYTES:
            yield _one(waiting)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield _one(waiting)


def _alike(one: Answer, other: Answer) -> bool:
    """Whether two answers differ in their number of instances alone."""
    return _inner_shapes(one) == _inner_shapes(other) is not None


def _inner_shapes(answer: Answer) -> list[tuple[str, tuple[int, ...]]] | None:
    """What every instance has; None where an array has not one entry for each."""
    arrays = [*answer.batch.inputs.items(), *answer.outputs.items()]
    rows = (len(answer.batch.rows),)
    if any(array.shape[:1] != rows for _, array in arrays):
        return None  # to be refused by itself, when it is written
    return [(alias, array.shape[1:]) for alias, array in arrays]


def _one(answers: list[Answer]) -> Answer:
    if len(answers) == 1:
        return answers[0]
    rows = [row for answer in answers for row in answer.batch.rows]
    inputs = _concatenated([answer.batch.inputs for answer in answers])
    return Answer(
        Batch(rows, inputs), _concatenated([answer.outputs for answer in answers])
    )


def _concatenated(several: Sequence[Inputs]) -> Inputs:
    return {
        alias: np.concatenate([arrays[alias] for arrays in several])
        for alias in several[0]
    }


class Listener:
    """Is told how far a run is; this one does not care."""

    def scored(self, rows: int) -> None:
        """So many more instances have scores."""

    def refused(self, refusal: Refusal) -> None:
        """One more instance has none."""

    def note(self, about: str, message: str) -> None:
        """Something is changed on the way."""


def score(
    servable: Runs,
    signature_name: str,
    items: Iterable[Row | Refusal],
    output: ScoresFile,
    listener: Listener,
    largest: int | None = None,
    *,
    threads: int | None = None,
    carried: int = 0,
    tally: Tally | None = None,
) -> None:
    """Scores every instance and publishes the file.

    Args:
        servable: Answers.
        signature_name: Signature.
        items: What is read, in a thread of its own.
        output: Takes scores and refusals; published at the end.
        listener: Is told how far it is.
        largest: As for `batches`.
        threads: As for `answers`.
        carried: How many of the values that rows bring along go into the output.
        tally: Sums up what was answered.

    Raises:
        MaaskitError: The output cannot be written; or, which would be a bug, an
            instance was lost on the way. Nothing is published then.
    """
    read = _Counted(items)
    made = batches(read, largest)
    for answer in _joined(answers(servable, signature_name, made, threads)):
        if isinstance(answer, Refusal):
            output.refuse(answer)
            listener.refused(answer)
            continue
        rows = answer.batch.rows
        extra = [row.carried[:carried] for row in rows]
        output.write([row.key for row in rows], answer.outputs, extra)
        if tally is not None:
            tally.add(answer.batch, answer.outputs)
        listener.scored(len(rows))
    if read.count != output.written + output.refused:
        raise MaaskitError(
            f"Instances were lost: {read.count} were read, {output.written} written "
            f"and {output.refused} refused. Nothing was published."
        )
    output.publish()


class _Counted:
    """Counts what passes."""

    def __init__(self, items: Iterable[Row | Refusal]) -> None:
        self.count = 0
        self._items = items

    def __iter__(self) -> Iterator[Row | Refusal]:
        for item in self._items:
            self.count += 1
            yield item
