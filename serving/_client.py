"""What the gRPC and the REST client share: how they connect, and arrays as inputs."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from serving.errors import InvalidRequestError

# A server that is just starting, or being replaced, is back by then.
CONNECT_WAITS_S = (0.1, 0.4)


def connect_waits(deadline: float) -> Iterator[bool]:
    """Paces attempts to connect: yields whether another one follows.

    Args:
        deadline: On `time.monotonic`'s clock; no wait goes beyond it.
    """
    for wait_s in CONNECT_WAITS_S:
        if time.monotonic() + wait_s > deadline:
            break
        yield True
        time.sleep(wait_s)
    yield False


def as_array(alias: str, value: Any) -> np.ndarray:
    """Returns an input as an array; strings as objects of bytes.

    Raises:
        InvalidRequestError: The value is ragged.
    """
    try:
        array = np.asarray(value)
        if array.dtype.kind in "SUO":
            # From the value itself: numpy's own strings lose NULs at their end.
            array = np.asarray(value, np.object_)
            flat = [_to_bytes(alias, item) for item in array.reshape(-1).tolist()]
            encoded = np.empty(len(flat), np.object_)
            encoded[:] = flat
            return encoded.reshape(array.shape)
        return array
    except ValueError as error:
        raise InvalidRequestError(
            f"Input `{alias}` is not an array. Expected numbers, or nested lists of "
            f"one shape. Received: {type(value).__name__} ({error})."
        ) from error


def _to_bytes(alias: str, item: Any) -> bytes:
    if isinstance(item, str):
        return item.encode()
    if isinstance(item, bytes):
        return item
    raise InvalidRequestError(
        f"Input `{alias}` mixes strings with other values, or holds objects. "
        f"Expected bytes or str. Received: {type(item).__name__}."
    )
