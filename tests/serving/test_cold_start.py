"""A server of versions that LiteRT answers starts at once, and stays small."""

import os
import pathlib
import re
import sys

import numpy as np
import pytest
from server_process import digits_request, publish, serving

from savedmodels.protos import predict_pb2
from serving import tensor_codec

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def server(tmp_path_factory, digits_litert, two_signatures):
    store = tmp_path_factory.mktemp("light")
    publish(digits_litert, store / "digits", 1)
    publish(two_signatures, store / "words", 1)
    with serving(f"--store={store}") as process:
        yield process


def folder(server):
    return pathlib.Path(f"/proc/{server.popen.pid}")


def mib(server, name):
    found = re.search(rf"{name}:\s+(\d+) kB", (folder(server) / "status").read_text())
    return int(found[1]) / 1024


def has_tensorflow(server):
    return "libtensorflow_cc" in (folder(server) / "maps").read_text()


def words_request(signature="serving_default", **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "words"
    request.model_spec.signature_name = signature
    for alias, array in inputs.items():
        tensor_codec.encode_into(request.inputs[alias], array)
    return request


def test_answers_without_tensorflow_and_within_150_mb(server):
    assert server.models == ["digits/1", "words/1"]
    scores = server.predict(digits_request()).outputs["scores"].float_val
    np.testing.assert_allclose(scores, 0.1)
    doubled = server.predict(words_request(x=np.float32([3]))).outputs["y"].float_val
    assert list(doubled) == [6]
    assert server.get("/v1/models/words/metadata")[0] == 200
    assert not has_tensorflow(server)
    assert mib(server, "VmHWM") < 150


def test_starts_in_a_second_of_processor_time(server):
    # TensorFlow alone takes five.
    fields = (folder(server) / "stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    assert (user + system) / os.sysconf("SC_CLK_TCK") < 3


def test_the_first_call_that_needs_tensorflow_brings_it(server):
    text = np.array([b"hi"], np.object_)
    response = server.predict(words_request("shout", text=text), timeout=60)
    assert list(response.outputs["loud"].string_val) == [b"HI"]
    assert has_tensorflow(server)
    doubled = server.predict(words_request(x=np.float32([3]))).outputs["y"].float_val
    assert list(doubled) == [6]
