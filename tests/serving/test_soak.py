"""Hours in minutes: memory, file descriptors and threads stay where they are.

`make soak SECONDS=60` runs it for a minute; a leak must be large to show in so few.
"""

import contextlib
import http.client
import itertools
import json
import os
import pathlib
import random
import shutil
import socket
import statistics
import struct
import sys
import threading
import time

import grpc
import mutations
import numpy as np
import pytest
from litert_versions import add_litert
from server_process import digits_request, publish, serving, soon

from savedmodels.protos import predict_pb2, prediction_service_pb2_grpc

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]
SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
MIB = 1024 * 1024
X = np.float32([1, 2, 5])
DIGITS = "/v1/models/digits:predict"
DOCUMENT = {"instances": np.zeros((2, 28, 28, 1), int).tolist()}
BODY = json.dumps(DOCUMENT).encode()


def used(process):
    """Memory in bytes, file descriptors and threads of a process."""
    folder = pathlib.Path(f"/proc/{process.popen.pid}")
    pages = int((folder / "statm").read_text().split()[1])
    fds = len(os.listdir(folder / "fd"))
    threads = len(os.listdir(folder / "task"))
    return pages * os.sysconf("SC_PAGE_SIZE"), fds, threads


def half_request():
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half_plus_two"
    request.inputs["x"].dtype = 1
    request.inputs["x"].tensor_shape.dim.add(size=3)
    request.inputs["x"].float_val.extend(X.tolist())
    return request


class Load:
    """Threads that call a server in every way there is, until they are stopped."""

    def __init__(self, server, store, versions):
        self.server = server
        self.store = store
        self.versions = versions
        self.failures = []
        self.counts = {}
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(kind,))
            for kind in (
                *(self.good_grpc, self.good_rest, self.bad_grpc, self.bad_rest),
                *(self.cancelled, self.late, self.aborted, self.reload),
            )
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, kind):
        dice = random.Random(kind.__name__)
        for number in itertools.count(1):
            if self._stop.is_set():
                return
            try:
                kind(dice, number)
            except Exception as error:
                self.failures.append((kind.__name__, error))
            self.counts[kind.__name__] = number

    @contextlib.contextmanager
    def _stub(self):
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{self.server.port}", options) as channel:
            yield prediction_service_pb2_grpc.PredictionServiceStub(channel), channel

    def _connection(self):
        port = self.server.rest_port
        return contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        )

    def good_grpc(self, dice, number):
        with self._stub() as (stub, _):
            for _ in range(dice.choice([1, 50])):
                stub.Predict(digits_request(dice.choice([1, 3, 100])), timeout=30)
                response = stub.Predict(half_request(), timeout=30)
                slope_and_offset = list(response.outputs["y"].float_val)
                assert slope_and_offset in ([2.5, 3, 4.5], [3.5, 4, 5.5])

    def good_rest(self, dice, number):
        with self._connection() as connection:
            for _ in range(dice.choice([1, 50])):
                connection.request("POST", DIGITS, BODY)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200

    def bad_grpc(self, dice, number):
        with self._stub() as (_, channel):
            call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            for _ in range(20):
                request = dice.choice([digits_request(), half_request()])
                data = mutations.message(dice, predict_pb2.PredictRequest, request)
                with contextlib.suppress(grpc.RpcError):
                    call(data, timeout=30)

    def bad_rest(self, dice, number):
        with self._connection() as connection:
            for _ in range(20):
                connection.request("POST", DIGITS, mutations.document(dice, DOCUMENT))
                answer = connection.getresponse()
                answer.read()
                assert answer.status != 500

    def cancelled(self, dice, number):
        with self._stub() as (stub, _):
            for _ in range(20):
                call = stub.Predict.future(digits_request(200), timeout=30)
                time.sleep(dice.random() / 100)
                call.cancel()

    def late(self, dice, number):
        with self._stub() as (stub, _):
            for _ in range(20):
                with contextlib.suppress(grpc.RpcError):
                    stub.Predict(digits_request(200), timeout=dice.random() / 100)

    def aborted(self, dice, number):
        address = ("127.0.0.1", int(self.server.rest_port))
        with socket.create_connection(address, timeout=30) as client:
            head = f"POST {DIGITS} HTTP/1.1\r\nContent-Length: {len(BODY)}\r\n\r\n"
            sent = head.encode() + BODY
            client.sendall(sent[: dice.choice([0, 9, 60, 500, len(sent)])])
            time.sleep(dice.choice([0, 0.005]))
            if dice.random() < 0.5:  # a reset in place of an end
                linger = struct.pack("ii", 1, 0)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def reload(self, dice, number):
        for model, versions in self.versions.items():
            base_path = self.store / model
            publish(versions[number % len(versions)], base_path, number + 1)
            soon(
                lambda model=model: (
                    self.server.states(model).get(number + 1) == "AVAILABLE"
                ),
                30,
            )
            shutil.rmtree(base_path / str(number))
        self._stop.wait(0.5)


