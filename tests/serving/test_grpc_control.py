"""What operators ask over gRPC: which services there are, and a trace of their work."""

import asyncio
import concurrent.futures
import contextlib
import pathlib
import threading

import grpc
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from server_process import digits_request, publish, serving, soon

from serving import profiler_protos
from serving.profiler_service import ProfilerService

SERVICES = {
    "grpc.health.v1.Health": ["Check", "Watch"],
    "grpc.reflection.v1alpha.ServerReflection": ["ServerReflectionInfo"],
    "inference.GRPCInferenceService": ["ServerLive", "ModelInfer"],
    "tensorflow.ProfilerService": ["Profile", "Terminate", "Monitor"],
    "tensorflow.serving.ModelService": ["GetModelStatus", "HandleReloadConfigRequest"],
    "tensorflow.serving.PredictionService": ["Predict", "Classify", "MultiInference"],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory, digits):
    """A server that answers with TensorFlow, and tells what it serves."""
    store = tmp_path_factory.mktemp("control")
    publish(digits, store / "digits", 1)
    with serving(f"--store={store}", "--enable_grpc_reflection") as process:
        yield process


@pytest.fixture(scope="module")
def shim(server):
    with serving(f"--upstream=127.0.0.1:{server.port}") as process:
        yield process


@pytest.fixture(params=["server", "shim"])
def profiled(request):
    """The server, and one that forwards to it."""
    return request.getfixturevalue(request.param)


def profile(channel, milliseconds, session="s", **options):
    call = channel.unary_unary(
        "/tensorflow.ProfilerService/Profile",
        request_serializer=profiler_protos.ProfileRequest.SerializeToString,
        response_deserializer=profiler_protos.ProfileResponse.FromString,
    )
    request = profiler_protos.ProfileRequest(session_id=session)
    request.opts.duration_ms = milliseconds
    request.opts.host_tracer_level = 2
    return call.future(request, timeout=60, **options)


def long_trace(channel, session):
    """A trace that has begun, and does not end by itself."""
    trace = profile(channel, 50_000, session)

    def has_begun():
        nonlocal trace
        other = profile(channel, 1).code() == grpc.StatusCode.ALREADY_EXISTS
        if other and not trace.done():
            # Refused for the sake of a short one, it would tell so soon.
            with contextlib.suppress(grpc.FutureTimeoutError):
                trace.exception(0.2)
        if trace.done():
            trace = profile(channel, 50_000, session)
            return False
        return other

    soon(has_begun, 60)
    return trace


def terminate(channel, session):
    call = channel.unary_unary(
        "/tensorflow.ProfilerService/Terminate",
        request_serializer=profiler_protos.TerminateRequest.SerializeToString,
    )
    call(profiler_protos.TerminateRequest(session_id=session), timeout=10)


def test_every_service_and_message_can_be_looked_up(server):
    database = ProtoReflectionDescriptorDatabase(server.channel)
    assert sorted(database.get_services()) == sorted(SERVICES)
    pool = descriptor_pool.DescriptorPool(database)
    for name, some in SERVICES.items():
        methods = pool.FindServiceByName(name).methods_by_name
        assert set(some) <= set(methods), name
    pool.FindMessageTypeByName("tensorflow.serving.PredictRequest")


def test_a_client_that_knows_nothing_can_ask_by_what_reflection_tells(server):
    pool = descriptor_pool.DescriptorPool(
        ProtoReflectionDescriptorDatabase(server.channel)
    )
    service = pool.FindServiceByName("inference.GRPCInferenceService")
    method = service.methods_by_name["ModelReady"]
    request = message_factory.GetMessageClass(method.input_type)
    response = message_factory.GetMessageClass(method.output_type)
    call = server.channel.unary_unary(
        f"/{service.full_name}/{method.name}",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )
    answer = call(json_format.ParseDict({"name": "digits"}, request()), timeout=10)
    assert json_format.MessageToDict(answer) == {"ready": True}


