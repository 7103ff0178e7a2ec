"""The HTTP engine under the REST application: uvicorn, told how to end."""

import contextlib
import logging
from collections.abc import Iterator

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.rest_http import App


def make_server(app: App, drain_s: float) -> uvicorn.Server:
    """Returns a server that does not listen yet.

    Args:
        app: What it serves.
        drain_s: Seconds that requests in flight have once it is told to stop.
    """
    return _Uvicorn(
        uvicorn.Config(
            app,
            loop="none",
            http=_Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            access_log=False,
            log_config=None,
            log_level=logging.WARNING,
            server_header=False,
            timeout_graceful_shutdown=max(1, round(drain_s)),
        )
    )


class _Uvicorn(uvicorn.Server):
    """Leaves the signals to the process's own handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Connection(HttpToolsProtocol):
    """Is not waited for at the end unless its request is complete."""

    def shutdown(self) -> None:
        cycle = self.cycle
        if cycle is not None and cycle.more_body and not self.pipeline:
            self.transport.close()
        else:
            super().shutdown()
