"""The shim as a process in front of servers that are killed, hung and replaced."""

import contextlib
import json
import signal
import threading
import time
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from numpy_predictor import free_port
from server_process import digits_request, publish, serving, soon

from savedmodels.protos import model_management_pb2, model_service_pb2_grpc

PREDICT = "/tensorflow.serving.PredictionService/Predict"


@pytest.fixture(scope="module")
def digits_store(tmp_path_factory, digits_litert):
    """A store that is served without TensorFlow, so within a second."""
    store = tmp_path_factory.mktemp("digits_store")
    publish(digits_litert, store / "digits", 1)
    return store


REQUEST = digits_request()
DIGITS = REQUEST.SerializeToString()
DIGITS_JSON = json.dumps({"instances": np.zeros((1, 28, 28, 1), int).tolist()})


class Flow:
    """Clients of both protocols that ask without a pause, until they are to stop."""

    def __init__(self, shim):
        self.answered = self.failed = 0
        self.texts = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(ask,))
            for ask in [self._grpc(shim.port)] * 3 + [self._rest(shim.rest_port)]
        ]

    def _grpc(self, port):
        @contextlib.contextmanager
        def asking():
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                call = channel.unary_unary(PREDICT)
                yield lambda: call(DIGITS, timeout=20)

        return asking

    def _rest(self, port):
        url = f"http://127.0.0.1:{port}/v1/models/digits:predict"

        def ask():
            with urllib.request.urlopen(url, DIGITS_JSON.encode(), 20) as response:
                response.read()

        return lambda: contextlib.nullcontext(ask)

    def _ask(self, asking):
        with asking() as ask:
            while not self._stop.is_set():
                try:
                    ask()
                    self.answered += 1
                except (grpc.RpcError, urllib.error.HTTPError) as error:
                    self.failed += 1
                    self.texts.append(str(error))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception):
        self._stop.set()
        for thread in self._threads:
            thread.join()


def numbers_of(shim):
    return json.loads(shim.get("/readyz")[1])["upstream"]


def test_a_killed_server_loses_no_request_and_is_taken_in_again(digits_store):
    store = f"--store={digits_store}"
    with serving(store) as stays, serving(store) as dies:
        address = f"127.0.0.1:{dies.port}"
        with serving(f"--upstream=127.0.0.1:{stays.port},{address}") as shim:
            with contextlib.ExitStack() as again:
                flow = again.enter_context(Flow(shim))
                soon(lambda: numbers_of(shim)[address]["requests"] > 20)
                dies.end(signal.SIGKILL)
                soon(lambda: not numbers_of(shim)[address]["ready"])
                assert shim.get("/readyz")[0] == 200
                assert shim.health() == "SERVING"
                with serving(store, f"--port={dies.port}"):
                    soon(lambda: numbers_of(shim)[address]["ready"])
                    before = numbers_of(shim)[address]["requests"]
                    soon(lambda: numbers_of(shim)[address]["requests"] > before + 20)
                    assert numbers_of(shim)[address]["ejections"] == 1
                    stays.end(signal.SIGTERM)  # the other one drains
                    after = flow.answered
                    soon(lambda: flow.answered > after + 20)
                    again.close()
            assert flow.texts == []
            # Both are gone now. Health checks are told of it a moment after.
            soon(lambda: shim.get("/readyz")[0] == 503)
            soon(lambda: shim.health() == "NOT_SERVING")
            assert shim.get("/healthz")[0] == 200
            assert shim.end() == 0
    assert "Traceback" not in shim.stderr


def test_a_new_config_reaches_every_server(digits_store, tmp_path):
    def config(*names):
        found = model_management_pb2.ReloadConfigRequest()
        for name in names:
            found.config.model_config_list.config.add(
                name=name,
                base_path=str(digits_store / "digits"),
                model_platform="tensorflow",
            )
        return found

    file = tmp_path / "models.config"
    file.write_text(text_format.MessageToString(config("a").config))
    flag = f"--model_config_file={file}"
    with serving(flag) as one, serving(flag) as other:
        both = f"127.0.0.1:{one.port},127.0.0.1:{other.port}"
        with serving(f"--upstream={both}") as shim:
            stub = model_service_pb2_grpc.ModelServiceStub(shim.channel)
            stub.HandleReloadConfigRequest(config("a", "b"), timeout=20)
            assert one.states("b") == other.states("b") == {1: "AVAILABLE"}
            with pytest.raises(grpc.RpcError) as caught:
                stub.HandleReloadConfigRequest(config("a", "a"), timeout=20)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "Illegal to list model a multiple times" in caught.value.details()


@pytest.mark.slow
def test_servers_that_are_killed_again_and_again_lose_no_request(digits_store):
    store = f"--store={digits_store}"
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(serving(store)) for _ in range(2)]
        addresses = [f"127.0.0.1:{server.port}" for server in servers]
        shim = stack.enter_context(serving(f"--upstream={','.join(addresses)}"))
        with Flow(shim) as flow:
            for turn in range(8):
                place = turn % 2
                servers[place].end(signal.SIGKILL)
                time.sleep(1)
                again = serving(store, f"--port={servers[place].port}")
                servers[place] = stack.enter_context(again)
                soon(
                    lambda p=place: numbers_of(shim)[addresses[p]]["ready"], seconds=40
                )
        assert flow.texts == []
        assert flow.answered > 1000


@pytest.mark.slow
def test_a_server_that_is_stopped_in_its_tracks_loses_no_request(digits_store):
    store = f"--store={digits_store}"
    with serving(store) as stays, serving(store) as hangs:
        address = f"127.0.0.1:{hangs.port}"
        with serving(f"--upstream=127.0.0.1:{stays.port},{address}") as shim:
            with Flow(shim) as flow:
                soon(lambda: numbers_of(shim)[address]["requests"] > 20)
                hangs.popen.send_signal(signal.SIGSTOP)
                soon(lambda: not numbers_of(shim)[address]["ready"], seconds=20)
                after = flow.answered
                soon(lambda: flow.answered > after + 20)
                hangs.popen.send_signal(signal.SIGCONT)
                soon(lambda: numbers_of(shim)[address]["ready"], seconds=20)
            assert flow.texts == []


def test_servers_that_are_not_there_yet_are_waited_for(digits_store):
    port = free_port()
    with serving(f"--upstream=127.0.0.1:{port}") as shim:
        assert shim.get("/readyz")[0] == 503
        assert shim.health() == "NOT_SERVING"
        with pytest.raises(grpc.RpcError) as caught:
            shim.predict(REQUEST, timeout=20)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert f"can be reached: 127.0.0.1:{port}" in caught.value.details()
        with serving(f"--store={digits_store}", f"--port={port}"):
            soon(lambda: shim.get("/readyz")[0] == 200)
            assert shim.predict(REQUEST).model_spec.version.value == 1
        shim.end()
    assert f"Upstream 127.0.0.1:{port} is not ready: " in shim.stderr
