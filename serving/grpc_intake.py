"""Calls that have come and are not looked at yet.

The front tells of each call, and of each that is given up, in the order that they came.
Where calls come faster than they are read, those given up must not be read first: a
server that does work for clients that have gone falls further behind.
"""

import collections
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from pygrpc_native import EVENT_CANCEL, NativeGrpcFront

from serving.errors import ServingError, UnavailableError

# Kind, id, number of the method, the message, and the rest as the front has it.
Event: TypeAlias = Sequence[Any]

_EVENTS = 64  # received at a time
# Large requests that come at the same time must not be refused for that alone.
_MAX_BYTES = 1024 * 1024 * 1024


class Intake:
    """What a front has received, in its order. For one thread at a time."""

    def __init__(
        self,
        front: NativeGrpcFront,
        cancel: Callable[[int], None],
        refuse: Callable[[int, ServingError], None],
        max_bytes: int = _MAX_BYTES,
    ) -> None:
        """Begins without calls.

        Args:
            front: What receives.
            cancel: Is told the id of a call that was taken and is given up now.
            refuse: Is told the id of a call that there is no room for, and why.
            max_bytes: Of messages that may wait; a single one may be larger.
        """
        self._front = front
        self._cancel = cancel
        self._refuse = refuse
        self._max_bytes = max_bytes
        self._calls: collections.deque[Event] = collections.deque()
        self._bytes = 0
        self._closed = False

    def __len__(self) -> int:
        """Calls that wait."""
        return len(self._calls)

    def receive(self, elsewhere: int = 0) -> bool:
        """Waits for events, if no call is left; else takes those that are there.

        Args:
            elsewhere: Bytes of calls that were taken, and wait in another place.

        Returns:
            False once the front is closed.
        """
        # Closing it wakes one thread alone, so that one tells the others.
        while not self._closed:
            timeout_ms = 0 if self._calls else None
            events = self._front.recv_batch_details(_EVENTS, timeout_ms)
            if events is None:
                self._closed = True
                break
            for event in events:
                if event[0] == EVENT_CANCEL:
                    self._give_up(event[1])
                else:
                    self._add(event, elsewhere)
            if len(events) < _EVENTS:
                return True
        return False

    def take(self) -> Event | None:
        """Returns the call that has waited the longest; None where none is left."""
        if not self._calls:
            return None
        event = self._calls.popleft()
        self._bytes -= len(event[3])
        return event

    def _add(self, event: Event, elsewhere: int) -> None:
        size = len(event[3])
        waiting = self._bytes + elsewhere
        if waiting and waiting + size > self._max_bytes:
            error = UnavailableError(
                f"The server is behind: {waiting} bytes of requests wait to be read, "
                f"and at most {self._max_bytes} may."
            )
            self._refuse(event[1], error)
            return
        self._calls.append(event)
        self._bytes += size

    def _give_up(self, call_id: int) -> None:
        for place, event in enumerate(self._calls):
            if event[1] == call_id:
                self._bytes -= len(event[3])
                del self._calls[place]
                return
        self._cancel(call_id)
