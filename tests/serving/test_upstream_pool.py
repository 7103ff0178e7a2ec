"""Which upstream server gets a call, and what becomes of it, with scripted servers."""

import threading
import time

import grpc
import pytest
from grpc_running import ENGINES
from scripted_upstream import PREDICT, RELOAD, Shim, predict, refusing, scripted
from server_process import soon

from savedmodels.protos import get_model_metadata_pb2, predict_pb2
from serving.errors import ServingError
from serving.predictor import ModelSpec

NOT_FOUND = refusing("NOT_FOUND", "Servable not found for request: Latest(m)")
UNAVAILABLE = refusing("UNAVAILABLE", "upstream connect error")


@pytest.fixture(scope="module", params=ENGINES, autouse=True)
def grpc_engine(request):
    Shim.grpc_engine = request.param
    return request.param


@pytest.fixture(scope="module")
def one(grpc_engine):
    """A shim in front of one server."""
    with scripted(1) as (shim, (backend,)):
        yield shim, backend


def echo(data, context):
    return data


def failure(shim, path, data=b"", **kwargs):
    with pytest.raises(grpc.RpcError) as caught:
        shim.raw(path, data, **kwargs)
    return caught.value


def status_of(error):
    return error.code().name, error.details()


@pytest.mark.parametrize(
    "path",
    [
        PREDICT,
        "/tensorflow.serving.PredictionService/MultiInference",
        "/tensorflow.serving.PredictionService/NotYetInvented",
        "/tensorflow.serving.SessionService/SessionRun",
    ],
)
def test_bytes_pass_unchanged_whatever_the_method(one, path):
    shim, backend = one
    data = b"\xff\x00 no message of protobuf " * 3
    backend.answers[path] = lambda request, context: request[::-1]
    assert shim.raw(path, data)[0] == data[::-1]


def test_the_profiler_stays_with_one_server_and_any_may_end_its_session():
    profile, end = (
        f"/tensorflow.ProfilerService/{m}" for m in ("Profile", "Terminate")
    )
    with scripted(3) as (shim, (first, *others)):
        for backend in (first, *others):
            backend.answers |= {PREDICT: echo, profile: echo, end: echo}
        for _ in range(4):
            shim.raw(PREDICT, predict("m"))
            assert shim.raw(profile, b"session")[0] == b"session"
        others[-1].stop()
        assert shim.raw(end, b"session")[0] == b"session"
    assert first.calls.count(profile) == 4
    assert [backend.calls.count(profile) for backend in others] == [0, 0]
    assert [backend.calls.count(end) for backend in (first, *others)] == [1, 1, 0]


def test_messages_far_larger_than_grpcs_default_pass():
    data = bytes(range(256)) * 40_000  # 10 MB
    with scripted(1) as (shim, (backend,)):
        backend.answers[PREDICT] = echo
        assert shim.raw(PREDICT, data, timeout=30)[0] == data


def test_a_method_that_the_server_has_not_is_unimplemented():
    with scripted(1) as (shim, _):
        for path in (PREDICT, "/grpc.other.Service/Method"):
            assert failure(shim, path).code() == grpc.StatusCode.UNIMPLEMENTED


def test_metadata_passes_both_ways():
    seen = {}

    def answer(data, context):
        seen.update(context.invocation_metadata())
        context.send_initial_metadata((("x-early", "1"), ("x-early-bin", b"\x00")))
        context.set_trailing_metadata((("x-late", "2"),))
        return data

    with scripted(1) as (shim, (backend,)):
        backend.answers[PREDICT] = answer
        sent = (("x-trace", "abc"), ("x-key-bin", b"\x01\xff"))
        _, call = shim.raw(PREDICT, b"a", metadata=sent)
        assert dict(sent).items() <= seen.items()
        initial, trailing = (
            dict(call.initial_metadata()),
            dict(call.trailing_metadata()),
        )
    assert (initial["x-early"], initial["x-early-bin"]) == ("1", b"\x00")
    assert trailing["x-late"] == "2"


@pytest.mark.parametrize("code", [c.name for c in grpc.StatusCode if c.value[0] > 1])
def test_an_error_keeps_its_code_text_and_details(one, code):
    shim, backend = one
    trailing = (("grpc-status-details-bin", b"\x08\x03"), ("x-why", "because"))
    text = f"{code} é: " + "long " * 300
    backend.answers[PREDICT] = refusing(code, text, trailing)
    error = failure(shim, PREDICT, predict("m"))
    assert status_of(error) == (code, text)
    assert dict(trailing).items() <= dict(error.trailing_metadata()).items()


