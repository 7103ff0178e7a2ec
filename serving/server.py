"""One process that serves over gRPC and REST, from start to clean end."""

import asyncio
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Sequence
from typing import Any

import uvicorn
import uvloop

from serving import (
    flags,
    listening,
    memory,
    monitoring_config,
    rest_listener,
    rest_server,
    tls,
)
from serving.errors import ServingError
from serving.flags import ServerOptions
from serving.grpc_server import HEALTH_NAMES
from serving.model_server_process import BINARY, ModelServerProcess
from serving.served import Embedded, Served
from serving.upstream import Upstream

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM or Ctrl-C.

    Once every version that was found is loaded, one line on stdout says where:
    `serving: gRPC 127.0.0.1:8500, REST http://127.0.0.1:8501, models: mnist/1`.

    Args:
        argv: Flags; None for the process's own.

    Returns:
        Exit code: 0 after a clean end, 1 where a port cannot be had or the config
        file is refused.
    """
    options = flags.parse(argv)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for line in options.warnings:
        logger.warning(line)
    # TensorFlow reads them when a version brings it in.
    os.environ.update(options.environment)
    try:
        uvloop.run(Server(options).run())
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ServingError as error:
        reason = f"{error.grpc_code.name}: {error}"
        print(f"error: Failed to start server. Error: {reason}", file=sys.stderr)
        return 1
    return 0


class Server:
    """The server of one command line. For one event loop, and one run."""

    def __init__(self, options: ServerOptions) -> None:
        """Prepares; `run` does it all.

        Args:
            options: What to serve, where, and how.
        """
        self._options = options
        self._ports = (0, -1)
        self._draining = False
        self._announced = False
        self._known: set[str] = set()

    async def run(self) -> None:
        """Serves until the process is told to stop.

        Raises:
            OSError: A port is taken, or the address is not this machine's.
            ServingError: The config file is refused.
        """
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        stop = _stop_signal(self._loop)
        self._served = self._make_served()
        self._predictor = self._served.predictor
        self._grpc = self._served.grpc_server()
        metrics_path = self._metrics_path()
        app = rest_server.make_app(
            self._predictor,
            ready=self.ready,
            timeout_s=self._options.rest_api_timeout_s,
            cors=self._options.rest_api_enable_cors_support,
            readiness=self._served.readiness,
            metrics=self._served.metrics if metrics_path else str,
            metrics_path=metrics_path,
            counters=self._served.counters,
        )
        rest = rest_listener.make_server(
            app,
            self._options.drain_s,
            tls=self._rest_tls(),
            direct=self._served.rest_direct(
                self._options.rest_api_timeout_s,
                rest_server.headers(cors=self._options.rest_api_enable_cors_support),
            ),
        )
        rest_sockets = await self._listen()
        self._served.start()
        tasks = [
            asyncio.create_task(stop.wait()),
            asyncio.create_task(self._follow_changes()),
            asyncio.create_task(self._served.watch()),
        ]
        if rest_sockets:
            tasks.append(asyncio.create_task(rest.serve(sockets=rest_sockets)))
        # All of them go on until the signal comes, unless one fails.
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await self._end(rest, tasks[3:])
        for task in tasks[:3]:
            task.cancel()
        for task in ended:
            task.result()

    def _rest_tls(self) -> ssl.SSLContext | None:
        file = self._options.grpc.ssl_config_file
        if file is None or not self._options.rest_api_enable_tls:
            return None
        return tls.server_context(file)

    def _make_served(self) -> Served:
        if self._options.engine == BINARY:
            return ModelServerProcess(self._options, on_change=self._note_change)
        if not self._options.upstream:
            return Embedded(self._options, on_change=self._note_change)
        return Upstream(
            self._options.upstream,
            timeout_s=self._options.rest_api_timeout_s,
            on_change=self._note_change,
            tls=self._options.upstream_tls,
            forwards_profiler=self._options.serves_profiler,
            grpc_options=self._options.grpc,
        )

    def _metrics_path(self) -> str:
        """Where metrics are read; "" where the file of the flag turns them off."""
        file = self._options.monitoring_config_file
        if file is None:
            return monitoring_config.DEFAULT_PATH
        path = monitoring_config.read(file)
        if path and self._options.rest_api_port < 0:
            logger.warning("Metrics are read on the REST port, and there is none.")
        return path

    async def _listen(self) -> list[socket.socket]:
        """Opens both ports, and returns the REST socket, if there is to be one."""
        host = self._options.host
        sockets = []
        rest_port = self._options.rest_api_port
        if rest_port > 0 and rest_port == self._options.port:
            logger.error(
                "server_options.http_port cannot be same as grpc_port. Please use a "
                "different port for HTTP/REST API. Skipped exporting HTTP/REST API."
            )
            rest_port = -1
        if rest_port >= 0:
            sockets.append(listening.open_socket(host, rest_port, "REST"))
            rest_port = sockets[0].getsockname()[1]
        await self._tell_health()
        grpc_options = self._options.grpc
        port = await self._grpc.start(host, self._options.port, grpc_options)
        self._ports = (port, rest_port)
        return sockets

    async def _end(
        self, rest: uvicorn.Server, rest_tasks: Sequence[asyncio.Task[Any]]
    ) -> None:
        """Answers what is in flight, then frees everything."""
        drain_s = self._options.drain_s
        logger.info("Stopping: calls in flight have %g s", drain_s)
        self._draining = True
        await self._tell_health()
        rest.should_exit = True
        await self._grpc.stop(drain_s)
        if rest_tasks:
            await asyncio.wait(rest_tasks)
        await self._served.stop()

    def ready(self) -> bool:
        """Whether what was found at the start is loaded, and some model answers."""
        settled = self._announced or self._served.settled()
        return not self._draining and settled and self._served.ready()

    def _note_change(self) -> None:
        # Called by any thread.
        self._loop.call_soon_threadsafe(self._changed.set)

    def _models(self) -> dict[str, bool]:
        return dict(self._predictor.models())

    async def _follow_changes(self) -> None:
        """Keeps health true, and memory tidy, as versions come and go."""
        while True:
            await self._tell_health()
            if not self._announced and self._served.settled():
                await asyncio.to_thread(memory.tidy)
                self._announced = True
                await self._tell_health()
                self._announce()
            await self._changed.wait()
            self._changed.clear()
            if self._announced and self._served.settled():
                await asyncio.to_thread(memory.tidy)

    async def _tell_health(self) -> None:
        models = self._models()
        ready = self.ready()
        names = {"": ready, **dict.fromkeys(HEALTH_NAMES, ready)}
        gone = dict.fromkeys(self._known - models.keys(), False)
        self._known.update(models)
        await self._grpc.set_health({**names, **gone, **models})

    def _announce(self) -> None:
        host = self._options.host
        port, rest_port = self._ports
        scheme = "https" if self._options.rest_api_enable_tls else "http"
        rest_url = f"{scheme}://{listening.address(host, rest_port)}"
        grpc_at = [listening.address(host, port)] if port >= 0 else []
        if socket_path := self._options.grpc.socket_path:
            grpc_at.append(f"unix:{socket_path}")
        print(
            f"serving: gRPC {' and '.join(grpc_at)}, "
            f"REST {rest_url if rest_port > 0 else 'none'}, "
            f"{self._served.announcement()}",
            flush=True,
        )
        if advice := self._served.advice():
            print(advice, file=sys.stderr, flush=True)


def _stop_signal(loop: asyncio.AbstractEventLoop) -> asyncio.Event:
    """An event that SIGTERM and Ctrl-C set; a second one ends the process at once."""
    stop = asyncio.Event()

    def on_signal(number: int) -> None:
        stop.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return stop
