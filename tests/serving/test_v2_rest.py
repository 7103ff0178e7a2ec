"""The Open Inference Protocol over REST, asked as clients of KServe and Triton ask."""

import json
import random
import struct

import numpy as np
import pytest
from numpy_predictor import NumpyPredictor, ask, running
from server_process import serving

from serving.predictor import VersionStatus

HALF = "/v2/models/half_plus_two"


def get(port, path):
    status, headers, body = ask(port, "GET", path)
    assert headers["Content-Type"] == "application/json"
    return status, json.loads(body)


def tensor(name, datatype, shape, data):
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def infer(port, path, *inputs, **more):
    status, headers, body = ask(
        port, "POST", f"{path}/infer", {"inputs": list(inputs), **more}
    )
    assert headers["Content-Type"] == "application/json"
    return status, json.loads(body)


X = tensor("x", "FP32", [3], [1, 2, 5])


def test_an_inference_answers_as_the_specification_has_it(ports):
    assert infer(ports[1], HALF, X, id="42") == (
        200,
        {
            "id": "42",
            "model_name": "half_plus_two",
            "model_version": "1",
            "outputs": [tensor("y", "FP32", [3], [2.5, 3.0, 4.5])],
        },
    )
    status, answer = infer(ports[1], f"{HALF}/versions/1", X)
    assert status == 200
    assert "id" not in answer


def test_tensors_may_be_flat_or_nested_and_outputs_be_chosen(ports):
    b = tensor("b", "INT32", [2], [2, 3])
    for data in ([1, 2, 3, 4], [[1, 2], [3, 4]]):
        a = tensor("a", "FP32", [2, 2], data)
        _, answer = infer(
            ports[1], "/v2/models/multi_io", a, b, outputs=[{"name": "scaled"}]
        )
        assert answer["outputs"] == [tensor("scaled", "FP32", [2, 2], [2, 4, 9, 12])]


def test_strings_are_bytes_and_images_numbers(ports):
    text = tensor("text", "BYTES", [2], ["é", "b"])
    _, answer = infer(ports[1], "/v2/models/echo", text)
    assert tensor("text", "BYTES", [2], ["é", "b"]) in answer["outputs"]
    image = tensor("image", "UINT8", [1, 28, 28, 1], [0] * 784)
    _, answer = infer(ports[1], "/v2/models/digits", image)
    outputs = {output["name"]: output for output in answer["outputs"]}
    assert outputs["class_id"]["datatype"] == "INT64"
    assert outputs["scores"]["shape"] == [1, 10]


def test_another_signature_is_named_in_the_parameters(ports):
    examples = "/v2/models/examples"
    parameters = {"signature_name": "regress"}
    # A tf.Example of x = 2.0, as protobuf writes it: all ASCII.
    example = b"\n\x0f\n\r\n\x01x\x12\x08\x12\x06\n\x04" + struct.pack("<f", 2.0)
    status, answer = infer(
        ports[1],
        examples,
        tensor("inputs", "BYTES", [1], [example.decode("ascii")]),
        parameters=parameters,
    )
    assert (status, answer["outputs"][0]["data"]) == (200, [3.0])
    x = tensor("x", "FP32", [1], [1])
    status, _ = infer(ports[1], examples, x, parameters=parameters)
    assert status == 400


def binary(port, model, inputs, raw, **more):
    """Asks as Triton's own client does, with tensors as bytes behind the JSON."""
    document = json.dumps({"inputs": inputs, **more}).encode()
    headers = {"Inference-Header-Content-Length": str(len(document))}
    path = f"/v2/models/{model}/infer"
    return ask(port, "POST", path, document + raw, headers)


def raw_input(name, datatype, shape, size):
    head = {"name": name, "datatype": datatype, "shape": shape}
    return {**head, "parameters": {"binary_data_size": size}}


def test_tensors_may_be_bytes_behind_the_json_both_ways(ports):
    x = np.float32([1, 2, 5])
    status, headers, body = binary(
        ports[1],
        "half_plus_two",
        [raw_input("x", "FP32", [3], 12)],
        x.tobytes(),
        parameters={"binary_data_output": True},
    )
    assert (status, headers["Content-Type"]) == (200, "application/octet-stream")
    size = int(headers["Inference-Header-Content-Length"])
    (output,) = json.loads(body[:size])["outputs"]
    assert output["parameters"] == {"binary_data_size": 12}
    np.testing.assert_array_equal(np.frombuffer(body[size:], "<f4"), x / 2 + 2)


