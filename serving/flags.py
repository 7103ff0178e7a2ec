"""The server's flags: those of `tensorflow_model_server`, and a few of its own.

Both `--port=8500` and `--port 8500` are understood; a switch may stand alone or have a
value, as in `--enable_batching=false`.
"""

import argparse
import dataclasses
import importlib.metadata
import pathlib
import sys
from collections.abc import Mapping, Sequence

from serving import flags_without_effect, upstream_tls
from serving.batching_options import BatchingOptions
from serving.engine_choice import AUTO, LITERT, TENSORFLOW, LoadOptions
from serving.flag_groups import make_parser
from serving.grpc_options import GrpcOptions, parse_channel_arguments
from serving.loaded_version import EmbeddedOptions
from serving.upstream_tls import UpstreamTls
from serving.version_state import WatchOptions


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ServerOptions:
    """What the command line says.

    Attributes:
        store: Folder of `<model>/<version>`, or None where one model is named.
        model_name: Name of the one model that is served without a store.
        model_base_path: Its folder of versions.
        model_config_file: File that names the models; in place of all three.
        config_file_wait_s: Seconds between looks at that file; 0 for one look.
        allow_labels_for_unavailable: Whether new version labels may name versions
            that are not loaded yet.
        host: Name or address to listen on.
        port: gRPC port; 0 takes a free one.
        rest_api_port: REST port; 0 takes a free one, -1 serves no REST.
        rest_api_timeout_s: Seconds after which a REST request ends with 504.
        rest_api_enable_cors_support: Whether browsers may call from any web page.
        rest_api_enable_tls: Whether REST is encrypted as gRPC is.
        drain_s: Seconds that calls in flight have once the server is told to stop.
        as_content: Whether outputs are sent as `tensor_content`.
        serves_profiler: Whether traces may be asked for over gRPC.
        grpc: How the gRPC engine is set up.
        environment: Variables that TensorFlow reads.
        warnings: What was asked for and has no effect, a line each.
        embedded: How versions are loaded and run.
        batching_file: File that says how batches are formed, in place of `embedded`.
        monitoring_config_file: File that says where metrics are read; None for the
            default path.
        upstream: Servers to forward to, in place of loading anything; or none.
        upstream_tls: What connections to them are encrypted with; None for nothing.
        engine: What loads the models: `embedded`, or `tensorflow_model_server`.
        given: Flags that were typed, by name; the others have their defaults.
    """

    store: pathlib.Path | None
    model_name: str
    model_base_path: pathlib.Path | None
    model_config_file: pathlib.Path | None
    config_file_wait_s: float
    allow_labels_for_unavailable: bool
    host: str
    port: int
    rest_api_port: int
    rest_api_timeout_s: float
    rest_api_enable_cors_support: bool
    drain_s: float
    as_content: bool
    serves_profiler: bool
    grpc: GrpcOptions
    environment: Mapping[str, str]
    warnings: Sequence[str]
    embedded: EmbeddedOptions
    batching_file: pathlib.Path | None = None
    monitoring_config_file: pathlib.Path | None = None
    rest_api_enable_tls: bool = False
    upstream: tuple[str, ...] = ()
    upstream_tls: UpstreamTls | None = None
    engine: str = "embedded"
    given: Mapping[str, object] = dataclasses.field(default_factory=dict)


def parse(argv: Sequence[str] | None = None) -> ServerOptions:
    """Returns the options; a wrong flag ends the process with code 2 and a message."""
    parser = make_parser()
    flags = _read(parser, argv)
    _check_what_to_serve(parser, flags)
    _check_how_to_serve(parser, flags)
    encrypted = upstream_tls.of_flags(parser, flags)
    in_process = flags.engine == "embedded"
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
        store=flags.store or None,
        model_name=flags.model_name,
        model_base_path=flags.model_base_path or None,
        model_config_file=flags.model_config_file or None,
        config_file_wait_s=flags.model_config_file_poll_wait_seconds,
        allow_labels_for_unavailable=flags.allow_version_labels_for_unavailable_models,
        host=flags.host,
        port=flags.port,
        rest_api_port=flags.rest_api_port,
        rest_api_timeout_s=flags.rest_api_timeout_in_ms / 1000,
        rest_api_enable_cors_support=flags.rest_api_enable_cors_support,
        rest_api_enable_tls=flags.rest_api_enable_tls,
        drain_s=flags.drain_seconds,
        serves_profiler=flags.enable_profiler,
        as_content=flags.enable_serialization_as_tensor_content,
        grpc=GrpcOptions(
            socket_path=flags.grpc_socket_path or "",
            channel_arguments=parse_channel_arguments(
                flags.grpc_channel_arguments or ""
            ),
            ssl_config_file=flags.ssl_config_file or None,
            serves_health=flags.enable_grpc_healthcheck_service,
            serves_reflection=flags.enable_grpc_reflection,
            engine=flags.grpc_engine,
        ),
        environment=_environment(flags),
        # What has no effect here has one in TF Serving's binary.
        warnings=flags_without_effect.warnings(flags) if in_process else (),
        embedded=EmbeddedOptions(
            watch=watch,
            enable_batching=flags.enable_batching,
            batching=batching,
            per_model_batching=flags.enable_per_model_batching_parameters,
            enable_model_warmup=flags.enable_model_warmup,
            warmup_iterations=max(1, flags.num_request_iterations_for_warmup),
            load=_load_options(flags),
            check_method_names=flags.enable_signature_method_name_check,
        ),
        batching_file=flags.batching_parameters_file or None,
        monitoring_config_file=flags.monitoring_config_file or None,
        upstream=flags.upstream or (),
        upstream_tls=encrypted,
        engine=flags.engine,
        given=_given(argv),
    )


