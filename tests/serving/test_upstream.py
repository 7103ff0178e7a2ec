"""The shim as a process in front of a server process: what it answers is the same."""

import http.client
import json
import re
import subprocess

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_running import ENGINES
from server_process import ROOT, serving

from savedmodels.protos import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)
from serving import example_codec, messages, v2_protos
from serving.predictor import ModelSpec

PREDICTION = "/tensorflow.serving.PredictionService/"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
UNLIMITED = [("grpc.max_receive_message_length", -1)]
X = {"x": np.float32([1, 2, 5])}


@pytest.fixture(scope="module", params=ENGINES)
def shim(request, ports):
    engine = f"--grpc_engine={request.param}"
    with serving(f"--upstream=127.0.0.1:{ports[0]}", engine) as shim:
        yield shim
        assert shim.end() == 0
        assert "Traceback" not in shim.stderr


@pytest.fixture(scope="module")
def channels(ports, shim):
    """To the server itself, and to the shim."""
    with (
        grpc.insecure_channel(f"127.0.0.1:{ports[0]}", UNLIMITED) as direct,
        grpc.insecure_channel(f"127.0.0.1:{shim.port}", UNLIMITED) as through,
    ):
        yield direct, through


def answer(channel, path, data, timeout=20):
    """The bytes of an answer, or the code and text of an error."""
    try:
        return channel.unary_unary(path)(data, timeout=timeout)
    except grpc.RpcError as error:
        return error.code().name, error.details()


def predict(model, inputs, version=None, label=None, signature="", output_filter=()):
    spec = ModelSpec(model, version, label, signature)
    return messages.predict_request(spec, inputs, output_filter).SerializeToString()


def test_says_where_it_listens_and_whom_it_asks(ports, shim):
    assert shim.models == [f"127.0.0.1:{ports[0]}"]


V2 = "/inference.GRPCInferenceService/"
INFER = v2_protos.ModelInferRequest(
    model_name="half_plus_two",
    inputs=[{"name": "x", "datatype": "FP32", "shape": [2]}],
    raw_input_contents=[np.float32([1, 2]).tobytes()],
)
EXAMPLE = example_codec.encode({"x": 0.25})


@pytest.mark.parametrize(
    ("path", "data"),
    [
        (f"{PREDICTION}Predict", predict("half_plus_two", X)),
        (f"{PREDICTION}Predict", predict("half_plus_two", X, version=1)),
        (f"{PREDICTION}Predict", predict("nosuch", X)),
        (f"{PREDICTION}Predict", predict("half_plus_two", X, version=9)),
        (f"{PREDICTION}Predict", predict("half_plus_two", X, label="stable")),
        (f"{PREDICTION}Predict", predict("half_plus_two", X, signature="nosuch")),
        (f"{PREDICTION}Predict", predict("half_plus_two", {"z": X["x"]})),
        (f"{PREDICTION}Predict", predict("half_plus_two", {})),
        (f"{PREDICTION}Predict", predict("half_plus_two", X, output_filter=["q"])),
        (f"{PREDICTION}Predict", b""),
        (f"{PREDICTION}Predict", b"\xff\xff\xff"),
        (f"{PREDICTION}MultiInference", b""),
        (f"{V2}ModelInfer", INFER.SerializeToString()),
        (f"{V2}ModelInfer", b"\x0a\x06nosuch"),
        (f"{V2}ModelMetadata", b"\x0a\x0dhalf_plus_two"),
        (f"{V2}ModelReady", b"\x0a\x0dhalf_plus_two"),
        (f"{V2}ServerLive", b""),
        (f"{PREDICTION}Nosuch", b""),
        (f"{PREDICTION}GetModelMetadata", b""),
        ("/tensorflow.serving.SessionService/SessionRun", b""),
        (STATUS, messages.status_request(ModelSpec("echo")).SerializeToString()),
        (STATUS, messages.status_request(ModelSpec("nosuch")).SerializeToString()),
        (STATUS, b""),
    ],
)
def test_grpc_answers_are_the_servers_own(channels, path, data):
    direct, through = (answer(channel, path, data) for channel in channels)
    assert through == direct