@pytest.mark.parametrize(
    ("code", "http_status"),
    [
        ("UNKNOWN", 500),
        ("INVALID_ARGUMENT", 400),
        ("DEADLINE_EXCEEDED", 504),
        ("NOT_FOUND", 404),
        ("ALREADY_EXISTS", 409),
        ("PERMISSION_DENIED", 403),
        ("RESOURCE_EXHAUSTED", 429),
        ("FAILED_PRECONDITION", 400),
        ("ABORTED", 409),
        ("OUT_OF_RANGE", 400),
        ("UNIMPLEMENTED", 501),
        ("INTERNAL", 500),
        ("UNAVAILABLE", 503),
        ("DATA_LOSS", 500),
        ("UNAUTHENTICATED", 401),
    ],
)
def test_rest_tells_a_servers_error_with_tf_servings_status(one, code, http_status):
    shim, backend = one
    backend.answers[PREDICT] = refusing(code, "text")
    with pytest.raises(ServingError, match="text") as caught:
        shim.run(shim.upstream.predictor.predict(ModelSpec("m"), {}))
    assert caught.value.grpc_code.name == code
    assert caught.value.http_status == http_status


def test_the_deadline_of_a_call_reaches_the_server():
    left = []

    def answer(data, context):
        left.append(context.time_remaining())
        return data

    with scripted(1) as (shim, (backend,)):
        backend.answers[PREDICT] = answer
        shim.raw(PREDICT, timeout=7)
        shim.raw(PREDICT, timeout=None)
    assert 6 < left[0] < 7.1
    assert left[1] > 10**6  # gRPC's way to say that there is none


@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_a_call_that_its_client_gives_up_ends_at_the_server(how):
    began, ended = threading.Event(), threading.Event()

    def never(data, context):
        context.add_callback(ended.set)
        began.set()
        ended.wait(10)
        return data

    with scripted(1) as (shim, (backend,)):
        backend.answers[PREDICT] = never
        timeout = 0.5 if how == "deadline" else None
        call = shim.channel.unary_unary(PREDICT).future(b"", timeout=timeout)
        assert began.wait(5)
        if how == "cancel":
            call.cancel()
        else:
            assert call.exception().code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert ended.wait(5)
        soon(lambda: shim.counters()[backend.address]["requests"] == 1)


def test_servers_take_turns():
    with scripted(3) as (shim, backends):
        for backend in backends:
            backend.answers[PREDICT] = echo
        for _ in range(30):
            shim.raw(PREDICT)
        assert [len(backend.calls) for backend in backends] == [10, 10, 10]


def test_one_that_is_unavailable_is_made_up_for_by_another():
    with scripted(2) as (shim, (bad, good)):
        bad.answers[PREDICT], good.answers[PREDICT] = UNAVAILABLE, echo
        for _ in range(6):
            assert shim.raw(PREDICT, b"abc")[0] == b"abc"
        counters = shim.counters()
        assert counters[bad.address]["failures"] == len(bad.calls) == 3
        assert counters[good.address]["retries"] == 3
        assert counters[good.address]["failures"] == 0


def test_a_call_that_may_change_something_is_not_sent_twice():
    path = "/tensorflow.serving.SessionService/SessionRun"
    with scripted(2, probe_interval_s=60) as (shim, (first, second)):
        for backend in (first, second):
            backend.answers[path] = UNAVAILABLE
        assert failure(shim, path).code().name == "UNAVAILABLE"
        assert len(first.calls) + len(second.calls) == 1
        first.stop()
        second.answers[path] = echo
        # Where no connection came about, nothing was sent.
        assert [shim.raw(path, b"a")[0] for _ in range(4)] == [b"a"] * 4


def test_where_all_are_unavailable_the_servers_own_words_are_told():
    with scripted(2) as (shim, backends):
        for backend in backends:
            backend.answers[PREDICT] = UNAVAILABLE
        told = status_of(failure(shim, PREDICT))
    assert told == ("UNAVAILABLE", "upstream connect error")


