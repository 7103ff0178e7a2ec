"""A server counts what it does, under TF Serving's names and in bounded memory."""

import contextlib
import socket
import time

import grpc
import numpy as np
import pytest
from grpc_running import running
from numpy_predictor import ask
from server_process import publish, serving

from savedmodels.protos import (
    classification_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
    regression_pb2,
)
from serving import monitoring_config, warmup_requests
from serving.batching_options import BatchingOptions
from serving.errors import InvalidRequestError, ServingError
from serving.grpc_client import GrpcClient
from serving.metrics import Counter, Histogram, exposition
from serving.server_metrics import ServerMetrics

PATH = monitoring_config.DEFAULT_PATH
SERVING = ":tensorflow:serving:"
BATCHING = f"{SERVING}batching_session:"
CORE = ":tensorflow:core:"


def numbers(rest_port, path=PATH):
    """Every line of the metrics: name with labels, to number."""
    status, headers, body = ask(rest_port, "GET", path)
    assert (status, headers["Content-Type"]) == (200, "text/plain")
    return numbers_in(body.decode())


def numbers_in(text):
    lines = [line for line in text.splitlines() if line[0] != "#"]
    return {name: float(n) for name, n in (line.rsplit(" ", 1) for line in lines)}


def rise_of(look):
    """How much each number that `look` tells rises from now on; none that does not."""
    before = look()
    return lambda: {
        name: number - before.get(name, 0)
        for name, number in look().items()
        if number != before.get(name, 0) and "maaskit" not in name
    }


@pytest.fixture
def rise(ports):
    return rise_of(lambda: numbers(ports[1]))


@pytest.fixture(scope="module")
def grpc_server(request, grpc_engine):
    """The port of a server by each engine, and what tells its numbers.

    The one by grpcio is in this process: it tells those of calls, not of batches.
    """
    if grpc_engine == "native":
        grpc_port, rest_port = request.getfixturevalue("ports")
        yield grpc_port, lambda: numbers(rest_port)
        return
    predictor = request.getfixturevalue("embedded")
    with running(predictor, grpc_engine) as server:
        yield server.port, lambda: numbers_in(exposition(server.metrics.all()))


@pytest.fixture
def grpc_rise(grpc_server):
    return rise_of(grpc_server[1])


def requests(model, status):
    return f'{SERVING}request_count{{model_name="{model}",status="{status}"}}'


def latency(model, api, entrypoint, end="_count"):
    return (
        f'{SERVING}request_latency{end}{{model_name="{model}",API="{api}",'
        f'entrypoint="{entrypoint}"}}'
    )


def runtime(model, api):
    labels = f'model_name="{model}",API="{api}",runtime="TF1"'
    return f"{SERVING}runtime_latency_count{{{labels}}}"


def example_request(kind, signature, count):
    request = kind()
    request.model_spec.name = "examples"
    request.model_spec.signature_name = signature
    for _ in range(count):
        example = request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(0.5)
    return request


@pytest.fixture
def stub(grpc_server):
    with grpc.insecure_channel(f"127.0.0.1:{grpc_server[0]}") as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def test_calls_of_both_protocols_are_counted_and_timed(ports, rise):
    with GrpcClient(f"127.0.0.1:{ports[0]}") as client:
        for _ in range(3):
            client.predict("half_plus_two", {"x": np.float32([1])})
    half = "/v1/models/half_plus_two"
    ask(ports[1], "POST", f"{half}/versions/1:predict", {"instances": [1]})
    ask(ports[1], "GET", half)
    ask(ports[1], "GET", f"{half}/metadata")
    rose = rise()
    assert rose[requests("half_plus_two", "OK")] == 6
    assert rose[latency("half_plus_two", "Predict", "GRPC")] == 3
    assert rose[latency("half_plus_two", "predict", "REST")] == 1
    # Microseconds: a request takes longer than one, and less than a minute.
    assert 1 < rose[latency("half_plus_two", "predict", "REST", "_sum")] < 60e6
    assert rose[runtime("half_plus_two", "Predict")] == 4
    assert rose[f"{BATCHING}input_batch_size_count"] == 4
    assert rose[f"{BATCHING}wrapped_run_count"] == 4
    pool = 'thread_pool_name="model_server_batch_threads"'
    assert rose[f"{BATCHING}queuing_latency_count{{{pool}}}"] == 4


