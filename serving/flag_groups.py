"""What each flag of the server is called, takes and does, as `--help` shows it."""

import argparse

from serving import flags_without_effect, upstream_tls
from serving.batching_options import BatchingOptions
from serving.command_line import Parser, addresses, whole_number
from serving.engine_choice import AUTO, CPU_ENGINES
from serving.flag_types import add_switch, path_or_empty, port_or_none, positive
from serving.grpc_options import ENGINES, GrpcOptions, channel_arguments


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = Parser(
        prog="python -m serving",
        description="Serves SavedModels over the gRPC and REST API of TF Serving.",
        usage="%(prog)s --store=DIR [flags]",
    )
    parser.add_argument(
        "--version", action="store_true", help="print the versions and end"
    )
    _add_what_to_serve(parser)
    upstream_tls.add_flags(parser)
    _add_how_to_load(parser)
    _add_where_to_listen(parser)
    _add_how_to_run(parser)
    flags_without_effect.add_to(parser)
    return parser


def _add_what_to_serve(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to serve")
    add = group.add_argument
    add(
        "--store",
        type=path_or_empty,
        metavar="DIR",
        help="folder of <model>/<version>: all models in it are served",
    )
    add(
        "--model_base_path",
        type=path_or_empty,
        metavar="DIR",
        help="or the folder of one model's versions",
    )
    add(
        "--model_name",
        default="default",
        help="what clients call the model of --model_base_path",
    )
    add(
        "--model_config_file",
        type=path_or_empty,
        metavar="FILE",
        help="or a ModelServerConfig as text: models, versions, labels",
    )
    add(
        "--model_config_file_poll_wait_seconds",
        type=float,
        default=0.0,
        help="seconds between looks at that file; 0 reads it once",
    )
    add_switch(
        group,
        "--allow_version_labels_for_unavailable_models",
        False,
        "let new labels name versions that are not loaded yet",
    )
    add(
        "--upstream",
        type=addresses,
        metavar="HOST:PORT,...",
        help="or the TF Serving servers whose gRPC ports all calls are forwarded to",
    )
    add(
        "--engine",
        choices=["embedded", "tensorflow_model_server"],
        default="embedded",
        help="what loads the models: this process, or TF Serving's binary as a child",
    )


def _add_how_to_load(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how to load")
    add = group.add_argument
    add(
        "--file_system_poll_wait_seconds",
        type=float,
        default=1.0,
        help="seconds between looks for new versions; 0 looks once, -1 never",
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
    add_switch(
        group,
        "--enable_model_warmup",
        True,
        "replay a version's warm-up requests before it answers",
    )
    add(
        "--num_request_iterations_for_warmup",
        type=whole_number,
        default=0,
        help="how often each of them is replayed; 0 means once",
    )
    add_switch(
        group,
        "--prefer_tflite_model",
        None,
        "true is --cpu_engine=litert, false is --cpu_engine=tensorflow",
    )
    add(
        "--cpu_engine",
        choices=CPU_ENGINES,
        default=AUTO,
        help="what runs graphs: auto takes LiteRT where there is no GPU, for versions "
        "whose model.tflite answers as TensorFlow does; litert for all that have one",
    )
    add_switch(
        group,
        "--convert_on_load",
        False,
        "make the model.tflite of versions that have none, each time they are loaded",
    )
    add(
        "--saved_model_tags",
        default="serve",
        metavar="TAG,...",
        help="all tags of the graph that is loaded",
    )


def _add_where_to_listen(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where to listen")
    add = group.add_argument
    add("--host", default="127.0.0.1", help="address; 0.0.0.0 opens it to others")
    add(
        "--port",
        type=port_or_none,
        default=8500,
        help="gRPC port; 0 takes a free one, -1 listens on --grpc_socket_path alone",
    )
    add(
        "--grpc_engine",
        choices=ENGINES,
        default=GrpcOptions().engine,
        help="what speaks gRPC; native is the faster one, auto takes it where it has "
        "all that is asked for: no TLS, no Unix socket, few channel arguments",
    )
    add(
        "--grpc_socket_path",
        metavar="PATH",
        help="Unix socket on which gRPC is answered too",
    )
    add(
        "--grpc_channel_arguments",
        type=channel_arguments,
        metavar="KEY=VALUE,...",
        help="settings of gRPC itself, as in grpc.max_connection_age_ms=2000",
    )
    add_switch(
        group,
        "--enable_grpc_healthcheck_service",
        True,
        "answer grpc.health.v1 for the server, its services and each model",
    )
    add_switch(
        group,
        "--enable_grpc_reflection",
        False,
        "tell clients such as grpcurl which services and messages there are",
    )
    add_switch(
        group,
        "--enable_profiler",
        True,
        "answer TensorFlow's profiler, as TensorBoard asks it, on the gRPC port",
    )
    add(
        "--ssl_config_file",
        type=path_or_empty,
        metavar="FILE",
        help="an SSLConfig as text: gRPC is encrypted with its key and certificate",
    )
    add(
        "--rest_api_port",
        type=port_or_none,
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
        "--monitoring_config_file",
        type=path_or_empty,
        metavar="FILE",
        help="a MonitoringConfig as text: whether and where metrics are read; without "
        "it, on the REST port at /monitoring/prometheus/metrics",
    )
    add(
        "--drain_seconds",
        type=float,
        default=30.0,
        help="seconds that calls in flight have to end, once the server is to stop",
    )
    add_switch(
        group,
        "--rest_api_enable_cors_support",
        False,
        "let web pages of other origins call",
    )
    add_switch(
        group,
        "--rest_api_enable_tls",
        False,
        "encrypt REST too, and check clients, as --ssl_config_file says",
    )
    add_switch(
        group,
        "--enable_serialization_as_tensor_content",
        False,
        "send outputs as raw bytes, in tensor_content",
    )


def _add_how_to_run(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how to run")
    add = group.add_argument
    defaults = BatchingOptions()
    add_switch(
        group,
        "--enable_batching",
        True,
        "run requests that wait at the same time as one batch",
    )
    add(
        "--batching_parameters_file",
        type=path_or_empty,
        metavar="FILE",
        help="BatchingParameters as text; TF Serving's defaults for what it leaves out",
    )
    add_switch(
        group,
        "--enable_per_model_batching_parameters",
        False,
        "each version says how in its batching_params.pbtxt, or is not batched",
    )
    add_switch(
        group,
        "--enable_signature_method_name_check",
        False,
        "refuse signatures that were exported for another call",
    )
    for which, text in [
        ("session", "threads of TensorFlow, within an op and of ops; 0 chooses"),
        ("intra_op", "threads of TensorFlow within an op; 0 takes the above"),
        ("inter_op", "ops that TensorFlow runs at a time; 0 takes the above"),
    ]:
        add(
            f"--tensorflow_{which}_parallelism",
            type=whole_number,
            default=0,
            help=text,
        )
    add(
        "--max_batch_size",
        type=positive,
        default=defaults.max_batch_size,
        help="rows run together; a larger request takes several runs",
    )
    add(
        "--max_enqueued_batches",
        type=positive,
        default=defaults.max_enqueued_batches,
        help="batches that may wait per signature; then calls end with UNAVAILABLE",
    )
    add(
        "--num_batch_threads",
        type=positive,
        default=defaults.num_batch_threads,
        help="batches run at a time, at most: few requests wait for a short run",
    )