def test_strings_as_bytes_have_their_lengths_before_them(ports):
    raw = b"\x02\x00\x00\x00\xff\x00" + b"\x00\x00\x00\x00"
    asked = [raw_input("text", "BYTES", [2], len(raw))]
    outputs = [
        {"name": "text_bytes", "parameters": {"binary_data": True}},
        {"name": "text", "parameters": {"binary_data": False}},
    ]
    _, headers, body = binary(ports[1], "echo", asked, raw, outputs=outputs)
    size = int(headers["Inference-Header-Content-Length"])
    assert body[size:] == raw
    listed = {output["name"]: output for output in json.loads(body[:size])["outputs"]}
    assert listed["text"]["data"] == ["�\x00", ""]


def test_the_server_and_its_models_describe_themselves(ports):
    status, server = get(ports[1], "/v2")
    assert (status, server["name"]) == (200, "maaskit")
    assert "binary_tensor_data" in server["extensions"]
    assert "half_plus_two" in get(ports[1], "/v2/models")[1]["models"]
    for path in (HALF, f"{HALF}/versions/1"):
        assert get(ports[1], path) == (
            200,
            {
                "name": "half_plus_two",
                "versions": ["1"],
                "platform": "tensorflow_savedmodel",
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}],
                "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
            },
        )


def test_health_is_told_of_the_server_and_of_each_model(ports):
    assert get(ports[1], "/v2/health/live") == (200, {"live": True})
    assert get(ports[1], "/v2/health/ready") == (200, {"live": True, "ready": True})
    ready = {"name": "half_plus_two", "ready": True}
    assert get(ports[1], f"{HALF}/ready") == (200, ready)
    assert get(ports[1], f"{HALF}/versions/1/ready") == (200, ready)


class Loading(NumpyPredictor):
    """Has models that are not loaded yet."""

    async def status(self, name, version=None):
        return [VersionStatus(1, "LOADING")]


def test_what_is_not_ready_yet_is_a_503():
    with running(Loading(), ready=lambda: False) as port:
        assert get(port, "/v2/health/live")[0] == 200
        assert get(port, "/v2/health/ready") == (503, {"live": True, "ready": False})
        assert get(port, f"{HALF}/ready")[0] == 503


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("GET", "/v2/models/nope", None, 404, "Servable not found for request"),
        ("GET", "/v2/models/nope/ready", None, 404, "Could not find any versions"),
        ("GET", f"{HALF}/versions/9", None, 404, "Specific(half_plus_two, 9)"),
        ("GET", f"{HALF}/versions/new", None, 400, "Received: new"),
        ("GET", f"{HALF}/versions/{2**63}", None, 400, "A version is a number"),
        ("GET", f"{HALF}/infer", None, 404, "no such request: GET"),
        ("GET", "/v2/repository/index", None, 404, "no such request"),
        ("POST", f"{HALF}/infer", b"{", 400, "JSON Parse error"),
        ("POST", f"{HALF}/infer", {}, 400, "`inputs` must be a list"),
        ("POST", f"{HALF}/infer", {"inputs": [{}]}, 400, "must have a `name`"),
        ("POST", "/v2/models/nope/infer", {"inputs": [X]}, 404, "Servable not found"),
        ("POST", f"{HALF}/infer", {"inputs": [X, X]}, 400, "is there twice"),
        (
            "POST",
            f"{HALF}/infer",
            {"inputs": [X], "parameters": {"signature_name": "nope"}},
            400,
            'Serving signature key "nope" not found',
        ),
        (
            "POST",
            f"{HALF}/infer",
            {"inputs": [X], "outputs": [{"name": "z"}]},
            400,
            "output tensor alias not found in signature: z",
        ),
        *(
            ("POST", f"{HALF}/infer", {"inputs": [x]}, 400, text)
            for x, text in [
                (X | {"datatype": "INT32"}, "`x` must be FP32. Received: INT32"),
                (X | {"datatype": "FP8"}, "unknown datatype"),
                (X | {"shape": [2]}, "must have 2 values. Received: 3"),
                (X | {"shape": [3] + 70 * [1]}, "that no tensor can have"),
                (X | {"shape": [0, 2**63], "data": []}, "that no tensor can have"),
                (X | {"shape": None}, "must have a `shape`"),
                (X | {"shape": [-3]}, "must have a `shape`"),
                (X | {"data": ["a", 1, 2]}, "is not of expected type: fp32"),
                (X | {"name": "z"}, "not found in request"),
                (X | {"parameters": 1}, "`parameters` must be an object"),
                (X | {"parameters": {"binary_data_size": 4}}, "0 bytes are left"),
            ]
        ),
    ],
)
def test_what_is_refused_has_a_status_and_a_text(
    ports, method, path, body, status, text
):
    answer = ask(ports[1], method, path, body)
    document = json.loads(answer[2])
    assert list(document) == ["error"]
    assert answer[0] == status
    assert text in document["error"]