def test_runs_are_counted_as_tensorflow_counts_them(ports, rise):
    with GrpcClient(f"127.0.0.1:{ports[0]}") as client:
        for rows in (1, 8):
            client.predict("half_plus_two", {"x": np.ones(rows, np.float32)})
        with pytest.raises(ServingError):
            client.predict("half_plus_two", {"z": np.float32([1])})
    rose = rise()
    assert rose[f"{CORE}graph_runs"] == 2
    assert rose[f"{CORE}graph_run_time_usecs_histogram_count"] == 2
    total = rose[f"{CORE}graph_run_time_usecs_histogram_sum"]
    assert 0 < rose[f"{CORE}graph_run_time_usecs"] < 60e6
    assert rose[f"{CORE}graph_run_time_usecs"] == pytest.approx(total, abs=2)
    assert rose[f"{CORE}graph_run_input_tensor_bytes_sum"] == 9 * 4
    assert rose[f'{CORE}graph_run_input_tensor_bytes_bucket{{le="4"}}'] == 1


def test_the_time_that_a_client_takes_to_send_is_not_counted(ports, rise):
    body = b'{"instances": [1]}'
    head = (
        "POST /v1/models/half_plus_two:predict HTTP/1.1\r\nHost: x\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", ports[1]), timeout=10) as client:
        client.sendall(head.encode() + body[:5])
        time.sleep(1.5)
        client.sendall(body[5:])
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    assert rise()[latency("half_plus_two", "predict", "REST", "_sum")] < 1e6


@pytest.mark.parametrize("status", ["OK", "INVALID_ARGUMENT", "NOT_FOUND"])
def test_calls_over_each_engine_are_counted_by_their_status(
    grpc_server, grpc_rise, status
):
    alias = {"INVALID_ARGUMENT": "z"}.get(status, "x")
    version = {"NOT_FOUND": 9}.get(status)
    with GrpcClient(f"127.0.0.1:{grpc_server[0]}") as client:
        for _ in range(3):
            with contextlib.suppress(ServingError):
                inputs = {alias: np.float32([1])}
                client.predict("half_plus_two", inputs, version=version)
    rose = grpc_rise()
    assert rose[requests("half_plus_two", status)] == 3
    timed = rose.get(latency("half_plus_two", "Predict", "GRPC"), 0)
    assert timed == (3 if status == "OK" else 0)


def test_examples_are_counted_once_a_request(stub, grpc_rise):
    classify = classification_pb2.ClassificationRequest
    stub.Classify(example_request(classify, "classify", 3))
    stub.Regress(example_request(regression_pb2.RegressionRequest, "regress", 2))
    rose = grpc_rise()
    assert rose[f'{SERVING}request_example_counts_count{{model="examples"}}'] == 2
    assert rose[f'{SERVING}request_example_count_total{{model="examples"}}'] == 5
    assert rose[latency("examples", "Classify", "GRPC")] == 1
    assert rose[latency("examples", "Regress", "GRPC")] == 1


def test_examples_over_rest_are_counted_too(ports, rise):
    body = {"signature_name": "classify", "examples": [{"x": 0.5}] * 5}
    assert ask(ports[1], "POST", "/v1/models/examples:classify", body)[0] == 200
    rose = rise()
    assert rose[f'{SERVING}request_example_counts_count{{model="examples"}}'] == 1
    assert rose[f'{SERVING}request_example_count_total{{model="examples"}}'] == 5
    assert rose[latency("examples", "classify", "REST")] == 1
    assert rose[runtime("examples", "Classify")] == 1


def test_multi_inference_counts_its_examples_and_no_request(stub, grpc_rise):
    request = inference_pb2.MultiInferenceRequest()
    whole = example_request(classification_pb2.ClassificationRequest, "", 4)
    request.input.CopyFrom(whole.input)
    for method, signature in [("classify", "classify"), ("regress", "regress")]:
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name = "examples"
        task.model_spec.signature_name = signature
    stub.MultiInference(request)
    rose = grpc_rise()
    assert rose[f'{SERVING}request_example_count_total{{model="examples"}}'] == 4
    assert requests("examples", "OK") not in rose


