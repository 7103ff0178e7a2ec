"""What both clients promise, whichever protocol they speak."""

import concurrent.futures
import functools
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from numpy_predictor import NumpyPredictor, free_port, running, running_grpc

from serving import example_codec
from serving.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    ServableNotFoundError,
    UnavailableError,
)
from serving.grpc_client import GrpcClient
from serving.predictor import VersionStatus
from serving.rest_client import RestClient


def grpc_client(port, **options):
    return GrpcClient(f"127.0.0.1:{port}", **options)


def rest_client(port, **options):
    return RestClient(f"http://127.0.0.1:{port}", **options)


PROTOCOLS = {
    "grpc": (running_grpc, grpc_client),
    "grpcio": (functools.partial(running_grpc, engine="grpcio"), grpc_client),
    "rest": (running, rest_client),
}


@pytest.fixture(params=PROTOCOLS)
def protocol(request):
    """How to run a server, and how to make a client of its port."""
    return PROTOCOLS[request.param]


@pytest.fixture
def predictor():
    return NumpyPredictor()


@pytest.fixture
def client(protocol, predictor):
    run, connect = protocol
    with run(predictor) as port, connect(port) as client:
        yield client


def test_arrays_go_in_and_arrays_of_the_signatures_dtypes_come_out(client):
    outputs = client.predict(
        "multi_io",
        {"a": np.array([[1, 2.5], [0.1, 4]], np.float32), "b": np.array([3, -1], "i4")},
    )
    assert {alias: array.dtype for alias, array in outputs.items()} == {
        "total": np.float32,
        "scaled": np.float32,
    }
    np.testing.assert_allclose(outputs["total"], [3.5, 4.1], rtol=1e-6)
    np.testing.assert_allclose(outputs["scaled"], [[3, 7.5], [-0.1, -4]], rtol=1e-6)


def test_a_label_names_a_version(client, predictor):
    x = np.float32([2])
    assert client.predict("half_plus_two", {"x": x}, label="stable")["y"] == 3
    assert predictor.version == 1
    client.predict("half_plus_two", {"x": x})
    assert predictor.version == 2
    assert list(client.metadata("half_plus_two", label="stable")) == ["serving_default"]
    for ask in (
        lambda: client.predict("half_plus_two", {"x": x}, label="a/b c"),
        lambda: client.metadata("half_plus_two", label="a/b c"),
        lambda: client.classify("half_plus_two", [{"x": 1.0}], label="a/b c"),
        lambda: client.regress("half_plus_two", [{"x": 1.0}], label="a/b c"),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            ask()
        assert str(caught.value) == "Unrecognized servable version label: a/b c"
    with pytest.raises(InvalidRequestError, match="cannot be supplied"):
        client.predict("half_plus_two", {"x": x}, version=1, label="stable")


def test_numbers_that_are_not_finite_survive(client):
    x = np.array([np.nan, np.inf, -np.inf, -0.0], np.float32)
    y = client.predict("half_plus_two", {"x": x})["y"]
    np.testing.assert_array_equal(y, np.array([np.nan, np.inf, -np.inf, 2], np.float32))


@pytest.mark.parametrize(
    "text",
    [
        [b"\xff\0", b"", b"a\0"],
        ["é", "b"],
        np.array(["é", "b"]),
        np.array([b"a\0", "é"], object),
    ],
)
def test_strings_go_in_as_bytes_or_str_and_come_out_as_bytes(client, text):
    expected = [t.encode() if isinstance(t, str) else t for t in text]
    outputs = client.predict("echo", {"text": text})
    assert outputs["text_bytes"].dtype == object
    assert outputs["text_bytes"].tolist() == expected


def test_an_empty_batch_keeps_its_dtype(client):
    outputs = client.predict("half_plus_two", {"x": np.zeros(0, np.float32)})
    assert (outputs["y"].shape, outputs["y"].dtype) == ((0,), np.float32)


def test_outputs_can_be_chosen(client):
    inputs = {"a": np.ones((1, 2), np.float32), "b": np.ones(1, np.int32)}
    outputs = client.predict("multi_io", inputs, output_filter=["total"])
    assert list(outputs) == ["total"]
    with pytest.raises(InvalidRequestError) as caught:
        client.predict("multi_io", inputs, output_filter=["nope"])
    assert str(caught.value) == (
        "output tensor alias not found in signature: nope Outputs expected to be in "
        "the set {scaled,total}."
    )


@pytest.mark.parametrize("serialized", [False, True])
def test_examples_are_dicts_or_serialized(client, serialized):
    examples = [{"x": 0.25}, {"x": np.float32([1.0]), "name": "é", "id": [1, 2]}]
    if serialized:
        examples = [example_codec.encode(example) for example in examples]
    assert client.classify("half_plus_two", examples) == [
        [("low", 0.75), ("high", 0.25)],
        [("low", 0.0), ("high", 1.0)],
    ]
    values = client.regress("half_plus_two", examples)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, [2.125, 2.5])