@pytest.mark.parametrize(
    ("method", "request_", "kind"),
    [
        (
            "Classify",
            lambda e: messages.classify_request(ModelSpec("examples"), e),
            classification_pb2.ClassificationResponse,
        ),
        (
            "Regress",
            lambda e: messages.regress_request(ModelSpec("examples"), e),
            regression_pb2.RegressionResponse,
        ),
        (
            "GetModelMetadata",
            lambda e: messages.metadata_request(ModelSpec("examples")),
            get_model_metadata_pb2.GetModelMetadataResponse,
        ),
    ],
)
def test_every_method_answers_through_the_shim(channels, method, request_, kind):
    request = request_([EXAMPLE])
    if method != "GetModelMetadata":
        request.model_spec.signature_name = method.lower()
    # As messages: protobuf writes maps in any order.
    direct, through = (
        kind.FromString(answer(c, PREDICTION + method, request.SerializeToString()))
        for c in channels
    )
    assert through == direct
    assert through.model_spec.version.value == 1


def test_several_tasks_are_answered_through_the_shim(channels):
    request = inference_pb2.MultiInferenceRequest()
    request.input.CopyFrom(messages.classify_request(ModelSpec(""), [EXAMPLE]).input)
    for method in ("classify", "regress"):
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name = "examples"
        task.model_spec.signature_name = method
    data = request.SerializeToString()
    direct, through = (
        inference_pb2.MultiInferenceResponse.FromString(
            answer(channel, f"{PREDICTION}MultiInference", data)
        )
        for channel in channels
    )
    assert through == direct
    assert through.results[1].regression_result.regressions[0].value == 2.125


def test_messages_of_five_megabytes_pass(channels):
    text = np.array([bytes(range(256)) * 20_000], object)
    data = predict("echo", {"text": text}, output_filter=["text"])
    direct, through = (answer(c, f"{PREDICTION}Predict", data) for c in channels)
    assert len(data) > 5_000_000
    assert len(through) > 5_000_000
    assert through == direct


REST = [
    ("POST", "/v1/models/half_plus_two:predict", {"instances": [1.0, 2.0, 5.0]}),
    ("POST", "/v1/models/half_plus_two/versions/1:predict", {"inputs": [1.5, 2]}),
    (
        "POST",
        "/v1/models/multi_io:predict",
        {"instances": [{"a": [1, 0.1], "b": 2}, {"a": [3, 4], "b": -1}]},
    ),
    ("POST", "/v1/models/multi_io:predict", {"inputs": {"a": [[1, 2]], "b": [3]}}),
    ("POST", "/v1/models/echo:predict", {"instances": ["é", {"b64": "AP8="}]}),
    ("POST", "/v1/models/half_plus_two:predict", {"instances": ["text"]}),
    ("POST", "/v1/models/half_plus_two:predict", {"instances": []}),
    (
        "POST",
        "/v1/models/half_plus_two:predict",
        {"signature_name": "nosuch", "instances": [1.0]},
    ),
    ("POST", "/v1/models/nosuch:predict", {"instances": [1.0]}),
    ("POST", "/v1/models/half_plus_two/versions/9:predict", {"instances": [1.0]}),
    ("POST", "/v1/models/half_plus_two/labels/x:predict", {"instances": [1.0]}),
    ("POST", "/v1/models/half_plus_two:predict", "{ no JSON"),
    (
        "POST",
        "/v1/models/examples:classify",
        {"signature_name": "classify", "examples": [{"x": 0.25}, {"x": 1.0}]},
    ),
    ("POST", "/v1/models/examples:classify", {"examples": [{"x": 0.25}]}),
    ("POST", "/v1/models/multi_io:classify", {"examples": [{"x": 0.25}]}),
    (
        "POST",
        "/v1/models/examples:classify",
        {"signature_name": "classify", "examples": [{"x": "text"}]},
    ),
    (
        "POST",
        "/v1/models/examples:regress",
        {"signature_name": "regress", "examples": [{"x": 0.25}, {"x": 1.0}]},
    ),
    ("GET", "/v1/models/examples/metadata", None),
    ("GET", "/v1/models/multi_io/versions/1/metadata", None),
    ("GET", "/v1/models/nosuch/metadata", None),
    ("GET", "/v1/models/multi_io/labels/x/metadata", None),
    ("GET", "/v1/models/half_plus_two", None),
    ("GET", "/v1/models/half_plus_two/versions/1", None),
    ("GET", "/v1/models/half_plus_two/versions/9", None),
    ("GET", "/v1/models/nosuch", None),
    ("GET", "/v1/models/versions/1", None),
    ("GET", "/v1/nosuch", None),
]


