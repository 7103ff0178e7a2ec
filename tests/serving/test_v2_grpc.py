"""The Open Inference Protocol over gRPC: `inference.GRPCInferenceService`."""

import grpc
import numpy as np
import pytest
from grpc_running import running
from numpy_predictor import ask

from serving import v2_protos as pb

SERVICE = "/inference.GRPCInferenceService/"


@pytest.fixture(scope="module")
def port(request, grpc_engine):
    """The server process is of the native engine; the other one runs in here."""
    if grpc_engine == "native":
        yield request.getfixturevalue("ports")[0]
        return
    embedded = request.getfixturevalue("embedded")
    with running(embedded, engine=grpc_engine) as server:
        yield server.port


@pytest.fixture(scope="module")
def call(port):
    """Calls a method by its name, with the fields of its request."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:

        def call(method_name, /, **fields):
            method = channel.unary_unary(
                SERVICE + method_name,
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=getattr(pb, f"{method_name}Response").FromString,
            )
            return method(getattr(pb, f"{method_name}Request")(**fields), timeout=20)

        yield call


def tensor(name, datatype, shape, **contents):
    head = {"name": name, "datatype": datatype, "shape": shape}
    return {**head, "contents": contents} if contents else head


X = tensor("x", "FP32", [3], fp32_contents=[1, 2, 5])


def test_requests_are_the_bytes_that_the_specification_gives():
    # Field numbers and wire types written out by hand from its .proto.
    request = pb.ModelInferRequest(
        model_name="m",
        id="i",
        inputs=[tensor("x", "FP32", [1], fp32_contents=[2.0])],
        raw_input_contents=[b"r"],
    )
    request.parameters["p"].int64_param = 7
    contents = b"\x32\x04\x00\x00\x00\x40"  # field 6, packed floats
    x = b"\x0a\x01x\x12\x04FP32\x1a\x01\x01\x2a\x06" + contents
    parameter = b"\x0a\x01p\x12\x02\x10\x07"
    assert request.SerializeToString() == (
        b"\x0a\x01m\x1a\x01i"
        + bytes([0x22, len(parameter)])
        + parameter
        + bytes([0x2A, len(x)])
        + x
        + b"\x3a\x01r"
    )


def test_an_inference_answers_in_the_form_of_its_request(call):
    typed = call("ModelInfer", model_name="half_plus_two", id="42", inputs=[X])
    assert (typed.model_name, typed.model_version) == ("half_plus_two", "1")
    assert typed.id == "42"
    (y,) = typed.outputs
    assert (y.name, y.datatype, list(y.shape)) == ("y", "FP32", [3])
    assert list(y.contents.fp32_contents) == [2.5, 3.0, 4.5]
    x = np.float32([1, 2, 5])
    raw = call(
        "ModelInfer",
        model_name="half_plus_two",
        model_version="1",
        inputs=[tensor("x", "FP32", [3])],
        raw_input_contents=[x.tobytes()],
    )
    assert not raw.outputs[0].HasField("contents")
    answer = np.frombuffer(raw.raw_output_contents[0], np.float32)
    np.testing.assert_array_equal(answer, x / 2 + 2)


def test_strings_and_integers_of_every_width_are_taken(call):
    text = tensor("text", "BYTES", [2], bytes_contents=[b"\xff", b""])
    answer = call("ModelInfer", model_name="echo", inputs=[text])
    assert list(answer.outputs[0].contents.bytes_contents) == [b"\xff", b""]
    a = tensor("a", "FP32", [1, 2], fp32_contents=[1, 2])
    b = tensor("b", "INT32", [1], int_contents=[3])
    answer = call(
        "ModelInfer",
        model_name="multi_io",
        inputs=[a, b],
        outputs=[{"name": "scaled"}],
    )
    assert [list(o.contents.fp32_contents) for o in answer.outputs] == [[3, 6]]
    image = tensor("image", "UINT8", [1, 28, 28, 1], uint_contents=[255] * 784)
    answer = call("ModelInfer", model_name="digits", inputs=[image])
    outputs = {output.name: output for output in answer.outputs}
    assert len(outputs["class_id"].contents.int64_contents) == 1


def test_the_server_and_its_models_describe_themselves(call):
    assert call("ServerLive").live
    assert call("ServerReady").ready
    assert call("ModelReady", name="half_plus_two", version="1").ready
    assert call("ServerMetadata").name == "maaskit"
    told = call("ModelMetadata", name="half_plus_two")
    assert (list(told.versions), told.platform) == (["1"], "tensorflow_savedmodel")
    (x,) = told.inputs
    assert (x.name, x.datatype, list(x.shape)) == ("x", "FP32", [-1])


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({"model_name": "nope"}, "NOT_FOUND", "Servable not found"),
        ({"model_version": "9"}, "NOT_FOUND", "Specific(half_plus_two, 9)"),
        ({"model_version": "new"}, "INVALID_ARGUMENT", "A version is a number"),
        ({"inputs": [X, X]}, "INVALID_ARGUMENT", "is there twice"),
        ({"inputs": []}, "INVALID_ARGUMENT", "Missing but required: {x}"),
        ({"raw_input_contents": [b"", b""]}, "INVALID_ARGUMENT", "each of the 1"),
        (
            {"inputs": [tensor("x", "FP64", [1], fp64_contents=[1])]},
            "INVALID_ARGUMENT",
            "`x` must be FP32. Received: FP64",
        ),
        (
            {"inputs": [tensor("x", "FP32", [4], fp32_contents=[1])]},
            "INVALID_ARGUMENT",
            "must have 4 values. Received: 1",
        ),
        (
            {"inputs": [tensor("z", "FP16", [1])]},
            "INVALID_ARGUMENT",
            "comes in `raw_input_contents` alone",
        ),
        (
            {"model_name": "digits"}
            | {"inputs": [tensor("image", "UINT8", [1], uint_contents=[256])]},
            "INVALID_ARGUMENT",
            "must be UINT8. Received: values from 256 to 256",
        ),
        (
            {"parameters": {"signature_name": {"string_param": "nope"}}},
            "FAILED_PRECONDITION",
            'Serving signature key "nope" not found',
        ),
    ],
)
def test_what_is_refused_has_a_code_and_a_text(call, fields, code, text):
    given = {"model_name": "half_plus_two", "inputs": [X], **fields}
    parameters = given.pop("parameters", {})
    request = {"parameters": {k: pb.InferParameter(**v) for k, v in parameters.items()}}
    with pytest.raises(grpc.RpcError) as caught:
        call("ModelInfer", **given, **request)
    assert caught.value.code().name == code
    assert text in caught.value.details()


@pytest.mark.parametrize("grpc_engine", ["native"], indirect=True)
def test_inferences_are_counted(call, ports):
    line = (
        ':tensorflow:serving:request_latency_count{model_name="half_plus_two",'
        'API="ModelInfer",entrypoint="GRPC"} '
    )

    def count():
        body = ask(ports[1], "GET", "/monitoring/prometheus/metrics")[2].decode()
        found = [row for row in body.splitlines() if row.startswith(line)]
        return int(found[0].split()[-1]) if found else 0

    before = count()
    call("ModelInfer", model_name="half_plus_two", inputs=[X])
    assert count() == before + 1