def test_what_is_refused_is_counted_by_its_status_and_not_timed(ports, rise):
    half = "/v1/models/half_plus_two"
    ask(ports[1], "POST", f"{half}:predict", b"{")
    ask(ports[1], "POST", f"{half}/versions/9:predict", {"instances": [1]})
    with GrpcClient(f"127.0.0.1:{ports[0]}") as client:
        with pytest.raises(InvalidRequestError):
            client.predict("half_plus_two", {"z": np.float32([1])})
    ask(ports[1], "PUT", "/v1/nothing")
    rose = rise()
    assert rose == {
        requests("half_plus_two", "INVALID_ARGUMENT"): 2,
        requests("half_plus_two", "NOT_FOUND"): 1,
        requests("", "INVALID_ARGUMENT"): 1,
    }


def test_names_that_clients_make_up_share_one_label(ports, rise):
    for number in range(20):
        ask(ports[1], "GET", f"/v1/models/made_up_{number}")
        body = {"instances": [1]}
        ask(ports[1], "POST", f"/v1/models/made_up_{number}:predict", body)
    assert rise() == {requests("(unknown)", "NOT_FOUND"): 40}


def test_batches_tell_their_rows(ports, rise):
    images = np.zeros((50, 28, 28, 1), np.uint8)
    with GrpcClient(f"127.0.0.1:{ports[0]}") as client:
        client.predict("digits", {"image": images})
    rose = rise()
    # One request of 50 rows is more than a run takes: it needs two.
    assert rose[f"{BATCHING}input_batch_size_sum"] == 50
    assert rose[f"{BATCHING}input_batch_size_count"] == 1
    assert rose[f"{BATCHING}processed_batch_size_sum"] == 50
    assert rose[f"{BATCHING}processed_batch_size_count"] == 2


def test_padding_is_counted_for_each_size_that_is_run():
    metrics = ServerMetrics()
    counts = metrics.of_batches(BatchingOptions(allowed_batch_sizes=(4, 32)))

    class Task:
        def __init__(self, rows):
            self.rows, self.since = rows, 1.0

    counts.started([Task(1), Task(2)], now=1.5)
    counts.started([Task(9)], now=1.0)
    lines = exposition(metrics.all()).splitlines()
    padding = f"{BATCHING}padding_size"
    assert f'{padding}_sum{{execution_batch_size="4"}} 1' in lines
    assert f'{padding}_sum{{execution_batch_size="32"}} 23' in lines
    assert f"{BATCHING}processed_batch_size_sum 36" in lines
    pool = 'thread_pool_name="model_server_batch_threads"'
    assert f"{BATCHING}queuing_latency_sum{{{pool}}} {1e6:.0f}" in lines


def test_versions_memory_and_queues_are_told_as_they_are_now(ports):
    now = numbers(ports[1])
    assert now[':maaskit:versions{model_name="echo",state="AVAILABLE"}'] == 1
    assert 10e6 < now[":maaskit:resident_memory_bytes"] < 100e9
    with GrpcClient(f"127.0.0.1:{ports[0]}") as client:
        client.predict("echo", {"text": np.array([b"a"], object)})
    queue = ':maaskit:queue_depth{model_name="echo",signature_name="serving_default"}'
    assert numbers(ports[1])[queue] == 0


def test_each_metric_is_of_the_kind_that_tf_serving_says(ports):
    body = ask(ports[1], "GET", PATH)[2].decode()
    kinds = dict(line.split()[2:] for line in body.splitlines() if line[0] == "#")
    assert kinds[f"{SERVING}request_count"] == "counter"
    assert kinds[f"{SERVING}request_latency"] == "histogram"
    assert kinds[f"{BATCHING}wrapped_run_count"] == "counter"
    assert kinds[f"{CORE}graph_run_time_usecs"] == "counter"
    assert kinds[":tensorflow:cc:saved_model:load_latency"] == "counter"
    assert kinds[":maaskit:versions"] == "gauge"