def test_metadata_are_the_signatures(client):
    signatures = client.metadata("echo", version=1)
    assert list(signatures) == ["serving_default"]
    signature = signatures["serving_default"]
    assert signature.method_name == "tensorflow/serving/predict"
    assert list(signature.inputs) == ["text"]
    info = signature.inputs["text"]
    assert (info.dtype, info.dtype_name) == (np.dtype(object), "DT_STRING")
    assert (info.name, info.shape) == ("text:0", (None,))
    assert sorted(signature.outputs) == ["text", "text_bytes"]


def test_status_is_the_state_of_every_version_or_of_one(client):
    one = VersionStatus(1, "AVAILABLE", "OK", "")
    two = VersionStatus(2, "AVAILABLE", "OK", "")
    assert client.status("echo") == [two, one]
    assert client.status("echo", version=1) == [one]


@pytest.mark.parametrize(
    ("call", "error_class", "text"),
    [
        (
            lambda c: c.predict("nope", {"x": [1.0]}),
            ServableNotFoundError,
            "Servable not found for request: Latest(nope)",
        ),
        (
            lambda c: c.predict("echo", {"text": ["a"]}, version=9),
            ServableNotFoundError,
            "Servable not found for request: Specific(echo, 9)",
        ),
        (
            lambda c: c.metadata("a/b c"),
            ServableNotFoundError,
            "Servable not found for request: Latest(a/b c)",
        ),
        (
            lambda c: c.status("nope"),
            ServableNotFoundError,
            "Could not find any versions of model nope",
        ),
        (
            lambda c: c.predict("echo", {"text": [["a"], ["b", "c"]]}),
            InvalidRequestError,
            "Input `text` is not an array.",
        ),
        (
            lambda c: c.predict("echo", {"text": ["a", 1]}),
            InvalidRequestError,
            "Input `text` mixes strings with other values",
        ),
    ],
)
def test_errors_carry_the_servers_text(client, call, error_class, text):
    with pytest.raises(error_class) as caught:
        call(client)
    assert str(caught.value).startswith(text)


def test_a_refusal_is_not_asked_again(client, predictor):
    predictor.full = True
    with pytest.raises(UnavailableError, match="^The batch scheduling queue is full$"):
        client.predict("half_plus_two", {"x": np.ones(1, np.float32)})
    assert predictor.calls == 1


def test_an_answer_in_time_or_an_error_in_time(client, predictor):
    predictor.delay_s = 1.5
    start = time.monotonic()
    with pytest.raises(DeadlineExceededError):
        client.predict("half_plus_two", {"x": np.ones(1, "f4")}, timeout_s=0.2)
    assert time.monotonic() - start < 1.4


def test_a_server_that_is_not_there_is_unavailable_soon(protocol):
    start = time.monotonic()
    with protocol[1](free_port()) as client, pytest.raises(UnavailableError):
        client.status("echo")
    assert time.monotonic() - start < 3


def test_a_server_that_is_just_starting_is_reached(protocol, predictor):
    run, connect = protocol
    port = free_port()
    answers = []

    def ask():
        with connect(port) as client:
            answers.append(client.status("echo"))

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.15)
    with run(predictor, port):
        thread.join()
    assert len(answers) == 1


def test_a_server_that_came_back_is_asked_as_before(protocol, predictor):
    run, connect = protocol
    with run(predictor) as port:
        client = connect(port)
        client.status("echo")
    with run(predictor, port):
        client.status("echo")
    client.close()


def test_many_threads_can_share_a_client(client):
    def ask(number):
        x = np.full(4, number, np.float32)
        return client.predict("half_plus_two", {"x": x})["y"].tolist()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(64)))
    assert answers == [[number / 2 + 2] * 4 for number in range(64)]


@pytest.mark.parametrize("module", ["grpc_client", "rest_client", "rest_server"])
def test_tensorflow_is_not_imported(module):
    code = (
        f"import sys, serving.{module}\n"
        "sys.exit(hasattr(sys.modules.get('tensorflow'), 'Variable') "
        "or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
