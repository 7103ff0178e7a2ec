"""The server's flags: those of `tensorflow_model_server`, and a few of its own.

Both `--port=8500` and `--port 8500` are understood; a switch may stand alone or have a
value, as in `--enable_batching=false`.
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Sequence

from serving.batcher import BatchingOptions
from serving.command_line import Parser, addresses, whole_number
from serving.embedded import EmbeddedOptions
from serving.version_state import WatchOptions


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ServerOptions:
    """What the command line says.

    Attributes:
        store: Folder of `<model>/<version>`, or None where one model is named.
        model_name: Name of the one model that is served without a store.
        model_base_path: Its folder of versions.
        host: Name or address to listen on.
        port: gRPC port; 0 takes a free one.
        rest_api_port: REST port; 0 takes a free one, -1 serves no REST.
        rest_api_timeout_s: Seconds after which a REST request ends with 504.
        rest_api_enable_cors_support: Whether browsers may call from any web page.
        drain_s: Seconds that calls in flight have once the server is told to stop.
        as_content: Whether outputs are sent as `tensor_content`.
        embedded: How versions are loaded and run.
        upstream: Servers to forward to, in place of loading anything; or none.
    """

    store: pathlib.Path | None
    model_name: str
    model_base_path: pathlib.Path | None
    host: str
    port: int
    rest_api_port: int
    rest_api_timeout_s: float
    rest_api_enable_cors_support: bool
    drain_s: float
    as_content: bool
    embedded: EmbeddedOptions
    upstream: tuple[str, ...] = ()


def parse(argv: Sequence[str] | None = None) -> ServerOptions:
    """Returns the options; a wrong flag ends the process with code 2 and a message."""
    parser = _parser()
    flags = parser.parse_args(argv)
    if bool(flags.store) + bool(flags.model_base_path) + bool(flags.upstream) != 1:
        parser.error(
            "one of --store, --model_base_path and --upstream says what to serve. "
            "Type, as an example, --store=artifacts/models"
        )
    watch = WatchOptions(
        file_system_poll_wait_seconds=flags.file_system_poll_wait_seconds,
        max_num_load_retries=flags.max_num_load_retries,
        load_retry_interval_seconds=flags.load_retry_interval_micros / 1e6,
        num_load_threads=max(1, flags.num_load_threads),
    )
    batching = BatchingOptions(
        max_batch_size=flags.max_batch_size,
        max_enqueued_batches=flags.max_enqueued_batches,
        num_batch_threads=flags.num_batch_threads,
    )
    return ServerOptions(
        store=flags.store,
        model_name=flags.model_name,
        model_base_path=flags.model_base_path,
        host=flags.host,
        port=flags.port,
        rest_api_port=flags.rest_api_port,
        rest_api_timeout_s=flags.rest_api_timeout_in_ms / 1000,
        rest_api_enable_cors_support=flags.rest_api_enable_cors_support,
        drain_s=flags.drain_seconds,
        as_content=flags.enable_serialization_as_tensor_content,
        embedded=EmbeddedOptions(
            watch=watch,
            enable_batching=flags.enable_batching,
            batching=batching,
            enable_model_warmup=flags.enable_model_warmup,
            prefer_litert=flags.prefer_tflite_model,
        ),
        upstream=flags.upstream or (),
    )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m serving",
        description="Serves SavedModels over the gRPC and REST API of TF Serving.",
        usage="%(prog)s --store=DIR [flags]",
    )
    _add_what_to_serve(parser)
    _add_how_to_load(parser)
    _add_where_to_listen(parser)
    _add_how_to_run(parser)
    return parser


def _add_what_to_serve(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what to serve").add_argument
    add(
        "--store",
        type=pathlib.Path,
        help="folder of <model>/<version>: all models in it are served",
    )
    add(
        "--model_base_path",
        type=pathlib.Path,
        help="or the folder of one model's versions",
    )
    add(
        "--model_name",
        default="default",
        help="what clients call the model of --model_base_path",
    )
    add(
        "--upstream",
        type=addresses,
        metavar="HOST:PORT,...",
        help="or the TF Serving servers whose gRPC ports all calls are forwarded to",
    )


def _add_how_to_load(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how to load")
    add = group.add_argument
    add(
        "--file_system_poll_wait_seconds",
        type=float,
        default=1.0,
        help="seconds between looks for new versions; 0 looks once",
    )
    add(
        "--max_num_load_retries",
        type=whole_number,
        default=5,
        help="further tries to load a version that failed",
    )
    add(
        "--load_retry_interval_micros",
        type=whole_number,
        default=60_000_000,
        help="microseconds between such tries; a version whose files change is tried "
        "at once",
    )
    add(
        "--num_load_threads",
        type=whole_number,
        default=2,
        help="versions loaded at a time",
    )
    _add_switch(
        group,
        "--enable_model_warmup",
        True,
        "replay a version's warm-up requests before it answers",
    )
    _add_switch(
        group,
        "--prefer_tflite_model",
        None,
        "answer from model.tflite where a version has it (default: where no GPU is)",
    )


def _add_where_to_listen(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where to listen")
    add = group.add_argument
    add("--host", default="127.0.0.1", help="address; 0.0.0.0 opens it to others")
    add("--port", type=_port, default=8500, help="gRPC port; 0 takes a free one")
    add(
        "--rest_api_port",
        type=_port_or_none,
        default=8501,
        help="REST port; 0 takes a free one, -1 serves no REST",
    )
    add(
        "--rest_api_timeout_in_ms",
        type=whole_number,
        default=30_000,
        help="milliseconds until a REST request ends with 504",
    )
    add(
        "--drain_seconds",
        type=float,
        default=30.0,
        help="seconds that calls in flight have to end, once the server is to stop",
    )
    _add_switch(
        group,
        "--rest_api_enable_cors_support",
        False,
        "let web pages of other origins call",
    )
    _add_switch(
        group,
        "--enable_serialization_as_tensor_content",
        False,
        "send outputs as raw bytes, in tensor_content",
    )


def _add_how_to_run(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how to run")
    add = group.add_argument
    defaults = BatchingOptions()
    _add_switch(
        group,
        "--enable_batching",
        True,
        "run requests that wait at the same time as one batch",
    )
    add(
        "--max_batch_size",
        type=_positive,
        default=defaults.max_batch_size,
        help="rows run together; a larger request takes several runs",
    )
    add(
        "--max_enqueued_batches",
        type=_positive,
        default=defaults.max_enqueued_batches,
        help="batches that may wait per signature; then calls end with UNAVAILABLE",
    )
    add(
        "--num_batch_threads",
        type=_positive,
        default=defaults.num_batch_threads,
        help="batches run at a time",
    )


def _add_switch(
    group: argparse._ArgumentGroup, name: str, default: bool | None, text: str
) -> None:
    group.add_argument(
        name,
        metavar="true|false",
        type=_switch,
        nargs="?",
        const=True,
        default=default,
        help=text,
    )


def _switch(text: str) -> bool:
    values = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"expected true or false. Received: {text}")
    return values[text.lower()]


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more. Received: {text}")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected 0 to 65535. Received: {text}")
    return int(text)


def _port_or_none(text: str) -> int:
    return -1 if text == "-1" else _port(text)
