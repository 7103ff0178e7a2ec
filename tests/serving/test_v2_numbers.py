"""Numbers of the Open Inference Protocol, read by simdjson: as if read one by one."""

import json
import random

import mutations
import numpy as np
import pytest

from serving import v2_json, v2_numbers
from serving.errors import ServingError
from serving.servable import SignatureInfo, TensorInfo

DATATYPES = {
    "FP32": np.float32,
    "FP64": np.float64,
    "FP16": np.float16,
    "INT8": np.int8,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT64": np.uint64,
    "BOOL": np.bool_,
    "BYTES": np.object_,
}
NUMBERS = [name for name in DATATYPES if name not in ("BOOL", "BYTES")]


def signatures(**datatypes):
    inputs = {
        alias: TensorInfo(alias, np.dtype(DATATYPES[name]), None, name)
        for alias, name in datatypes.items()
    }
    return {"serving_default": SignatureInfo(inputs, {}, "tensorflow/serving/predict")}


def tensor(name, datatype, shape, data, **more):
    head = {"name": name, "datatype": datatype, "shape": shape}
    return {**head, "data": data, **more}


def encoded(*inputs, **more):
    return json.dumps({"inputs": inputs, **more}).encode()


@pytest.mark.parametrize("datatype", NUMBERS)
def test_flat_and_nested_lists_are_read_here(datatype):
    array = np.arange(24).reshape(2, 3, 4).astype(DATATYPES[datatype])
    for data in (array.tolist(), array.reshape(-1).tolist()):
        body = encoded(
            {"data": data, "name": "x", "shape": [2, 3, 4], "datatype": datatype},
            tensor("n", datatype, [], 7),
            id="1",
            parameters={"a": {"b": [1, {"c": 2}]}},
            outputs=[{"name": "y", "parameters": {"binary_data": True}}],
        )
        found = v2_numbers.document(body)
        assert isinstance(found["inputs"][0]["data"], np.ndarray)
        for given in (found, json.loads(body)):
            given["inputs"][0].pop("data")
        assert found == json.loads(body) | {"inputs": found["inputs"]}
        request = v2_json.read(body, None, signatures(x=datatype, n=datatype))
        assert request.inputs["x"].dtype == array.dtype
        np.testing.assert_array_equal(request.inputs["x"], array)
        assert request.inputs["n"].tolist() == 7
        assert request.outputs == {"y": True}


def test_integers_are_exact():
    values = [2**53 + 1, -(2**63), 2**63 - 1]
    body = encoded(tensor("x", "INT64", [3], values))
    assert v2_numbers.document(body)["inputs"][0]["data"].tolist() == values


@pytest.mark.parametrize(
    "data", [[[1, 2], [3]], [1, [2, 3]], [[1], 2, 3], [1, "2", 3], [1, True, 2], [[]]]
)
def test_lists_that_are_not_of_one_shape_or_kind_are_left_to_be_refused(data):
    body = encoded(tensor("x", "FP32", [3], data))
    assert v2_numbers.document(body) is None
    with pytest.raises(ServingError):
        v2_json.read(body, None, signatures(x="FP32"))


class Documents:
    """Requests of any form, seeded: right ones, and wrong ones."""

    def __init__(self, seed):
        self.dice = random.Random(seed)

    def value(self, datatype):
        wrong = [True, "a", None, [1], 2**63, -1, 1.5, 1e400, -(2**63), {}]
        if self.dice.random() < 0.01:
            return self.dice.choice(wrong)
        if datatype == "BYTES":
            return self.dice.choice(["a", "é", "\\"])
        if datatype == "BOOL":
            return self.dice.random() < 0.5
        return self.dice.randrange(100)

    def data(self, datatype, shape):
        if not shape:
            return self.value(datatype)
        size = shape[0] + (self.dice.random() < 0.02)
        return [self.data(datatype, shape[1:]) for _ in range(size)]

    def request(self):
        dice = self.dice
        wanted = {
            alias: dice.choice(list(DATATYPES)) for alias in dice.choice(["x", "ab"])
        }
        inputs = []
        for alias, datatype in wanted.items():
            shape = [dice.randrange(4) for _ in range(dice.randrange(4))]
            nested = shape if dice.random() < 0.5 else [int(np.prod(shape))]
            parts = tensor(alias, datatype, shape, self.data(datatype, nested))
            if dice.random() < 0.1:
                parts["parameters"] = dice.choice([{}, {"binary_data_size": 4}, 1])
            names = list(parts)
            dice.shuffle(names)
            inputs.append({name: parts[name] for name in names})
        document = {"inputs": inputs}
        if dice.random() < 0.5:
            document = {"id": dice.choice(["1", 2, '"'])} | document
        if dice.random() < 0.3:
            document["outputs"] = dice.choice([[{"name": "y"}], [1], 2, [{}]])
        body = json.dumps(document).encode()
        changes = dice.random() < 0.15
        return mutations.octets(dice, body) if changes else body, signatures(**wanted)


def outcome(body, wanted):
    try:
        request = v2_json.read(body, None, wanted)
    except ServingError as error:
        return type(error), str(error)
    arrays = {
        alias: (a.dtype.str, a.shape, a.tolist() if a.dtype == object else a.tobytes())
        for alias, a in request.inputs.items()
    }
    return request.id, request.signature_name, arrays, request.outputs


def test_every_request_is_read_and_refused_as_without_simdjson(monkeypatch):
    documents = Documents(5)
    requests = [documents.request() for _ in range(1500)]
    found = [outcome(*request) for request in requests]
    here = sum(v2_numbers.document(body) is not None for body, _ in requests)
    monkeypatch.setattr(v2_numbers, "document", lambda body: None)
    for request, fast in zip(requests, found, strict=True):
        assert fast == outcome(*request), request[0]
    assert here > 350  # else nothing was compared
    assert 200 < sum(isinstance(answer[0], type) for answer in found) < 1100
