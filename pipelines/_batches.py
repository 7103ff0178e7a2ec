"""Instances gathered into batches, and made ready ahead of whoever runs them."""

import dataclasses
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from pipelines import _inputs
from pipelines._inputs import Inputs, MismatchError
from pipelines._sources import Refusal, Row
from serving.servable import SignatureInfo

AUTO_ROWS = 128
AUTO_BYTES = 32 * 2**20  # of inputs, where 128 rows would be more
_AHEAD = 2

_Item = TypeVar("_Item")


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """Instances that are run together.

    Attributes:
        rows: Where they come from.
        inputs: Alias to array, whose first axis is the instances.
    """

    rows: Sequence[Row]
    inputs: Inputs


def largest_batch(signature: SignatureInfo, asked: int | None) -> int | None:
    """Returns the most rows of one batch, None for as many as is sensible.

    Args:
        signature: What the model takes.
        asked: What the person asked for, or None.

    Raises:
        MismatchError: An input has no batch axis, or one of a fixed size above 1.
    """
    for alias, info in signature.inputs.items():
        size = info.shape[0] if info.shape else None
        if info.shape == () or size not in (None, 1):
            raise MismatchError(
                f"Axis 0 of every input must be the batch, of any size. Received: "
                f"`{alias}` {_inputs.describe_tensor(info)}."
            )
        if size == 1:
            return 1
    return asked


def batches(
    items: Iterable[Row | Refusal], largest: int | None
) -> Iterator[Batch | Refusal]:
    """Gathers consecutive instances of equal shapes; hands refusals through.

    Args:
        items: What is read.
        largest: Most instances in one batch; None for 128, or 32 MiB of inputs if that
            is less.
    """
    most = largest or AUTO_ROWS
    gathered: list[Row] = []
    size = 0
    for item in items:
        if isinstance(item, Refusal):
            yield item
            continue
        if gathered and not _alike(gathered[0].inputs, item.inputs):
            yield _stack(gathered)
            gathered, size = [], 0
        gathered.append(item)
        if largest is None:
            size += size_of(item.inputs)
        if len(gathered) >= most or size >= AUTO_BYTES:
            yield _stack(gathered)
            gathered, size = [], 0
    if gathered:
        yield _stack(gathered)


def _alike(first: Inputs, other: Inputs) -> bool:
    """Whether two instances can lie in one array for each input."""
    if first.keys() != other.keys():
        return False
    for alias, array in first.items():  # a loop: this is asked about every instance
        if array.shape != other[alias].shape:
            return False
    return True


def size_of(inputs: Inputs) -> int:
    """Returns the bytes of inputs, those of strings included."""
    return sum(_bytes(array) for array in inputs.values())


def _bytes(array: np.ndarray) -> int:
    if array.dtype == object:
        return sum(len(value) for value in array.reshape(-1).tolist())
    return array.nbytes


def _stack(rows: list[Row]) -> Batch:
    aliases = rows[0].inputs
    inputs = {alias: np.stack([row.inputs[alias] for row in rows]) for alias in aliases}
    return Batch(rows, inputs)


def ahead(items: Iterable[_Item]) -> Iterator[_Item]:
    """Yields `items`, the next two of which are made ready in a thread meanwhile.

    What making them raises is raised here, in its place.
    """
    ready: queue.Queue[tuple[_Item | None, BaseException | None]]
    ready = queue.Queue(_AHEAD)
    stopped = threading.Event()

    def put(item: _Item | None, error: BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return ready.put((item, error), timeout=0.1)
            except queue.Full:
                continue

    def fill() -> None:
        end: BaseException = StopIteration()
        try:
            for item in items:
                put(item, None)
                if stopped.is_set():
                    return
        except BaseException as error:
            end = error
        put(None, end)

    threading.Thread(target=fill, name="read-ahead", daemon=True).start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
