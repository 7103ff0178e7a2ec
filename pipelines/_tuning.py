"""How many rows a batch should have, tried on the first rows of the input.

An answer's last digits may depend on the size of its batch, so a run that is taken up
again takes the size that it was begun with.
"""

import time
from collections.abc import Iterable

import numpy as np

from pipelines import _batches
from pipelines._inputs import Inputs
from pipelines._scorer import Runs
from pipelines._sources import Refusal, Row
from serving.errors import ServingError

_SIZES = (16, 32, 64, 128, 256, 512, 1024)
_FEWEST_ROWS = 5_000  # with less to do, trying takes longer than it can save
_REPEATS = 3
_LONGEST_S = 0.5  # of one batch: larger ones would not be told from it in time
_BETTER = 1.05


def rows(
    runs: Runs, signature_name: str, items: Iterable[Row | Refusal], total: int
) -> int:
    """Returns the size of batch that was the fastest for each row.

    Args:
        runs: Answers.
        signature_name: Signature.
        items: What is read; the first row is tried, as often as a batch needs it.
        total: Rows of the whole input; `_batches.AUTO_ROWS` will do for few.
    """
    if total < _FEWEST_ROWS:
        return _batches.AUTO_ROWS
    row = next((item for item in items if isinstance(item, Row)), None)
    if row is None:
        return _batches.AUTO_ROWS
    best, fastest = 0, float("inf")
    for size in _SIZES:
        inputs = {
            alias: np.repeat(array[np.newaxis], size, axis=0)
            for alias, array in row.inputs.items()
        }
        if best and _batches.size_of(inputs) > _batches.AUTO_BYTES:
            break
        try:
            seconds = _seconds(runs, signature_name, inputs)
        except ServingError:
            return _batches.AUTO_ROWS  # reading it tells why
        if seconds / size * _BETTER < fastest:
            best, fastest = size, seconds / size
        elif size >= 4 * best:
            break
        if seconds > _LONGEST_S:
            break
    return best


def _seconds(runs: Runs, signature_name: str, inputs: Inputs) -> float:
    """The least time that a batch took, after one that nobody times."""
    runs.run(signature_name, inputs)
    least = float("inf")
    for _ in range(_REPEATS):
        started = time.perf_counter()
        runs.run(signature_name, inputs)
        least = min(least, time.perf_counter() - started)
        if least > _LONGEST_S:
            break
    return least