@pytest.mark.parametrize(
    ("given", "raw", "text"),
    [
        (raw_input("x", "FP32", [3], 12), bytes(8), "8 bytes are left"),
        (raw_input("x", "FP32", [3], 7), bytes(7), "of 4 bytes each"),
        (raw_input("x", "FP32", [1], 4), bytes(8), "4 bytes belong to no input"),
        (raw_input("x", "FP32", [3], 4), bytes(4), "must have 3 values. Received: 1"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(ports, given, raw, text):
    status, _, body = binary(ports[1], "half_plus_two", [given], raw)
    assert status == 400
    assert text in json.loads(body)["error"]


@pytest.mark.parametrize("raw", [b"\x01", b"\x05\x00\x00\x00ab", b"\xff" * 5])
def test_strings_that_end_early_are_refused(ports, raw):
    given = [raw_input("text", "BYTES", [1], len(raw))]
    status, _, body = binary(ports[1], "echo", given, raw)
    assert status == 400
    assert "ends inside a string" in json.loads(body)["error"]


@pytest.mark.parametrize("size", ["x", "-1", "99999999"])
def test_a_length_of_the_json_that_cannot_be_is_refused(ports, size):
    headers = {"Inference-Header-Content-Length": size}
    answer = ask(ports[1], "POST", f"{HALF}/infer", {"inputs": [X]}, headers)
    assert answer[0] == 400
    assert "Inference-Header-Content-Length must be" in json.loads(answer[2])["error"]


def test_a_server_that_forwards_answers_it_too(ports):
    with serving(f"--upstream=127.0.0.1:{ports[0]}") as server:
        port = int(server.rest_port)
        assert infer(port, HALF, X)[1]["outputs"][0]["data"] == [2.5, 3.0, 4.5]
        assert get(port, HALF) == get(ports[1], HALF)
        assert get(port, "/v2/health/ready")[0] == 200
        assert get(port, f"{HALF}/versions/9/ready")[0] == 404
        assert "/v2" in get(port, "/openapi.json")[1]["paths"]


def test_any_bytes_are_answered_and_never_with_a_500(ports):
    generator = random.Random(1)
    a = raw_input("a", "FP32", [1, 2], 8)
    text = raw_input("text", "BYTES", [1], 5)
    seeds = [
        ("half_plus_two", {"id": "1", "inputs": [X], "outputs": [{"name": "y"}]}, b""),
        ("multi_io", {"inputs": [a, tensor("b", "INT32", [1], [3])]}, bytes(8)),
        ("echo", {"inputs": [text]}, b"\x01\0\0\0a"),
    ]
    for _ in range(500):
        model, document, raw = generator.choice(seeds)
        body = bytearray(json.dumps(document).encode())
        size = len(body)
        for _ in range(generator.randrange(1, 5)):
            place = generator.randrange(len(body))
            if generator.random() < 0.5:
                body[place] = generator.choice(b'{}[]",:019.-eEnull\\u\xff tb')
            else:
                end = generator.randrange(place, len(body))
                body[place:place] = body[place:end]
        headers = {"Inference-Header-Content-Length": str(size)} if raw else {}
        path = f"/v2/models/{model}/infer"
        status, _, answer = ask(ports[1], "POST", path, bytes(body) + raw, headers)
        if status != 200:
            assert list(json.loads(answer)) == ["error"]
            assert status == 400, (bytes(body), answer)
