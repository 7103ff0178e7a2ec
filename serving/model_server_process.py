"""TF Serving's own binary as a child of the shim, over the same store.

It listens on a Unix socket that only this user can reach: its TCP port would be open to
the whole network. What it serves is written for it as a `ModelServerConfig`, anew when
models come to the store or go.
"""

import asyncio
import atexit
import contextlib
import ctypes
import logging
import math
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable

from google.protobuf import text_format

from savedmodels.protos import model_server_config_pb2
from serving import version_folders
from serving.flags import ServerOptions
from serving.upstream import Upstream

logger = logging.getLogger(__name__)

BINARY = "tensorflow_model_server"
# Flags that say where and how the shim itself is reached, and those that only it has.
_OF_THE_SHIM = frozenset(
    "convert_on_load cpu_engine drain_seconds enable_grpc_healthcheck_service "
    "enable_grpc_reflection engine grpc_channel_arguments grpc_engine "
    "grpc_socket_path host max_batch_size max_enqueued_batches num_batch_threads port "
    "rest_api_enable_cors_support rest_api_enable_tls rest_api_port "
    "rest_api_timeout_in_ms ssl_config_file store".split()
)
# Fractions are understood here, and not by TF Serving.
_WHOLE_SECONDS = frozenset(
    {"file_system_poll_wait_seconds", "model_config_file_poll_wait_seconds"}
)
_STOP_S = 10.0
_LOOK_S = 0.5  # between looks at the store, and at whether the process lives
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class ModelServerProcess(Upstream):
    """The binary, started and ended with this object. For one event loop."""

    def __init__(
        self, options: ServerOptions, *, on_change: Callable[[], None]
    ) -> None:
        """Starts the process; its models load meanwhile. Needs a running event loop.

        Args:
            options: What to serve, and how.
            on_change: See `Upstream`.

        Raises:
            FileNotFoundError: The binary is not on PATH.
        """
        binary = shutil.which(BINARY)
        if binary is None:
            raise FileNotFoundError(
                f"`{BINARY}` is not on PATH. Install it (Debian, Ubuntu: the package "
                "tensorflow-model-server of "
                "https://www.tensorflow.org/tfx/serving/setup), leave ENGINE= away to "
                "serve without it, or forward to one that runs elsewhere: "
                "make serve UPSTREAM=host:port"
            )
        self._options = options
        self._store = options.store
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="maaskit-"))
        self._config_file = self._folder / "models.config"
        socket_path = self._folder / "grpc.sock"
        self._written = ""
        self._write_config()
        # Before the first channel is made: gRPC does not like to be forked.
        self._process = subprocess.Popen(
            [binary, *self._flags(), f"--grpc_socket_path={socket_path}"],
            stdout=sys.stderr,  # stdout has one line, which says where the shim is
            start_new_session=True,  # Ctrl-C is for the shim, which drains first.
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
        atexit.register(self._clean_up)
        self._was_ready = False
        super().__init__(
            [f"unix:{socket_path}"],
            timeout_s=options.rest_api_timeout_s,
            on_change=on_change,
            grpc_options=options.grpc,
        )

    async def stop(self) -> None:
        """Ends the process, and closes the connection to it."""
        await super().stop()
        await asyncio.to_thread(self._clean_up)

    async def watch(self) -> None:
        """Follows the store until the process ends, which it should not.

        Raises:
            ChildProcessError: It ended.
        """
        while (code := self._process.poll()) is None:
            await asyncio.sleep(_LOOK_S)
            try:
                await asyncio.to_thread(self._write_config)
            except OSError as error:
                logger.warning("The store cannot be read now: %s", error)
        raise ChildProcessError(
            f"`{BINARY}` ended with code {code}. Its messages above say why."
        )

    def settled(self) -> bool:
        """Whether the process took requests once: it does so with all models loaded."""
        self._was_ready = self._was_ready or self.ready()
        return self._was_ready

    def announcement(self) -> str:
        """Returns what is served, for the line that says where."""
        return f"upstream: {BINARY}, process {self._process.pid}"

    def _flags(self) -> list[str]:
        """TF Serving's flags, as they were given to the shim."""
        given = {k: v for k, v in self._options.given.items() if k not in _OF_THE_SHIM}
        flags: dict[str, object] = {"port": 0, "rest_api_port": 0, **given}
        if self._store is not None:
            flags["model_config_file"] = self._config_file
            flags["model_config_file_poll_wait_seconds"] = 1
        for name in _WHOLE_SECONDS & flags.keys():
            flags[name] = math.ceil(float(str(flags[name])))
        return [f"--{name}={_text(value)}" for name, value in flags.items()]

    def _write_config(self) -> None:
        """Writes which models the store has, where that has changed."""
        found = None if self._store is None else version_folders.models_in(self._store)
        if found is None and self._written:
            return  # No store, or one that is gone for the moment: nothing has changed.
        config = model_server_config_pb2.ModelServerConfig()
        config.model_config_list.SetInParent()
        for name, source in (found or {}).items():
            config.model_config_list.config.add(
                name=name,
                base_path=str(source.base_path.resolve()),
                model_platform="tensorflow",
            )
        text = text_format.MessageToString(config)
        if text != self._written:
            staging = self._folder / ".models.config"
            staging.write_text(text, encoding="utf-8")
            staging.rename(self._config_file)
            self._written = text

    def _clean_up(self) -> None:
        """Ends the process, at once where it does not end when told."""
        atexit.unregister(self._clean_up)
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(OSError):
            shutil.rmtree(self._folder)


def _text(value: object) -> str:
    """A flag's value as TF Serving reads it: paths from the root."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, pathlib.Path):
        return str(value.resolve())
    return str(value)


def _end_with_parent() -> None:
    """Asks Linux to end this process when the shim is gone, even by SIGKILL."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
