"""What passes between a front that receives calls and those that answer them."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import grpc.aio

from serving.errors import ServingError
from serving.upstream_calls import Metadata

# Metadata, the client's address, and the seconds that are left or None.
CallDetails: TypeAlias = tuple[Sequence[tuple[str, str | bytes]], str, float | None]


class Sink(Protocol):
    """Sends what a call is answered with. From any thread."""

    def answer(
        self,
        call_id: int,
        data: bytes,
        initial: Metadata = (),
        trailing: Metadata = (),
    ) -> None:
        """Sends a message, and metadata before and after it."""
        ...

    def refuse(self, call_id: int, error: ServingError) -> None:
        """Sends a status."""
        ...

    def fail(self, call_id: int, error: grpc.aio.AioRpcError) -> None:
        """Sends another server's status, with the metadata after it."""
        ...


class Call(Protocol):
    """A call that was taken."""

    def start(self) -> None:
        """Begins; the sink is told of the end."""
        ...

    def cancel(self) -> None:
        """Takes note that nobody waits for it any more."""
        ...


class Helpers(Protocol):
    """Threads that may be short of one."""

    @property
    def count(self) -> int:
        """How many may work at the same time."""
        ...

    def wants_help(self) -> bool:
        """Whether the caller should `help` now."""
        ...

    def help(self) -> None:
        """Does what there is to do, in the caller's thread."""
        ...


class Direct(Protocol):
    """Takes calls that need no event loop. Thread-safe.

    Attributes:
        threads: What receiving threads help in their turn; None for nothing.
    """

    @property
    def threads(self) -> Helpers | None:
        """See above."""
        ...

    def take(
        self, call_id: int, path: str, data: bytes, details: CallDetails, sink: Sink
    ) -> Call | None:
        """Returns a call that can be started, or None for one that is not plain."""
        ...