def _load_options(flags: argparse.Namespace) -> LoadOptions:
    """Which graph of a version is loaded; TF Serving's own flag wins over `auto`."""
    of_tf_serving = {True: LITERT, False: TENSORFLOW, None: flags.cpu_engine}
    return LoadOptions(
        cpu_engine=of_tf_serving[flags.prefer_tflite_model],
        convert_on_load=flags.convert_on_load,
        saved_model_tags=tuple((flags.saved_model_tags or "serve").split(",")),
    )


def _read(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> argparse.Namespace:
    """The flags; as TF Serving does, it goes on where a word is none of them."""
    flags, others = parser.parse_known_args(argv)
    unknown = [other for other in others if other.startswith("-")]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if flags.version:
        print("\n".join(_versions()))
        parser.exit()
    for other in others:
        print(f"unknown argument: {other}", file=sys.stderr)
    return flags


def _given(argv: Sequence[str] | None) -> dict[str, object]:
    """The flags that a command line names, without the defaults of the others."""
    parser = make_parser()
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    given = vars(parser.parse_known_args(argv)[0])
    return {name: value for name, value in given.items() if value != ""}


def _versions() -> list[str]:
    """A line for each package that makes the server what it is."""
    lines = []
    for name in ("maaskit", "tensorflow", "tensorflow-serving-api", "ai-edge-litert"):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "not installed: run from its source"
        lines.append(f"{name} {version}")
    return lines


def _environment(flags: argparse.Namespace) -> dict[str, str]:
    """How many threads TensorFlow may have, in its own words."""
    session = flags.tensorflow_session_parallelism
    threads = {
        "TF_NUM_INTRAOP_THREADS": flags.tensorflow_intra_op_parallelism or session,
        "TF_NUM_INTEROP_THREADS": flags.tensorflow_inter_op_parallelism or session,
    }
    return {name: str(number) for name, number in threads.items() if number}


def _check_how_to_serve(
    parser: argparse.ArgumentParser, flags: argparse.Namespace
) -> None:
    """Ends the process where flags contradict each other."""
    if flags.port < 0 and not flags.grpc_socket_path:
        parser.error(
            "At least one of server_options.grpc_port or "
            "server_options.grpc_socket_path must be set"
        )
    if flags.batching_parameters_file and not flags.enable_batching:
        parser.error(
            "server_options.batching_parameters_file is set without setting "
            "server_options.enable_batching to true"
        )
    if flags.use_alts_credentials and flags.ssl_config_file:
        parser.error(
            "Either use_alts_credentials must be false or ssl_config_file must be empty"
        )
    engine = _load_options(flags).cpu_engine
    if flags.cpu_engine not in (AUTO, engine):
        parser.error(
            f"--cpu_engine={flags.cpu_engine} contradicts --prefer_tflite_model="
            f"{str(flags.prefer_tflite_model).lower()}. Type one of them"
        )
    if flags.convert_on_load and engine == TENSORFLOW:
        parser.error("--convert_on_load makes models for LiteRT, which may not answer")
    if flags.rest_api_enable_tls and not flags.ssl_config_file:
        parser.error("--rest_api_enable_tls needs the keys of an --ssl_config_file")


def _check_what_to_serve(
    parser: argparse.ArgumentParser, flags: argparse.Namespace
) -> None:
    """Ends the process unless it is said once what to serve."""
    of_one_server = flags.model_base_path or flags.model_config_file
    said = [flags.store, of_one_server, flags.upstream]
    if not any(said):
        parser.error(
            "Both server_options.model_base_path and server_options.model_config_file "
            "are empty! Type one of --store, --model_base_path, --model_config_file "
            "and --upstream; as an example, --store=artifacts/models"
        )
    # TF Serving lets a config file win over a base path, without a word.
    if sum(map(bool, said)) > 1:
        parser.error(
            "more than one flag says what to serve. Type one of --store, "
            "--model_base_path, --model_config_file and --upstream"
        )
    if flags.upstream and flags.engine != "embedded":
        parser.error(
            f"--upstream forwards to servers that run already, --engine={flags.engine} "
            "starts one. Type one of them"
        )
