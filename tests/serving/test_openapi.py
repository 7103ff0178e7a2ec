"""The OpenAPI document names what is served, and what it says of it is true."""

import http.client
import json
import math
import random

import mutations
import numpy as np
import pytest
import schema_values
from numpy_predictor import NumpyPredictor, ask, running

from serving.errors import ServableNotFoundError
from serving.signatures import SignatureInfo, TensorInfo

ONE_OF_EACH = {"integer": 1, "number": 0.5, "boolean": True, "string": "text"}


@pytest.fixture(scope="module")
def document(ports):
    status, headers, body = ask(ports[1], "GET", "/openapi.json")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    return json.loads(body)


def value_of(schema):
    """Some value that a schema describes; of several, the first."""
    if "anyOf" in schema:
        return value_of(schema["anyOf"][0])
    if "enum" in schema:
        return schema["enum"][0]
    if schema["type"] == "array":
        if not schema["items"]:
            return [1]
        return [value_of(schema["items"])] * schema.get("minItems", 1)
    if schema["type"] == "object":
        properties = schema.get("properties", {})
        return {name: value_of(properties[name]) for name in schema.get("required", ())}
    return ONE_OF_EACH[schema["type"]]


def fits(value, schema, document):
    """Whether a value is what a schema describes, as far as these schemas go."""
    if "$ref" in schema:
        _, *keys = schema["$ref"].split("/")
        found = document
        for key in keys:
            found = found[key]
        return fits(value, found, document)
    if not schema:
        return True
    if "anyOf" in schema:
        return any(fits(value, way, document) for way in schema["anyOf"])
    kinds = {
        "array": list,
        "object": dict,
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
    }
    if not isinstance(value, kinds[schema["type"]]):
        return False
    if schema["type"] == "integer":
        return schema.get("minimum", value) <= value <= schema.get("maximum", value)
    if isinstance(value, list):
        least, most = schema.get("minItems", 0), schema.get("maxItems", 1e9)
        items = schema["items"]
        return least <= len(value) <= most and all(
            fits(v, items, document) for v in value
        )
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        if not schema.get("additionalProperties", True) and value.keys() - properties:
            return False
        return set(schema.get("required", [])) <= value.keys() and all(
            fits(value[name], each, document)
            for name, each in properties.items()
            if name in value
        )
    return True


def ones(port, path):
    """A tensor of ones, or a text, for each input that a model says it takes."""
    path = path.removesuffix("/infer").replace("{version}", "1")
    tensors = json.loads(ask(port, "GET", path)[2])["inputs"]
    for tensor in tensors:
        tensor["shape"] = [max(1, size) for size in tensor["shape"]]
        one = "text" if tensor["datatype"] == "BYTES" else 1
        tensor["data"] = [one] * math.prod(tensor["shape"])
    return tensors


def answer_of(port, path, operation, method):
    """Calls a path as its description says, and returns what it answers."""
    body = None
    if method == "post":
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        body = value_of(schema)
        if path.endswith("/infer"):
            body = {"inputs": ones(port, path)}
        elif "classify" in path or "regress" in path:  # examples describe no features
            body["examples"] = [{"x": 0.5}]
    path = path.replace("{version}", "1")
    return ask(port, method.upper(), path, body)


def test_every_path_can_be_called_and_answers_what_is_said(ports, document):
    paths = document["paths"]
    assert len(paths) > 80
    for path, operations in paths.items():
        if "{version}" in path:
            assert operations["parameters"][0]["name"] == "version"
        for method in operations.keys() - {"parameters"}:
            operation = operations[method]
            status, headers, body = answer_of(ports[1], path, operation, method)
            assert status == 200, (path, body)
            (kind, media) = next(iter(operation["responses"]["200"]["content"].items()))
            assert headers["Content-Type"] == kind
            if kind == "application/json":
                assert fits(json.loads(body), media["schema"], document), (path, body)


