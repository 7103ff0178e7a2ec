"""Which engine speaks gRPC, and what it says where it is not the one asked for."""

import asyncio
import logging
import pathlib

import grpc
import pytest
from grpc_running import running
from numpy_predictor import NumpyPredictor
from server_process import refused

from savedmodels.protos import get_model_status_pb2
from serving import flags, grpc_engine
from serving.errors import InvalidRequestError
from serving.grpc_options import GrpcOptions
from serving.grpc_server import GrpcServer
from serving.native_server import NativeServer

ONLY_GRPCIO = [
    ({"ssl_config_file": pathlib.Path("s")}, "it has no TLS (--ssl_config_file)"),
    ({"socket_path": "/s"}, "it listens on a port alone (--grpc_socket_path)"),
    (
        {"channel_arguments": (("grpc.max_connection_age_ms", 2000),)},
        "it has no grpc.max_connection_age_ms (--grpc_channel_arguments)",
    ),
    (
        {"channel_arguments": (("grpc.keepalive_time_ms", "often"),)},
        "it takes no grpc.keepalive_time_ms=often (--grpc_channel_arguments)",
    ),
    (
        {"channel_arguments": (("grpc.max_receive_message_length", -1),)},
        "it takes no grpc.max_receive_message_length=-1 (--grpc_channel_arguments)",
    ),
]
KEPT = (
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.max_concurrent_streams", 10),
    ("grpc.max_receive_message_length", 1_000_000),
)


def chosen(**options):
    async def choose():
        return grpc_engine.choose(GrpcServer(), GrpcOptions(**options))

    return asyncio.run(choose())


def test_auto_is_native_where_nothing_stands_against_it():
    assert isinstance(chosen(), NativeServer)
    assert isinstance(chosen(channel_arguments=KEPT), NativeServer)
    assert isinstance(chosen(engine="grpcio"), GrpcServer)


@pytest.mark.parametrize(("options", "reason"), ONLY_GRPCIO)
def test_auto_is_grpcio_where_only_that_can_do_it_and_says_why_once(
    options, reason, caplog
):
    caplog.set_level(logging.INFO)
    assert isinstance(chosen(**options), GrpcServer)
    (record,) = caplog.records
    assert reason in record.getMessage()


@pytest.mark.parametrize(("options", "reason"), ONLY_GRPCIO)
def test_native_is_refused_where_only_grpcio_can_do_it(options, reason):
    with pytest.raises(InvalidRequestError) as caught:
        chosen(engine="native", **options)
    assert reason in str(caught.value)


def test_native_takes_the_arguments_that_it_has():
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "half_plus_two"
    with running(NumpyPredictor(), channel_arguments=KEPT) as server:
        calls = [server.model.GetModelStatus.future(request) for _ in range(30)]
        for call in calls:
            assert len(call.result(10).model_version_status) == 2


def test_an_engine_that_cannot_be_had_ends_the_start_with_one_line(tmp_path):
    given = ["--grpc_engine=native", f"--grpc_socket_path={tmp_path / 's'}"]
    (line,) = refused(f"--store={tmp_path}", "--port=0", "--rest_api_port=-1", *given)
    assert line == (
        "error: Failed to start server. Error: INVALID_ARGUMENT: --grpc_engine=native "
        "cannot be had: it listens on a port alone (--grpc_socket_path). Expected "
        "--grpc_engine=auto or grpcio with it"
    )


@pytest.mark.parametrize(
    "others",
    [["--upstream=a:1"], ["--model_base_path=m", "--engine=tensorflow_model_server"]],
)
def test_native_speaks_for_other_servers_too(others):
    assert flags.parse(["--grpc_engine=native", *others]).grpc.engine == "native"


def test_many_calls_at_once_on_one_connection_are_all_answered():
    """More than one connection of the front would allow by itself."""
    with running(NumpyPredictor()) as server:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "half_plus_two"
        address = f"127.0.0.1:{server.port}"
        with grpc.insecure_channel(address) as channel:
            call = channel.unary_unary(
                "/tensorflow.serving.ModelService/GetModelStatus",
                response_deserializer=get_model_status_pb2.GetModelStatusResponse.FromString,
            )
            data = request.SerializeToString()
            calls = [call.future(data, timeout=60) for _ in range(1500)]
            assert all(len(c.result().model_version_status) == 2 for c in calls)
