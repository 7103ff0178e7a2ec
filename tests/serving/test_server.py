"""The server as a process: where it listens, what it says, how it changes and ends."""

import contextlib
import json
import shutil
import signal
import socket
import threading
import urllib.request

import grpc
import numpy as np
import pytest
from server_process import digits_request, publish, refused, serving, soon

from savedmodels.protos import prediction_service_pb2_grpc
from serving import flags, tensor_codec


@pytest.fixture
def digits_store(tmp_path, digits_litert):
    publish(digits_litert, tmp_path / "digits", 1)
    return tmp_path


def test_serves_both_protocols_and_ends_cleanly_when_told(digits_store, grpc_engine):
    given = ["--store", str(digits_store), f"--grpc_engine={grpc_engine}"]
    with serving(*given) as server:
        assert server.models == ["digits/1"]
        response = server.predict(digits_request())
        assert response.model_spec.version.value == 1
        np.testing.assert_allclose(response.outputs["scores"].float_val, 0.1)
        body = json.dumps({"instances": np.zeros((1, 28, 28, 1), int).tolist()})
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.rest_port}/v1/models/digits:predict",
            data=body.encode(),
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            (prediction,) = json.load(answer)["predictions"]
        np.testing.assert_allclose(prediction["scores"], 0.1)
        assert server.get("/readyz")[0] == 200
        for name in ("", "digits", "PredictionService", "ModelService"):
            assert server.health(name) == "SERVING"
        assert server.health("tensorflow.serving.PredictionService") == "SERVING"
        assert server.end(signal.SIGTERM) == 0
        assert "Traceback" not in server.stderr


def test_serves_one_model_by_its_base_path_without_rest(digits_store):
    with serving(
        "--model_name=digits",
        f"--model_base_path={digits_store / 'digits'}",
        "--rest_api_port=-1",
    ) as server:
        assert server.rest_port is None
        assert server.predict(digits_request()).model_spec.version.value == 1
        assert server.end(signal.SIGINT) == 0


def test_an_empty_store_is_waited_for(tmp_path, digits_litert):
    with serving(f"--store={tmp_path / 'models'}") as server:
        assert server.models == ["none"]
        assert server.get("/healthz")[0] == 200
        assert server.get("/readyz")[0] == 503
        assert server.health() == "NOT_SERVING"
        publish(digits_litert, tmp_path / "models" / "digits", 1)
        soon(lambda: server.health("") == "SERVING")
        assert server.get("/readyz")[0] == 200
        server.predict(digits_request())
        assert server.end() == 0
    assert "make train MODEL=" in server.stderr


def test_a_taken_port_is_one_clear_line(digits_store):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for flag, other in [
            ("--port", "--rest_api_port"),
            ("--rest_api_port", "--port"),
        ]:
            (line,) = refused(f"--store={digits_store}", f"{flag}={port}", f"{other}=0")
            assert line.startswith(f"error: Cannot listen on 127.0.0.1:{port}")


def test_versions_switch_under_load_without_a_failed_call(
    digits_store, digits_litert, grpc_engine
):
    seen, failures, stop = [], [], threading.Event()

    def ask(port):
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            while not stop.is_set():
                try:
                    response = stub.Predict(digits_request(), timeout=20)
                    seen.append(response.model_spec.version.value)
                except grpc.RpcError as error:
                    failures.append(error)

    flags = [f"--store={digits_store}", f"--grpc_engine={grpc_engine}"]
    with serving(*flags) as server:
        clients = [threading.Thread(target=ask, args=(server.port,)) for _ in range(8)]
        for client in clients:
            client.start()
        try:
            for version in (2, 3):
                publish(digits_litert, digits_store / "digits", version)
                soon(lambda version=version: version in seen, seconds=2)
        finally:
            stop.set()
            for client in clients:
                client.join()
        assert not failures
        assert set(seen) == {1, 2, 3}
        soon(
            lambda: (
                server.states("digits")
                == {3: "AVAILABLE"} | {version: "END" for version in (1, 2)}
            )
        )