@pytest.mark.parametrize("way", range(2))
def test_rows_and_columns_of_every_model_are_described(ports, document, store, way):
    for model in sorted(path.name for path in store.iterdir()):
        operation = document["paths"][f"/v1/models/{model}:predict"]["post"]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        body = value_of(schema["anyOf"][-2 + way])
        assert ("instances" in body) is (way == 0)
        if model == "examples":
            continue  # its last signature takes serialized examples, not any text
        answer = ask(ports[1], "POST", f"/v1/models/{model}:predict", body)
        assert answer[0] == 200, (model, body, answer[2])
        answered = operation["responses"]["200"]["content"]["application/json"]
        assert fits(json.loads(answer[2]), answered["schema"], document)


def test_a_request_that_the_description_excludes_is_refused(ports, document):
    path = "/v1/models/digits:predict"
    content = document["paths"][path]["post"]["requestBody"]["content"]
    schema = content["application/json"]["schema"]
    body = value_of(schema)
    assert fits(body, schema, document)
    body["instances"][0].pop()  # a row of pixels too few
    assert not fits(body, schema, document)
    assert ask(ports[1], "POST", path, body)[0] == 400


# A description of them is all that a request has to fit.
EXACT = ("digits", "digits_litert", "echo", "half_plus_two")


@pytest.mark.parametrize("is_changed", [False, True])
def test_any_request_by_the_description_is_answered_or_refused(
    ports, document, is_changed
):
    dice = random.Random(3)
    connection = http.client.HTTPConnection("127.0.0.1", ports[1], timeout=20)
    answered = 0
    for path, operations in document["paths"].items():
        if "{version}" in path or "post" not in operations:
            continue
        content = operations["post"]["requestBody"]["content"]["application/json"]
        answers = operations["post"]["responses"]["200"]["content"]["application/json"]
        must = not is_changed and path.endswith(tuple(f"/{m}:predict" for m in EXACT))
        for _ in range(8):
            body = schema_values.any_of(dice, content["schema"])
            data = json.dumps(body).encode()
            if is_changed:
                data = mutations.document(dice, body)
            else:
                assert fits(body, content["schema"], document)
            connection.request("POST", path, data)
            response = connection.getresponse()
            text = response.read()
            assert response.status in ((200,) if must else (200, 400)), (path, data)
            if response.status == 200 and not is_changed:
                assert fits(json.loads(text), answers["schema"], document), (path, data)
                answered += 1
    connection.close()
    assert is_changed or answered > 40


class Complex(NumpyPredictor):
    """Has a signature whose tensors have no form in JSON, and one whose have."""

    async def signatures(self, spec):
        tensors = [
            {"x": TensorInfo("x:0", np.dtype(dtype), (None,), "DT_ANY")}
            for dtype in (np.complex64, np.int8)
        ]
        infos = [SignatureInfo(t, t, "tensorflow/serving/predict") for t in tensors]
        return 1, dict(zip(("complex", "whole"), infos, strict=True))

    def models(self):
        return {"m": True}


def test_what_has_no_form_in_json_is_not_described():
    with running(Complex()) as port:
        _, _, body = ask(port, "GET", "/openapi.json")
    operation = json.loads(body)["paths"]["/v1/models/m:predict"]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    names = [
        way["properties"]["signature_name"]["enum"]
        for way in content["schema"]["anyOf"]
    ]
    assert names == [["whole"], ["whole"]]
    column = content["schema"]["anyOf"][1]["properties"]["inputs"]["anyOf"][0]
    assert (column["items"]["minimum"], column["items"]["maximum"]) == (-128, 127)


def test_calls_that_no_signature_serves_are_not_named(document):
    paths = document["paths"]
    assert "/v1/models/examples:classify" in paths
    assert "/v1/models/examples:regress" in paths
    assert "/v1/models/digits:classify" not in paths


class WithoutVersions(NumpyPredictor):
    """Knows a model of which nothing is loaded."""

    async def signatures(self, spec):
        raise ServableNotFoundError(f"Servable not found: {spec.name}")

    def models(self):
        return {"a b/c": False}


def test_a_model_without_versions_is_named_with_its_state_alone():
    with running(WithoutVersions()) as port:
        _, _, body = ask(port, "GET", "/openapi.json")
    paths = json.loads(body)["paths"]
    assert [path for path in paths if "a%20b%2Fc" in path] == [
        "/v1/models/a%20b%2Fc",
        "/v1/models/a%20b%2Fc/versions/{version}",
    ]
    assert not any("monitoring" in path for path in paths)
