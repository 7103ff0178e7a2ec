"""Requests that a model's config wants logged are on disk, and nothing waits for it."""

import pathlib
import signal
import subprocess
import sys
import threading

import grpc
import numpy as np
import pytest
from grpc_running import running
from numpy_predictor import ask
from server_process import ROOT, publish, serving, soon

from pipelines import score
from savedmodels import tfrecord
from savedmodels.protos import (
    classification_pb2,
    inference_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)
from serving import servable, tensor_codec, warmup
from serving.grpc_client import GrpcClient
from serving.metrics import exposition
from serving.request_log import RequestLog, RequestLogOptions
from serving.server_metrics import ServerMetrics


def records(folder):
    """The PredictionLogs of all files below a folder, in the order of their names."""
    found = []
    for path in sorted(pathlib.Path(folder).rglob("*.tfrecord")):
        with path.open("rb") as file:
            found += map(prediction_log_pb2.PredictionLog.FromString, read(file))
    return found


def read(file):
    """The whole records of a file; what a kill left of the last one is passed over."""
    try:
        yield from tfrecord.read(file)
    except tfrecord.TFRecordError:
        return


def counted(metrics, model="m"):
    """How many records of a model there are by status."""
    start = f':tensorflow:serving:request_log_count{{model_name="{model}",status_code="'
    lines = exposition(metrics.all()).splitlines()
    found = [line.removeprefix(start) for line in lines if line.startswith(start)]
    return {line.split('"')[0]: int(line.split()[1]) for line in found}


def numbered(number, size=0):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.name = f"{number}" + size * "x"
    return log


def log_of(folder, rate=1.0, **options):
    metrics = ServerMetrics()
    options_ = RequestLogOptions(folder / "requests", rate)
    return RequestLog(lambda model: options_, metrics, **options), metrics


def offer(log, number, make=None, size=1):
    if options := log.sampled("m"):
        log.offer("m", options, size, make or (lambda: numbered(number)))


def test_records_are_written_in_their_order(tmp_path):
    log, metrics = log_of(tmp_path / "new" / "folders")
    for number in range(50):
        offer(log, number)
    log.close()
    names = [log.predict_log.request.model_spec.name for log in records(tmp_path)]
    assert names == list(map(str, range(50)))
    assert counted(metrics) == {"OK": 50}
    assert records(tmp_path)[0].log_metadata.sampling_config.sampling_rate == 1
    assert records(tmp_path)[0].log_metadata.timestamp_secs > 1_700_000_000


def test_a_file_that_is_full_is_followed_by_another(tmp_path):
    log, _ = log_of(tmp_path, max_file_bytes=10_000)
    for number in range(30):
        offer(log, number, lambda number=number: numbered(number, 990))
    log.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 4
    assert all(9_000 < file.stat().st_size <= 10_000 for file in files[:-1])
    assert len(records(tmp_path)) == 30


def test_a_share_of_the_requests_is_logged(tmp_path):
    log, _ = log_of(tmp_path, 0.25, max_waiting=10_000)
    for number in range(4000):
        offer(log, number)
    log.close()
    # Six standard deviations of a binomial distribution around 1000.
    assert 836 < len(records(tmp_path)) < 1164


@pytest.mark.parametrize("limit", [{"max_waiting": 5}, {"max_waiting_bytes": 50}])
def test_what_a_slow_disk_cannot_take_is_dropped_and_counted(tmp_path, limit):
    log, metrics = log_of(tmp_path, **limit)
    is_slow = threading.Event()
    begun = threading.Event()

    def wait():
        begun.set()
        is_slow.wait(30)
        return numbered(0)

    offer(log, 0, wait, size=10)
    assert begun.wait(30)
    for number in range(1, 9):
        offer(log, number, size=10)  # returns at once: this thread is not stopped
    is_slow.set()
    log.close()
    assert counted(metrics) == {"OK": 6, "RESOURCE_EXHAUSTED": 3}
    assert len(records(tmp_path)) == 6


def test_a_disk_that_fails_costs_records_and_one_line(tmp_path, caplog):
    (tmp_path / "file").write_text("not a folder")
    log, metrics = log_of(tmp_path / "file")
    for number in range(5):
        offer(log, number)
    log.close()
    assert counted(metrics) == {"UNKNOWN": 5}
    assert caplog.text.count("Requests are not logged") == 1


def test_a_model_whose_config_changes_gets_another_file(tmp_path):
    options = RequestLogOptions(tmp_path / "a", 1.0)
    log = RequestLog(lambda model: options, ServerMetrics())
    offer(log, 0)
    options = RequestLogOptions(tmp_path / "b", 1.0)
    offer(log, 1)
    options = None
    offer(log, 2)
    log.close()
    assert [path.name[:4] for path in sorted(tmp_path.iterdir())] == ["a-m-", "b-m-"]


WRITES_FOR_EVER = """
import itertools, pathlib, sys
from serving.request_log_file import RequestLogFile
file = RequestLogFile(pathlib.Path(sys.argv[1]), "m", 1_000_000)
for number in itertools.count():
    file.write(b"%9d" % number * 5000)
    if number == 10:
        print("begun", flush=True)
"""