@pytest.mark.parametrize(
    "code", ["INTERNAL", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"]
)
def test_an_error_that_another_server_would_repeat_is_told_at_once(code):
    with scripted(2) as (shim, backends):
        for backend in backends:
            backend.answers[PREDICT] = refusing(code, "text")
        assert status_of(failure(shim, PREDICT)) == (code, "text")
        assert sum(len(backend.calls) for backend in backends) == 1


def test_a_full_queue_is_passed_on_once_and_ejects_nobody():
    full = refusing("UNAVAILABLE", "The batch scheduling queue to which this is full")
    with scripted(2) as (shim, backends):
        for backend in backends:
            backend.answers[PREDICT] = full
        for _ in range(8):
            assert failure(shim, PREDICT).details().startswith("The batch scheduling")
        assert [len(backend.calls) for backend in backends] == [8, 8]
        assert all(shim.ready())


@pytest.mark.parametrize(
    "lacking",
    [
        NOT_FOUND,
        refusing("INVALID_ARGUMENT", "Unrecognized servable version label: stable"),
    ],
)
def test_one_that_lacks_the_model_is_passed_over_and_asked_again_later(lacking):
    with scripted(2) as (shim, (without, owner)):
        without.answers[PREDICT], owner.answers[PREDICT] = lacking, echo
        for _ in range(10):
            shim.raw(PREDICT, predict("m"))
        assert len(without.calls) == 1
        assert len(owner.calls) == 10
        without.answers[PREDICT] = echo
        time.sleep(0.6)  # for which the shim remembers
        for _ in range(4):
            shim.raw(PREDICT, predict("m"))
        assert len(without.calls) == 3


def test_what_is_said_of_one_model_is_not_held_against_another():
    def answer(data, context):
        name = predict_pb2.PredictRequest.FromString(data).model_spec.name
        return echo(data, context) if name == "n" else NOT_FOUND(data, context)

    with scripted(2) as (shim, (without, owner)):
        without.answers[PREDICT], owner.answers[PREDICT] = answer, echo
        for _ in range(4):
            shim.raw(PREDICT, predict("m"))
        for _ in range(4):
            shim.raw(PREDICT, predict("n"))
        assert len(without.calls) == 1 + 2


def test_a_model_that_nobody_has_is_not_found_in_the_servers_words():
    with scripted(2) as (shim, backends):
        for backend in backends:
            backend.answers[PREDICT] = NOT_FOUND
        for _ in range(2):  # also once it is remembered
            assert status_of(failure(shim, PREDICT, predict("m"))) == (
                "NOT_FOUND",
                "Servable not found for request: Latest(m)",
            )


def test_a_model_whose_only_server_is_gone_is_unavailable_not_unknown():
    with scripted(2) as (shim, (without, owner)):
        without.answers[PREDICT], owner.answers[PREDICT] = NOT_FOUND, echo
        shim.raw(PREDICT, predict("m"))
        owner.stop()
        for _ in range(2):  # before it is ejected, and after
            assert failure(shim, PREDICT, predict("m")).code().name == "UNAVAILABLE"
            assert failure(shim, PREDICT, predict("x")).code().name == "NOT_FOUND"
            soon(lambda: shim.ready() == [True, False])


def test_no_server_at_all_is_unavailable_and_says_which_were_tried():
    with scripted(2) as (shim, backends):
        for backend in backends:
            backend.stop()
        soon(lambda: shim.ready() == [False, False])
        error = failure(shim, PREDICT, predict("m"))
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    addresses = ", ".join(backend.address for backend in backends)
    assert error.details().startswith(f"No upstream server can be reached: {addresses}")
    assert "Connection refused" in error.details()


def test_calls_that_fail_in_a_row_eject_a_server_for_longer_each_time():
    with scripted(2) as (shim, (bad, good)):
        bad.answers[PREDICT], good.answers[PREDICT] = UNAVAILABLE, echo
        waits = []
        for _ in range(3):
            while shim.ready() == [True, True]:
                shim.raw(PREDICT)
            began = time.monotonic()
            seen = len(bad.calls)
            for _ in range(4):
                shim.raw(PREDICT)
            assert len(bad.calls) == seen
            soon(lambda: shim.ready() == [True, True])
            waits.append(time.monotonic() - began)
        assert shim.counters()[bad.address]["ejections"] == 3
    # 0.2, 0.4 and 0.8 seconds, less what passed before the wait was looked at.
    assert waits[0] > 0.1
    assert waits[1] > 0.3
    assert waits[2] > 0.6


def test_a_server_that_hangs_is_ejected_and_its_calls_go_on_elsewhere():
    gate, began = threading.Event(), threading.Event()

    def hang(data, context):
        began.set()
        gate.wait(10)
        return b"late"

    with scripted(2) as (shim, (hung, good)):
        hung.answers[PREDICT], good.answers[PREDICT] = hang, echo
        calls = [shim.channel.unary_unary(PREDICT).future(b"a") for _ in range(2)]
        assert began.wait(5)
        # From now on it answers probes no more than calls.
        hung.service = lambda details: grpc.unary_unary_rpc_method_handler(hang)
        assert [call.result(10) for call in calls] == [b"a", b"a"]
        assert shim.ready() == [False, True]
        gate.set()


def test_reloading_asks_every_server_and_tells_the_first_refusal():
    with scripted(3) as (shim, backends):
        for backend in backends:
            backend.answers[RELOAD] = echo
        assert shim.raw(RELOAD, b"config")[0] == b"config"
        assert [backend.calls for backend in backends] == [[RELOAD]] * 3
        backends[1].answers[RELOAD] = refusing("INVALID_ARGUMENT", "Illegal to list m")
        told = status_of(failure(shim, RELOAD, b"config"))
        assert told == ("INVALID_ARGUMENT", "Illegal to list m")
        assert [len(backend.calls) for backend in backends] == [2, 2, 2]
        backends[2].stop()
        backends[1].answers[RELOAD] = echo
        error = failure(shim, RELOAD, b"config")
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert error.details().startswith(
            f"Upstream {backends[2].address} cannot be reached"
        )


def test_a_new_latest_version_is_noticed_with_its_first_answer():
    version = [1]
    path = "/tensorflow.serving.PredictionService/GetModelMetadata"

    def metadata(data, context):
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.version.value = version[0]
        definitions = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Pack(definitions)
        return response.SerializeToString()

    def answer(data, context):
        response = predict_pb2.PredictResponse()
        response.model_spec.version.value = version[0]
        return response.SerializeToString()

    spec = ModelSpec("m")
    with scripted(1) as (shim, (backend,)):
        backend.answers = {path: metadata, PREDICT: answer}
        predictor = shim.upstream.predictor

        def known():
            return shim.run(predictor.signatures(spec))[0]

        assert [known(), known()] == [1, 1]
        assert backend.calls == [path]  # kept
        version[0] = 2
        assert known() == 1
        assert shim.run(predictor.predict(spec, {})).version == 2
        assert known() == 2
        version[0] = 3
        soon(lambda: known() == 3, seconds=3)  # without any answer
        backend.answers[path] = NOT_FOUND
        with pytest.raises(ServingError, match="Servable not found"):
            shim.run(predictor.signatures(ModelSpec("n")))


INFER = "/inference.GRPCInferenceService/ModelInfer"
MODEL_M = b"\x0a\x01m\x12\x011"  # model_name "m", model_version "1"


@pytest.mark.parametrize("name", ["ModelInfer", "ServerLive", "RepositoryIndex"])
def test_calls_of_the_open_inference_protocol_pass_as_bytes(one, name):
    shim, backend = one
    path = f"/inference.GRPCInferenceService/{name}"
    backend.answers[path] = lambda request, context: request[::-1]
    assert shim.raw(path, MODEL_M)[0] == MODEL_M[::-1]


def test_a_server_without_the_open_inference_protocol_leaves_it_to_others():
    with scripted(2, lacks_model_s=60.0) as (shim, (_, having)):
        having.answers[INFER] = echo
        for _ in range(6):
            assert shim.raw(INFER, MODEL_M)[0] == MODEL_M
        assert having.calls == [INFER] * 6
        # The other one is asked once, and then known to lack it.
        assert sum(numbers["retries"] for numbers in shim.counters().values()) <= 1


def test_no_server_with_the_open_inference_protocol_is_told_as_it_is(one):
    shim, _ = one
    path = "/inference.GRPCInferenceService/ModelMetadata"
    assert failure(shim, path, MODEL_M).code() == grpc.StatusCode.UNIMPLEMENTED


def test_another_protocol_does_not_pass(one):
    shim, backend = one
    backend.answers["/other.Service/Call"] = echo
    assert failure(shim, "/other.Service/Call").code() == grpc.StatusCode.UNIMPLEMENTED
    assert "/other.Service/Call" not in backend.calls


def test_plain_calls_pass_while_the_event_loop_is_held_up(grpc_engine):
    if grpc_engine != "native":
        pytest.skip("grpcio lives on the event loop")
    gate = threading.Event()
    with scripted(2, probe_interval_s=30.0) as (shim, backends):
        for backend in backends:
            backend.answers[PREDICT] = echo
        shim._loop.call_soon_threadsafe(gate.wait)
        try:
            answers = [shim.raw(PREDICT, b"abc")[0] for _ in range(4)]
        finally:
            gate.set()
        assert answers == [b"abc"] * 4
        assert [len(backend.calls) for backend in backends] == [2, 2]
        numbers = shim.counters().values()
        assert [(n["requests"], n["failures"]) for n in numbers] == [(2, 0), (2, 0)]


def test_a_connection_that_closed_is_made_anew(one, grpc_engine):
    shim, backend = one
    backend.answers[PREDICT] = echo
    (lines,) = [b.lines for b in shim.upstream._pool._backends]
    lines.abandon("The test closes it.")
    assert shim.raw(PREDICT, b"abc")[0] == b"abc"
    soon(lambda: shim.lines() == [1])
    assert shim.raw(PREDICT, b"abc")[0] == b"abc"
