"""The connections over which plain calls pass to one upstream server.

They are beside the channel of grpcio, which does the rest: it asks for the server's
health, and takes the calls while none of these is open. A name that stands for several
addresses has a connection to each.
"""

import contextlib
import itertools
import logging
import socket
import threading
from typing import Any, TypeAlias, cast

from serving.http2_client import Connection

logger = logging.getLogger(__name__)

_CONNECT_S = 1.0
_UNIX = "unix:"
_Place: TypeAlias = tuple[socket.AddressFamily, str | tuple[str | int, ...]]


class Lines:
    """Those to one server. Thread-safe."""

    def __init__(self, address: str) -> None:
        """Connects with `keep`.

        Args:
            address: `host:port`, or `unix:path`.
        """
        self._address = address
        self.authority = "localhost" if address.startswith(_UNIX) else address
        self._open: dict[_Place, Connection] = {}
        self._least = 1
        self._turns = itertools.count()
        self._connecting = threading.Lock()
        self._is_closed = False

    def pick(self) -> Connection | None:
        """Returns the connection whose turn it is, or None where none is open."""
        found = [line for line in list(self._open.values()) if line.is_open]
        return found[next(self._turns) % len(found)] if found else None

    def keep(self) -> None:
        """Connects anew what has closed, by a thread of its own."""
        still = sum(line.is_open for line in list(self._open.values()))
        if still < self._least and not self._is_closed:
            threading.Thread(target=self._connect, daemon=True).start()

    def abandon(self, why: str) -> None:
        """Ends all connections, and so their calls."""
        for line in list(self._open.values()):
            line.close(why)

    def close(self) -> None:
        """Ends all connections for good."""
        with self._connecting:
            self._is_closed = True
            lines = list(self._open.values())
        for line in lines:
            line.close("The shim is shutting down.")
            line.join()

    def _connect(self) -> None:
        if not self._connecting.acquire(blocking=False):
            return
        try:
            if self._is_closed:
                return
            lines = {p: line for p, line in self._open.items() if line.is_open}
            for place in _places(self._address):
                if place not in lines and (line := _connected(place)):
                    lines[place] = line
            self._open = lines
            self._least = max(1, len(lines))
        finally:
            self._connecting.release()


def _places(address: str) -> list[_Place]:
    """Where a server listens; none where that is not known."""
    if address.startswith(_UNIX):
        return [(socket.AF_UNIX, address.removeprefix(_UNIX))]
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return []
    with contextlib.suppress(OSError, UnicodeError):
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        return list(
            dict.fromkeys((kind, cast(Any, place)) for kind, *_, place in found)
        )
    return []


def _connected(place: _Place) -> Connection | None:
    kind, where = place
    found = socket.socket(kind, socket.SOCK_STREAM)
    found.settimeout(_CONNECT_S)
    try:
        found.connect(where)
    except OSError as error:
        logger.debug("No connection to %s: %s", where, error)
        found.close()
        return None
    found.settimeout(None)
    if kind != socket.AF_UNIX:
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Connection(found)
