"""Kept-alive HTTP connections to one server, for any number of threads."""

import collections
import http.client
import time
import urllib.parse

from serving.client import connect_waits
from serving.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    UnavailableError,
)

_HEADERS = {"Content-Type": "application/json"}


class HttpConnections:
    """Exchanges requests for answers, one at a time on each connection."""

    def __init__(self, url: str) -> None:
        """Connects with the first exchange.

        Args:
            url: `http` or `https`, a host, perhaps a port and a path.

        Raises:
            InvalidRequestError: `url` is not of that form.
        """
        parts = urllib.parse.urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            parts, port = urllib.parse.urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidRequestError(
                "The URL does not name a server. Expected one as in "
                f"http://127.0.0.1:8501. Received: {url}."
            )
        self.url = url.rstrip("/")
        self._prefix = parts.path.rstrip("/")
        self._is_https = parts.scheme == "https"
        self._host, self._port = parts.hostname, port
        # Appending and popping are atomic; the one used last is the likeliest alive.
        self._idle: collections.deque[http.client.HTTPConnection] = collections.deque()

    def close(self) -> None:
        """Closes what is idle."""
        while self._idle:
            self._idle.pop().close()

    def exchange(
        self, method: str, path: str, body: bytes | None, timeout_s: float
    ) -> tuple[int, bytes]:
        """Sends one request and reads the whole answer.

        Returns:
            HTTP status and body.

        Raises:
            UnavailableError: No server answers there, or it broke the connection.
            DeadlineExceededError: The answer was not there in time.
        """
        deadline = time.monotonic() + timeout_s
        try:
            idle = self._idle.pop() if self._idle else None
        except IndexError:  # another thread took the last one
            idle = None
        if idle is not None:
            try:
                return self._send(idle, method, path, body, deadline)
            except ConnectionError:
                # The server had closed it while it was idle. To ask again is safe:
                # no request changes anything on the server.
                pass
            except (OSError, http.client.HTTPException) as error:
                raise self._failure(error, timeout_s) from error
        try:
            return self._send(self._connect(deadline), method, path, body, deadline)
        except (OSError, http.client.HTTPException) as error:
            raise self._failure(error, timeout_s) from error

    def _connect(self, deadline: float) -> http.client.HTTPConnection:
        kind = (
            http.client.HTTPSConnection
            if self._is_https
            else http.client.HTTPConnection
        )
        for again in connect_waits(deadline):
            connection = kind(self._host, self._port, timeout=_left(deadline))
            try:
                connection.connect()
                return connection
            except ConnectionRefusedError:
                connection.close()
                if not again:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        deadline: float,
    ) -> tuple[int, bytes]:
        try:
            connection.sock.settimeout(_left(deadline))
            connection.request(method, self._prefix + path, body, _HEADERS)
            response = connection.getresponse()
            data = response.read()
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            self._idle.append(connection)
        return response.status, data

    def _failure(
        self, error: Exception, timeout_s: float
    ) -> DeadlineExceededError | UnavailableError:
        if isinstance(error, TimeoutError):
            return DeadlineExceededError(
                f"No answer from {self.url} within {timeout_s:g} s."
            )
        return UnavailableError(f"No answer from {self.url}: {error}.")


def _left(deadline: float) -> float:
    """Seconds until the deadline; a moment at least, since a socket takes no less."""
    return max(deadline - time.monotonic(), 0.001)
