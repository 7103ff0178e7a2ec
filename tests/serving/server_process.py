"""The server as a process of its own, for tests that ask it."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from savedmodels.protos import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from serving import tensor_codec

ROOT = pathlib.Path(__file__).parents[2]
LINE = re.compile(
    r"serving: gRPC 127\.0\.0\.1:(\d+)(?: and unix:\S+)?, "
    r"REST (?:https?://127\.0\.0\.1:(\d+)|none), "
    r"(?:models|upstream): (.*)\n"
)


def refused(*arguments, env=None):
    """What a server that must not start prints on stderr, line by line."""
    done = subprocess.run(
        [sys.executable, "-m", "serving", *arguments],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    return done.stderr.splitlines()


class Process:
    """A server process, and clients of it."""

    def __init__(self, *arguments):
        # Not a pipe: once that is full, whoever logs waits for a reader.
        self._log = tempfile.TemporaryFile("w+")
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "serving", *arguments],
            cwd=ROOT,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.stderr, self.channel = "", None
        watchdog = threading.Timer(180, self.popen.kill)
        watchdog.start()
        line = self.popen.stdout.readline()
        watchdog.cancel()
        match = LINE.fullmatch(line)
        if not match:
            self.end(signal.SIGKILL)
        assert match, (line, self.stderr)
        self.port, self.rest_port, models = match.groups()
        self.models = models.split(", ")
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")
        self.predict = prediction_service_pb2_grpc.PredictionServiceStub(
            self.channel
        ).Predict

    def health(self, service=""):
        stub = health_pb2_grpc.HealthStub(self.channel)
        status = stub.Check(health_pb2.HealthCheckRequest(service=service)).status
        return health_pb2.HealthCheckResponse.ServingStatus.Name(status)

    def states(self, model):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        stub = model_service_pb2_grpc.ModelServiceStub(self.channel)
        states = get_model_status_pb2.ModelVersionStatus.State
        return {
            status.version: states.Name(status.state)
            for status in stub.GetModelStatus(request).model_version_status
        }

    def get(self, path):
        url = f"http://127.0.0.1:{self.rest_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def end(self, number=signal.SIGTERM):
        """Sends a signal, and returns the exit code."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        self.popen.communicate(timeout=30)
        if not self._log.closed:
            with self._log:
                self._log.seek(0)
                self.stderr = self._log.read()
        if self.channel is not None:
            self.channel.close()
        return self.popen.returncode


@contextlib.contextmanager
def serving(*arguments):
    process = Process("--port=0", "--rest_api_port=0", *arguments)
    try:
        yield process
    finally:
        process.end()


def publish(version, base_path, number):
    """Puts a version into a store in one rename, as an export does."""
    base_path.mkdir(parents=True, exist_ok=True)
    staging = base_path / f".writing-{number}"
    shutil.copytree(version, staging)
    staging.rename(base_path / str(number))


def digits_request(rows=1):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "digits"
    image = np.zeros((rows, 28, 28, 1), np.uint8)
    tensor_codec.encode_into(request.inputs["image"], image)
    return request


def soon(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it did not come true in {seconds} seconds"
        time.sleep(0.01)
