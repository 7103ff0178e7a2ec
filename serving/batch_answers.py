"""Results on their way from the thread that ran a batch to those who wait for them."""

import asyncio
from collections.abc import Callable, Sequence

from serving.batch_run import Result, Task


def hand_over(tasks: Sequence[Task], results: Sequence[Result]) -> None:
    """Answers tasks: those of an event loop all at once, in its own thread.

    Args:
        tasks: What shared a batch.
        results: Outputs, or what was raised, for each.
    """
    here: list[tuple[Task, Result]] = []
    on_loops: dict[asyncio.AbstractEventLoop, list[tuple[Task, Result]]] = {}
    for task, result in zip(tasks, results, strict=True):
        loop = task.answer.get_loop()
        answers = here if loop is None else on_loops.setdefault(loop, [])
        answers.append((task, result))
    for loop, answers in on_loops.items():
        call_on(loop, _settle, answers)
    _settle(here)


def call_on(
    loop: asyncio.AbstractEventLoop | None,
    function: Callable[..., object],
    *args: object,
) -> None:
    """Has an event loop call something, unless the server has ended it."""
    if loop is not None and not loop.is_closed():
        loop.call_soon_threadsafe(function, *args)


def _settle(answers: Sequence[tuple[Task, Result]]) -> None:
    for task, result in answers:
        if task.answer.done():
            continue
        if isinstance(result, Exception):
            task.answer.set_exception(result)
        else:
            task.answer.set_result(result)