def test_only_the_newest_of_endless_labels_are_kept():
    counter = Counter("c", ("path",), limit=3)
    histogram = Histogram("h", ("path",), [1.0], limit=3)
    for number in range(10):
        counter.add(str(number))
        histogram.observe(1, str(number))
    assert list(counter.samples()) == [f'c{{path="{n}"}} 1' for n in (7, 8, 9)]
    assert len(list(histogram.samples())) == 3 * 4


def test_loads_warm_ups_and_failures_are_counted_where_the_file_says(
    tmp_path, digits_litert
):
    publish(digits_litert, tmp_path / "digits", 1)
    config = tmp_path / "monitoring.config"
    config.write_text('prometheus_config { enable: true path: "/m" }')
    (tmp_path / "digits" / "2").mkdir()
    (tmp_path / "digits" / "2" / "saved_model.pb").write_bytes(b"junk")
    path = tmp_path / "digits" / "1"
    with serving(
        f"--model_base_path={tmp_path / 'digits'}", f"--monitoring_config_file={config}"
    ) as server:
        now = numbers(server.rest_port, "/m")
        assert server.get(PATH)[0] == 404
    loads = ":tensorflow:cc:saved_model:load_attempt_count"
    assert now[f'{loads}{{model_path="{path}",status="success"}}'] == 1
    assert now[f'{loads}{{model_path="{path.parent / "2"}",status="fail"}}'] == 1
    latency = f':tensorflow:cc:saved_model:load_latency{{model_path="{path}"}}'
    assert 0 < now[latency] < 60e6
    assert now[':maaskit:versions{model_name="default",state="END"}'] == 1


def test_warm_ups_are_timed_and_their_records_counted(tmp_path, two_signatures):
    publish(two_signatures, tmp_path / "two", 1)
    config = tmp_path / "monitoring.config"
    config.write_text("prometheus_config { enable: true }")
    with serving(
        f"--model_base_path={tmp_path / 'two'}", f"--monitoring_config_file={config}"
    ) as server:
        now = numbers(server.rest_port)
    labels = f'{{model_path="{tmp_path / "two" / "1"}",status="OK"}}'
    records = sum(1 for _ in warmup_requests.read(two_signatures))
    assert records > 1
    assert now[f"{SERVING}model_warmup_records_read{labels}"] == records
    assert now[f"{SERVING}model_warmup_latency_count{labels}"] == 1


def test_a_reload_tells_by_how_much_it_raised_a_counter(tmp_path, digits_litert):
    publish(digits_litert, tmp_path / "digits", 1)
    request = model_management_pb2.ReloadConfigRequest()
    for name in ("one", "two"):
        config = request.config.model_config_list.config.add()
        config.name, config.base_path = name, str(tmp_path / "digits")
        config.model_platform = "tensorflow"
    loads = "/tensorflow/cc/saved_model/load_attempt_count"
    request.metric_names.extend([loads, "/tensorflow/serving/request_count", "/no"])
    with serving(f"--model_base_path={tmp_path / 'digits'}") as server:
        stub = model_service_pb2_grpc.ModelServiceStub(server.channel)
        metrics = stub.HandleReloadConfigRequest(request, timeout=20).metric
    assert {metric.name: metric.int64_value_increase for metric in metrics} == {
        "/no": 0,
        loads: 2,
        "/tensorflow/serving/request_count": 0,
    }


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", ""),
        ("prometheus_config { enable: false path: '/m' }", ""),
        ("prometheus_config { enable: true }", PATH),
        ("prometheus_config { enable: true path: '/m' }", "/m"),
    ],
)
def test_a_monitoring_config_says_whether_and_where(tmp_path, text, path):
    file = tmp_path / "monitoring.config"
    file.write_text(text)
    assert monitoring_config.read(file) == path


def test_a_path_without_a_slash_is_refused(tmp_path):
    file = tmp_path / "monitoring.config"
    file.write_text("prometheus_config { enable: true path: 'm' }")
    with pytest.raises(InvalidRequestError, match="must begin with a slash"):
        monitoring_config.read(file)