def told(label, values):
    memory, fds, threads = values
    print(f"{label}: {memory / MIB:.0f} MiB, {fds} descriptors, {threads} threads")


def median(samples):
    return [statistics.median(column) for column in zip(*samples, strict=True)]


def test_nothing_grows_under_calls_of_every_kind(
    tmp_path, digits_litert, half_plus_two, half_plus_three
):
    publish(digits_litert, tmp_path / "digits", 1)
    publish(half_plus_two, tmp_path / "half_plus_two", 1)
    versions = {
        "digits": [digits_litert],
        "half_plus_two": [half_plus_two, half_plus_three],
    }
    flags = ["--file_system_poll_wait_seconds=0.1", "--rest_api_timeout_in_ms=5000"]
    with serving(f"--store={tmp_path}", *flags) as server:
        idle = used(server)
        told("idle", idle)
        samples = []
        with Load(server, tmp_path, versions) as load:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                time.sleep(0.5)
                samples.append(used(server))
        steady = samples[len(samples) // 4 :]
        quarter = len(steady) // 4
        before, after = median(steady[:quarter]), median(steady[-quarter:])
        told("after the warm-up", before)
        told("at the end", after)
        print(load.counts)
        assert not load.failures
        assert after[0] < 1.15 * before[0] + 32 * MIB
        assert after[1] < before[1] + 30
        assert after[2] <= before[2] + 4
        soon(lambda: used(server)[1] <= idle[1] + 8, 30)
        told("idle again", used(server))
        assert server.end() == 0
    assert "Traceback" not in server.stderr
    assert "Unexpected error" not in server.stderr


@pytest.mark.parametrize("engine", ["tensorflow", "litert"])
def test_a_version_that_is_unloaded_gives_its_memory_back(tmp_path, tf, engine):
    """Each version holds 16 MiB: fifty that stayed would be 800."""
    version = tmp_path / "version"
    module = tf.Module()
    module.weights = tf.Variable(tf.random.uniform([1024, 4096]))
    spec = tf.TensorSpec([None, 1024], tf.float32, name="x")
    module.predict = tf.function(
        lambda x: {"y": tf.matmul(x, module.weights)}, input_signature=[spec]
    )
    signatures = {"serving_default": module.predict}
    tf.saved_model.save(module, str(version), signatures=signatures)
    if engine == "litert":
        add_litert(tf, version)
    store = tmp_path / "store"
    publish(version, store / "m", 1)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].dtype = 1
    for size in (1, 1024):
        request.inputs["x"].tensor_shape.dim.add(size=size)
    request.inputs["x"].float_val.append(1)
    memory = []
    flags = ["--file_system_poll_wait_seconds=0.05"]
    with serving(f"--store={store}", *flags) as server:
        for number in range(2, 52):
            publish(version, store / "m", number)
            soon(lambda n=number: server.states("m").get(n) == "AVAILABLE", 30)
            shutil.rmtree(store / "m" / str(number - 1))
            server.predict(request, timeout=30)
            soon(lambda n=number: server.states("m").get(n - 1) != "AVAILABLE", 30)
            memory.append(used(server)[0])
        print([round(size / MIB) for size in memory])
        maps = pathlib.Path(f"/proc/{server.popen.pid}/maps").read_text()
        assert ("libtensorflow_cc" in maps) == (engine == "tensorflow")
    assert statistics.median(memory[-10:]) < statistics.median(memory[5:15]) + 64 * MIB