@pytest.mark.parametrize("name", ["saved_model.pb", "model.tflite"])
def test_a_truncated_version_is_reported_and_the_old_one_answers(
    digits_store, digits_litert, name
):
    with serving(f"--store={digits_store}") as server:
        publish(digits_litert, digits_store / "away", 1)
        file = digits_store / "away/1" / name
        file.write_bytes(file.read_bytes()[:1000])
        (digits_store / "away/1").rename(digits_store / "digits/2")
        soon(lambda: server.states("digits") == {2: "END", 1: "AVAILABLE"})
        assert name.encode() in server.get("/v1/models/digits")[1]
        assert server.predict(digits_request()).model_spec.version.value == 1
        assert server.health("digits") == "SERVING"
        shutil.copy(digits_litert / name, digits_store / "digits/2")
        soon(lambda: server.states("digits") == {2: "AVAILABLE", 1: "END"})


def test_calls_in_flight_are_answered_at_the_end(digits_store, grpc_engine):
    """The load is heavy enough that some calls wait when the signal comes."""
    answered, refused, other = [], [], []
    image = np.zeros((512, 28, 28, 1), np.uint8)
    request = digits_request()
    request.inputs["image"].CopyFrom(tensor_codec.encode(image, as_content=True))
    flags = [f"--store={digits_store}", f"--grpc_engine={grpc_engine}"]
    with serving(*flags) as server:
        began = threading.Event()

        def ask():
            with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
                while True:
                    try:
                        stub.Predict(request, timeout=20)
                        answered.append(1)
                        began.set()
                    except grpc.RpcError as error:
                        if error.code() == grpc.StatusCode.UNAVAILABLE:
                            refused.append(error.details())
                        else:
                            other.append(error)
                        return

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        assert began.wait(20)
        assert server.end() == 0
        for client in clients:
            client.join()
    assert not other
    assert len(refused) == 4  # each client's last call, made after the signal
    assert "Traceback" not in server.stderr


def test_requests_that_are_half_sent_are_not_waited_for_at_the_end(digits_store):
    head = b"POST /v1/models/digits:predict HTTP/1.1\r\nHost: x\r\n"
    half_sent = [head, head + b"Content-Length: 9\r\n\r\n", head + b"\r\n" + head]
    with (
        serving(f"--store={digits_store}", "--drain_seconds=600") as server,
        contextlib.ExitStack() as clients,
    ):
        for data in half_sent:
            client = socket.create_connection(("127.0.0.1", int(server.rest_port)))
            clients.enter_context(client).sendall(data)
        assert server.get("/healthz")[0] == 200
        assert server.end() == 0  # within 30 seconds
    assert "Traceback" not in server.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "Both server_options.model_base_path and server_options.model_config_fi"),
        (["--store=a", "--model_base_path=b"], "more than one flag says what to serve"),
        (["--store=a", "--model_config_file=b"], "more than one flag says what to"),
        (["--store=a", "--upstream=a:1"], "more than one flag says what to serve"),
        (["--upstream=a"], "host:port[,host:port...] was expected. Received: a"),
        (["--upstream=a:0"], "host:port[,host:port...] was expected"),
        (["--upstream=http://a:1"], "host:port[,host:port...] was expected"),
        (["--upstream=a:1,a:1"], "a server is named twice. Received: a:1,a:1"),
        (["--store=a", "--port=http"], "expected 0 to 65535. Received: http"),
        (["--store=a", "--enable_batching=maybe"], "expected true or false"),
        (["--store=a", "--max_batch_size=0"], "expected 1 or more"),
        (["--stor=a"], "unrecognized arguments"),
    ],
)
def test_wrong_flags_end_with_code_2(capsys, arguments, text):
    with pytest.raises(SystemExit) as caught:
        flags.parse(arguments)
    assert caught.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--enable_batching=false"], (False, 32)),
        (["--enable_batching", "0", "--max_batch_size=7"], (False, 7)),
        (["--enable_batching", "--max_batch_size", "7"], (True, 7)),
        (["--max_batch_size=7"], (True, 7)),
    ],
)
def test_flags_are_read_as_tf_serving_reads_them(arguments, expected):
    options = flags.parse(["--store=a", *arguments]).embedded
    assert (options.enable_batching, options.batching.max_batch_size) == expected


def test_defaults_are_tf_servings():
    options = flags.parse(["--model_base_path=/models/m"])
    assert (options.port, options.rest_api_port) == (8500, 8501)
    assert options.model_name == "default"
    watch = options.embedded.watch
    assert watch.file_system_poll_wait_seconds == 1
    assert watch.max_num_load_retries == 5
    assert watch.load_retry_interval_seconds == 60
    assert options.embedded.enable_model_warmup
    assert not options.as_content