def test_a_killed_process_leaves_files_of_whole_records(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITES_FOR_EVER, str(tmp_path / "log")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"begun\n"
    soon(lambda: len(list(tmp_path.iterdir())) > 2)
    process.kill()
    process.wait()
    found = []
    for path in sorted(tmp_path.iterdir()):
        with path.open("rb") as file:
            found += read(file)
    assert found == [b"%9d" % number * 5000 for number in range(len(found))]
    assert len(found) > 40


def config_of(tmp_path, **models):
    """A config that logs every request of each model."""
    entries = []
    for name, version in models.items():
        publish(version, tmp_path / "store" / name, 1)
        entries.append(
            f'config {{ name: "{name}" base_path: "{tmp_path / "store" / name}" '
            'model_platform: "tensorflow" logging_config { '
            f'log_collector_config {{ filename_prefix: "{tmp_path / "logs" / "r"}" }} '
            "sampling_config { sampling_rate: 1 } } }"
        )
    file = tmp_path / "models.config"
    file.write_text(f"model_config_list {{ {' '.join(entries)} }}")
    return file


def ask_over_grpc(port, half):
    """One request of each of the four kinds; of the model `half` one."""
    with GrpcClient(f"127.0.0.1:{port}") as client:
        client.predict(half, {"x": np.float32([1, 2])})
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for kind, call, signature in [
            (classification_pb2.ClassificationRequest, stub.Classify, "classify"),
            (regression_pb2.RegressionRequest, stub.Regress, "regress"),
        ]:
            request = kind()
            request.model_spec.name = "examples"
            request.model_spec.signature_name = signature
            example = request.input.example_list.examples.add()
            example.features.feature["x"].float_list.value.append(0.25)
            call(request)
        multi = inference_pb2.MultiInferenceRequest(input=request.input)
        task = multi.tasks.add(method_name="tensorflow/serving/regress")
        task.model_spec.CopyFrom(request.model_spec)
        stub.MultiInference(multi)


def ask_everything(server):
    """One request of each kind: four over gRPC, three over REST."""
    ask_over_grpc(server.port, "half")
    rest = server.rest_port
    ask(rest, "POST", "/v1/models/half:predict", {"instances": [3, 4, 5]})
    ask(rest, "POST", "/v1/models/half:predict", b"refused, so not logged")
    for method in ("classify", "regress"):
        body = {"signature_name": method, "examples": [{"x": 0.5}]}
        answer = ask(rest, "POST", f"/v1/models/examples:{method}", body)
        assert answer[0] == 200


def test_every_kind_of_request_is_logged_with_its_answer(
    tf, tmp_path, half_plus_two, examples
):
    config = config_of(tmp_path, half=half_plus_two, examples=examples)
    with serving(f"--model_config_file={config}") as server:
        ask_everything(server)
        soon(lambda: len(records(tmp_path)) == 7)
        server.end(signal.SIGKILL)
    logged = records(tmp_path)
    kinds = sorted(log.WhichOneof("log_type") for log in logged)
    assert kinds == [
        *("classify_log", "classify_log", "multi_inference_log"),
        *("predict_log", "predict_log", "regress_log", "regress_log"),
    ]
    assert {log.log_metadata.model_spec.version.value for log in logged} == {1}
    predicted = [log.predict_log for log in logged if log.HasField("predict_log")]
    for log, x in zip(predicted, ([1, 2], [3, 4, 5]), strict=True):
        assert tensor_codec.decode(log.request.inputs["x"]).tolist() == x
        answer = tensor_codec.decode(log.response.outputs["y"]).tolist()
        assert answer == [value / 2 + 2 for value in x]
    regressed = [log.regress_log for log in logged if log.HasField("regress_log")]
    values = [log.response.result.regressions[0].value for log in regressed]
    assert values == [0.25 / 2 + 2, 0.5 / 2 + 2]
    check_warm_up_and_scores(tf, tmp_path, half_plus_two)


def test_what_each_engine_answers_is_logged(tmp_path, embedded, grpc_engine):
    log, metrics = log_of(tmp_path)
    with running(embedded, grpc_engine, log=log) as server:
        ask_over_grpc(server.port, "half_plus_two")
        soon(lambda: len(records(tmp_path)) == 4)
    log.close()
    logged = records(tmp_path)
    assert [entry.WhichOneof("log_type") for entry in logged] == [
        *("classify_log", "regress_log", "multi_inference_log", "predict_log"),
    ]
    predicted = logged[-1].predict_log
    assert predicted.request.model_spec.name == "half_plus_two"
    assert tensor_codec.decode(predicted.response.outputs["y"]).tolist() == [2.5, 3]
    assert counted(metrics, "examples") == {"OK": 3}


def check_warm_up_and_scores(tf, tmp_path, version):
    """The file of `half` is read by TensorFlow, warms a version up, and is scored."""
    (file,) = (tmp_path / "logs").glob("r-half-*.tfrecord")
    assert len(list(tf.data.TFRecordDataset(str(file)).as_numpy_iterator())) == 2
    publish(version, tmp_path / "warm" / "half", 1)
    extra = tmp_path / "warm" / "half" / "1" / "assets.extra"
    extra.mkdir()
    file.rename(extra / "tf_serving_warmup_requests")
    loaded = servable.load(extra.parent, "half", 1)
    assert warmup.replay(loaded, extra.parent) == 2
    (extra / "tf_serving_warmup_requests").rename(tmp_path / "again.tfrecord")
    output = tmp_path / "scores.csv"
    given = [f"--input={tmp_path / 'again.tfrecord'}", f"--output={output}"]
    assert score.main(["half", f"--store={tmp_path / 'warm'}", *given]) == 0
    answers = [float(line.split(",")[-1]) for line in output.read_text().split()[1:]]
    assert answers == [x / 2 + 2 for x in (1, 2, 3, 4, 5)]