@pytest.mark.parametrize(("method", "path", "body"), REST)
def test_rest_answers_are_the_servers_own(ports, shim, method, path, body):
    body = body if body is None or isinstance(body, str) else json.dumps(body)
    answers = []
    for port in (ports[1], shim.rest_port):
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
        connection.request(method, path, body)
        response = connection.getresponse()
        answer = response.read()
        if response.status == 200 and re.search("metadata|multi_io|echo", path):
            # Several outputs or signatures come in any order.
            answer = json.loads(answer)
        answers.append((response.status, answer))
        connection.close()
    assert answers[1] == answers[0]


def test_models_that_nobody_can_list_are_asked_for_by_name(shim):
    status, body = shim.get("/v1/models")
    assert (status, json.loads(body)["error"]) == (
        400,
        "Missing model name in request.",
    )


def test_the_deadline_of_a_client_holds_through_the_shim(shim, channels):
    # 16 MB are not sent twice in so short a time; a small call may be answered before
    # the client looks at its clock.
    data = predict("half_plus_two", {"x": np.ones(4_000_000, np.float32)})
    code, _ = answer(channels[1], f"{PREDICTION}Predict", data, timeout=0.002)
    assert code == "DEADLINE_EXCEEDED"


def test_health_is_told_of_the_shim_and_of_models_behind_it(channels):
    stub = health_pb2_grpc.HealthStub(channels[1])
    for name in ("", "PredictionService", "ModelService", "echo"):
        response = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
        assert response.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="nosuch"), timeout=10)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_readiness_and_metrics_tell_of_every_server(ports, shim, channels):
    address = f"127.0.0.1:{ports[0]}"
    answer(channels[1], f"{PREDICTION}Predict", predict("half_plus_two", X))
    answer(channels[1], f"{PREDICTION}Predict", predict("half_plus_two", {}))
    status, body = shim.get("/readyz")
    numbers = json.loads(body)["upstream"][address]
    assert (status, numbers["ready"], numbers["problem"]) == (200, True, "")
    status, body = shim.get("/monitoring/prometheus/metrics")
    samples = dict(line.rsplit(" ", 1) for line in body.decode().splitlines())
    name, label = ":maaskit:upstream:", f'backend="{address}"'
    assert samples[f"# TYPE {name}request_latency"] == "histogram"
    assert samples[f"{name}ready{{{label}}}"] == "1"
    ok = int(samples[f'{name}request_count{{{label},status="OK"}}'])
    refused = int(samples[f'{name}request_count{{{label},status="INVALID_ARGUMENT"}}'])
    assert refused > 0
    assert ok == int(samples[f"{name}request_latency_count{{{label}}}"])
    assert ok == int(samples[f'{name}request_latency_bucket{{{label},le="+Inf"}}'])
    assert numbers["requests"] >= ok > 0
    for line in body.decode().splitlines():
        assert re.fullmatch(r"# TYPE [:\w]+ \w+|[:\w]+\{[^{}]+\} [\d.]+", line)


def test_make_serve_upstream_forwards_and_loads_nothing():
    done = subprocess.run(
        ["make", "-n", "serve", "UPSTREAM=a:8500,b:8500"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--upstream='a:8500,b:8500'" in done.stdout
    assert "--store" not in done.stdout


def test_a_request_of_a_million_rows_passes_in_time(channels):
    x = np.arange(1_300_000, dtype=np.float32)
    found = answer(
        channels[1], f"{PREDICTION}Predict", predict("half_plus_two", {"x": x})
    )
    response = predict_pb2.PredictResponse.FromString(found)
    y = messages.outputs(response)["y"]
    np.testing.assert_array_equal(y, x / 2 + 2)
