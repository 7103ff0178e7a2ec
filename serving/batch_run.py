"""One batch: the requests that share it, joined, run and taken apart again."""

import asyncio
import bisect
import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import numpy as np

from serving import batch_axis
from serving.batch_axis import Arrays, Shapes
from serving.errors import ServingError

logger = logging.getLogger(__name__)

Result: TypeAlias = Arrays | Exception


class Answer(Protocol):
    """Who waits for a task: a future of an event loop, or what any thread may call."""

    def get_loop(self) -> asyncio.AbstractEventLoop | None:
        """Returns the event loop whose thread alone may call it; None for any."""
        ...

    def done(self) -> bool:
        """Whether it is answered, or waits no longer."""
        ...

    def set_result(self, result: Arrays, /) -> None:
        """Takes all outputs."""
        ...

    def set_exception(self, exception: Exception, /) -> None:
        """Takes what went wrong."""
        ...


@dataclasses.dataclass(slots=True, eq=False)
class Task:
    """One request, or one piece of a large one.

    Attributes:
        inputs: Alias to array.
        rows: Length of the batch axis; 1 where there is none.
        shapes: Those behind the batch axis; None: it must run alone.
        answer: Takes all outputs, once there.
        deadline: Time of the monotonic clock after which nobody waits, or None.
        since: Time of the monotonic clock at which it began to wait.
        run_s: Seconds that its run took, once it is answered.
    """

    inputs: Arrays
    rows: int
    shapes: Shapes | None
    answer: Answer
    deadline: float | None
    since: float
    run_s: float = 0.0


def run_tasks(
    run: Callable[[Arrays], Arrays],
    tasks: Sequence[Task],
    allowed_sizes: Sequence[int] = (),
) -> list[Result]:
    """Runs a batch; where it fails, each request alone, so none fails for another.

    Args:
        run: Runs one batch and returns all outputs.
        tasks: Requests of the same shapes; or one that must run alone.
        allowed_sizes: Sizes that a batch is padded to, ascending; empty for none.

    Returns:
        Outputs, or what was raised, for each task.
    """
    start = time.monotonic()
    results = _run_together(run, tasks, allowed_sizes)
    seconds = time.monotonic() - start
    for task in tasks:
        task.run_s = seconds
    return results


def _run_together(
    run: Callable[[Arrays], Arrays],
    tasks: Sequence[Task],
    allowed_sizes: Sequence[int],
) -> list[Result]:
    may_pad = bool(allowed_sizes) and tasks[0].shapes is not None
    if len(tasks) > 1 or may_pad:
        try:
            inputs = _padded(_joined(tasks), tasks, allowed_sizes)
            return _split(run(inputs), tasks, batch_axis.rows(inputs))
        except Exception:
            # Whose fault it was shows below: that request fails again, alone.
            logger.debug("A batch of %d failed", len(tasks), exc_info=True)
    return [_run_alone(run, task) for task in tasks]


def padded_rows(tasks: Sequence[Task], allowed_sizes: Sequence[int]) -> int:
    """Returns how many rows a batch has once it is padded.

    Args:
        tasks: Requests that share it.
        allowed_sizes: As for `run_tasks`.
    """
    rows = sum(task.rows for task in tasks)
    index = bisect.bisect_left(allowed_sizes, rows)
    is_within = rows and index < len(allowed_sizes)
    return allowed_sizes[index] if is_within else rows


def _run_alone(run: Callable[[Arrays], Arrays], task: Task) -> Result:
    try:
        return run(task.inputs)
    except Exception as error:
        return error


def _joined(tasks: Sequence[Task]) -> Arrays:
    if len(tasks) == 1:
        return tasks[0].inputs
    return {
        alias: batch_axis.joined([task.inputs[alias] for task in tasks])
        for alias in tasks[0].inputs
    }


def _padded(
    inputs: Arrays, tasks: Sequence[Task], allowed_sizes: Sequence[int]
) -> Arrays:
    """The batch, made up to an allowed size with the last task's first row."""
    last = next((task for task in reversed(tasks) if task.rows), None)
    rows = sum(task.rows for task in tasks)
    missing = padded_rows(tasks, allowed_sizes) - rows
    if last is None or not missing:
        return inputs
    # As it stands in the batch: there it may have been made longer.
    first = slice(rows - last.rows, rows - last.rows + 1)
    return {
        alias: np.concatenate([array, np.repeat(array[first], missing, 0)])
        for alias, array in inputs.items()
    }


def _split(outputs: Arrays, tasks: Sequence[Task], rows: int) -> list[Result]:
    """Each request's rows of the outputs; what the padding gave is dropped."""
    if not batch_axis.fits(outputs, rows):
        raise ServingError("The outputs do not have one row per input row.")
    results: list[Result] = []
    end = 0
    for task in tasks:
        start, end = end, end + task.rows
        results.append(batch_axis.part(outputs, start, end))
    return results