def test_reflection_is_off_unless_asked_for(ports):
    with grpc.insecure_channel(f"127.0.0.1:{ports[0]}") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            ProtoReflectionDescriptorDatabase(channel).get_services()
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_tensorflows_own_client_writes_a_trace_while_requests_are_answered(
    server, profiled, tf, tmp_path
):
    done = threading.Event()

    def ask():
        count = 0
        while not done.is_set():
            server.predict(digits_request(), timeout=30)
            count += 1
        return count

    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        asking = threads.submit(ask)
        try:
            trace = b""
            # The function that answers, as TensorFlow's tracer names it. A machine with
            # much else to do may answer nothing in so short a time.
            while b"inference_signature_wrapper" not in trace:
                assert not asking.done()
                folder = tmp_path / str(len(list(tmp_path.iterdir())))
                tf.profiler.experimental.client.trace(
                    f"grpc://127.0.0.1:{profiled.port}", str(folder), duration_ms=300
                )
                (file,) = (folder / "plugins/profile").rglob("*.xplane.pb")
                trace = file.read_bytes()
        finally:
            done.set()
        assert asking.result(30) > 0


def test_a_trace_ends_early_when_told_and_only_one_is_made_at_a_time(profiled):
    channel = profiled.channel
    first = long_trace(channel, "first")
    terminate(channel, "another")
    terminate(channel, "first")
    response = first.result(30)
    assert [tool.name for tool in response.tool_data] == ["xplane.pb"]
    assert not response.empty_trace


def test_a_caller_that_goes_away_leaves_the_profiler_free(server):
    gone = long_trace(server.channel, "gone")
    gone.cancel()
    soon(lambda: profile(server.channel, 1).code() == grpc.StatusCode.OK, 60)


def test_a_caller_that_goes_away_while_the_profiler_begins_leaves_it_free(
    tf, monkeypatch
):
    profiler = tf.profiler.experimental
    start, begins, may_begin = profiler.start, threading.Event(), threading.Event()

    def slow(*args):
        begins.set()
        may_begin.wait(60)
        start(*args)

    monkeypatch.setattr(profiler, "start", slow)

    async def ask():
        service = ProfilerService()
        request = profiler_protos.ProfileRequest(session_id="gone")
        request.opts.duration_ms = 50_000
        gone = asyncio.create_task(service.profile(request, None))
        await asyncio.to_thread(begins.wait, 60)
        gone.cancel()
        await asyncio.sleep(0)
        may_begin.set()
        with pytest.raises(asyncio.CancelledError):
            await gone
        request.opts.duration_ms = 1
        return await service.profile(request, None)

    assert asyncio.run(ask()).tool_data


def test_the_profiler_writes_no_file_that_a_caller_names(server, tmp_path):
    call = server.channel.unary_unary(
        "/tensorflow.ProfilerService/Profile",
        request_serializer=profiler_protos.ProfileRequest.SerializeToString,
        response_deserializer=profiler_protos.ProfileResponse.FromString,
    )
    request = profiler_protos.ProfileRequest(
        repository_root=str(tmp_path), session_id="../x", host_name="h", duration_ms=1
    )
    assert call(request, timeout=30).tool_data[0].data
    assert not list(pathlib.Path(tmp_path).iterdir())


def test_a_trace_that_would_take_all_memory_is_refused(server):
    with pytest.raises(grpc.RpcError) as caught:
        profile(server.channel, 10**9).result(30)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "Expected 60000 ms at most" in caught.value.details()


def test_without_tensorflow_the_profiler_says_what_to_type(tmp_path, digits_litert):
    publish(digits_litert, tmp_path / "digits", 1)
    with serving(f"--store={tmp_path}") as light:
        with pytest.raises(grpc.RpcError) as caught:
            profile(light.channel, 1).result(30)
        assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert "--cpu_engine=tensorflow" in caught.value.details()


@pytest.mark.parametrize("flag", ["--store=", "--upstream=127.0.0.1:1"])
def test_a_profiler_that_is_turned_off_is_unimplemented(tmp_path, flag):
    given = flag + str(tmp_path) if flag == "--store=" else flag
    with serving(given, "--enable_profiler=false") as process:
        with pytest.raises(grpc.RpcError) as caught:
            profile(process.channel, 1).result(30)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
