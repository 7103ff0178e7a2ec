"""Numbers read by simdjson: the same as read one by one, or left to that."""

import json
import random
import threading

import mutations
import numpy as np
import pytest

from serving import json_numbers, json_shapes, rest_body
from serving.errors import ServingError
from serving.servable import SignatureInfo, TensorInfo

DTYPE_NAMES = {
    "float32": "DT_FLOAT",
    "float64": "DT_DOUBLE",
    "int8": "DT_INT8",
    "int16": "DT_INT16",
    "int32": "DT_INT32",
    "int64": "DT_INT64",
    "uint8": "DT_UINT8",
    "uint32": "DT_UINT32",
    "uint64": "DT_UINT64",
    "bool": "DT_BOOL",
    "object": "DT_STRING",
    "float16": "DT_HALF",
}
NUMBERS = [name for name in DTYPE_NAMES if name not in ("bool", "object", "float16")]


def signature(**dtypes):
    inputs = {
        alias: TensorInfo(f"{alias}:0", np.dtype(name), None, DTYPE_NAMES[name])
        for alias, name in dtypes.items()
    }
    return {"serving_default": SignatureInfo(inputs, {}, "tensorflow/serving/predict")}


def arrays_of(found):
    name, in_rows, inputs = found
    parts = {
        alias: (a.dtype.str, a.shape, a.tolist() if a.dtype == object else a.tobytes())
        for alias, a in inputs.items()
    }
    return name, in_rows, parts


@pytest.mark.parametrize("dtype", NUMBERS)
def test_lists_of_numbers_are_read_here_whatever_they_are_called(dtype):
    array = np.arange(24).reshape(2, 3, 4, 1).astype(dtype)
    rows = array.tolist()
    two = {"a": dtype, "b": dtype}
    for request, wanted in [
        ({"instances": rows}, signature(x=dtype)),
        ({"signature_name": "serving_default", "instances": rows}, signature(x=dtype)),
        ({"inputs": rows, "signature_name": "serving_default"}, signature(x=dtype)),
        ({"inputs": {"x": rows}}, signature(x=dtype)),
        ({"instances": [{"x": row} for row in rows]}, signature(x=dtype)),
        ({"inputs": {"b": rows, "a": rows}}, signature(**two)),
        ({"instances": [{"b": row, "a": row} for row in rows]}, signature(**two)),
    ]:
        found = json_numbers.predict_inputs(json.dumps(request).encode(), wanted)
        assert found is not None, request
        name, in_rows, inputs = found
        assert name == request.get("signature_name", "")
        assert in_rows == ("instances" in request)
        assert inputs.keys() == wanted["serving_default"].inputs.keys()
        for values in inputs.values():
            assert values.dtype == array.dtype
            np.testing.assert_array_equal(values, array)


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("int64", [2**53 + 1, -(2**63), 2**63 - 1, 0]),
        ("uint64", [2**53 + 1, 2**64 - 1, 2**63, 0]),
        ("int32", [-(2**31), 2**31 - 1]),
        ("int8", [-128, 127]),
        ("uint8", [0, 255]),
    ],
)
def test_integers_are_exact(dtype, values):
    body = json.dumps({"instances": values}).encode()
    found = json_numbers.predict_inputs(body, signature(x=dtype))
    assert found[2]["x"].tolist() == values


def test_one_row_with_values_of_each_kind():
    body = b'{"instances": [{"x": [[1, 2]], "n": 3, "s": "t"}]}'
    found = json_numbers.predict_inputs(
        body, signature(x="float32", n="int32", s="object")
    )
    assert {alias: array.tolist() for alias, array in found[2].items()} == {
        "x": [[[1, 2]]],
        "n": [3],
        "s": [b"t"],
    }


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("[,,]", (3,)),
        ("[]", (1,)),
        ("[[],[]]", (2, 1)),
        ("[[,,],[,,]]", (2, 3)),
        ("[[[,],[,]],[[,],[,]],[[,],[,]]]", (3, 2, 2)),
        ("[" * 64 + "]" * 64, (1,) * 64),
        ("[" * 65 + "]" * 65, None),
        ("[[,],[,,]]", None),
        ("[[,],]", None),
        ("[,[,]]", None),
        ("[[,],[,]", None),
        ("[[,],[,]]]", None),
        ("[[[,]],[[,],[,]]]", None),
        ("[tru,]", None),
        ("[{", None),
        ("[[", None),
        ("", None),
        ("tru", None),
    ],
)
def test_brackets_and_commas_tell_the_shape(text, shape):
    assert json_shapes.shape(text.encode()) == shape


UNSURE = [
    b"",
    b"{",
    b"[1]",
    b'{"instances": [1, [2]]}',
    b'{"instances": [[1, 2], [3]]}',
    b'{"instances": [[1], []]}',
    b'{"instances": []}',
    b'{"instances": [1, true]}',
    b'{"instances": [1, "x"]}',
    b'{"instances": [1, {"a": 2}]}',
    b'{"instances": [{"x": [1]}, {"x": [1, 2]}]}',
    b'{"instances": [{"x": [[1, 2]]}, {"x": [[1], [2]]}]}',
    b'{"instances": [{"x": [1]}, {"x": 1}]}',
    b'{"instances": [{"x": [1]}, {"y": [1]}]}',
    b'{"instances": [{"x": [1], "x": [2]}]}',
    b'{"instances": [1], "instances": [2]}',
    b'{"instances": [1], "inputs": [2]}',
    b'{"instances": [1], "other": 2}',
    b'{"instances": [1]} and more',
    b'{"instances": [1], "signature_name": 3}',
    b'{"instances": [1], "signature_name": "unknown"}',
    b'{"instances": [1], "signature_name": "\\u0061"}',
    b'{"instances": [1e999]}',
    b'{"instances": [NaN]}',
    b'{"instances": [18446744073709551616]}',
    b'{"inputs": {"b64": [1]}}',
    b'{"inputs": {"x": [1], "other": [1]}}',
    b'{"instances": ' + b"[" * 2000 + b"]" * 2000 + b"}",
]


@pytest.mark.parametrize("body", UNSURE, ids=range(len(UNSURE)))
def test_what_is_left_to_others_does_not_disturb_the_next_request(body):
    wanted = signature(x="float32")
    assert json_numbers.predict_inputs(body, wanted) is None
    found = json_numbers.predict_inputs(b'{"instances": [1, 2]}', wanted)
    assert found[2]["x"].tolist() == [1, 2]


def test_threads_read_at_the_same_time():
    wrong = []

    def read(number):
        values = list(range(number, number + 2000))
        body = json.dumps({"instances": values}).encode()
        for _ in range(50):
            found = json_numbers.predict_inputs(body, signature(x="int64"))
            if found is None or found[2]["x"].tolist() != values:
                wrong.append(number)

    threads = [threading.Thread(target=read, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_large_body_is_read_here_too():
    array = np.arange(200_000).reshape(200, 1000)
    body = json.dumps({"instances": array.tolist()}).encode()
    found = json_numbers.predict_inputs(body, signature(x="float32"))
    np.testing.assert_array_equal(found[2]["x"], array.astype(np.float32))


class Documents:
    """Makes requests, most of them right in most ways."""

    PLAIN = ["0", "-0", "1", "7", "255", "-1", "0.5", "-0.0", "1.0", "3.14159"]
    PLAIN += ["1e2", "1E+2", "1e-400", "5e-324", "16777217", "9007199254740993"]
    EDGES = ["127", "-128", "256", "65535", "2147483647", "-2147483648", "4294967295"]
    EDGES += ["2147483648", "9223372036854775807", "-9223372036854775808"]
    EDGES += ["9223372036854775808", "18446744073709551615", "18446744073709551616"]
    EDGES += ["1e39", "3.4028235677973366e38", "1e400", "-1e400", "1" * 400]
    OTHERS = ["NaN", "Infinity", "-Infinity", "Inf", "true", "false", "null", '"x"']
    OTHERS += ['"[,]"', '{"b64": "YQ=="}', "{}", "[]", "[[]]", "01", "1.", ".5", "+1"]
    OTHERS += ["", '"\\u0041"', '"\\""', "1 2", "--1", "1e", "{", "]", "\x00", '"\xff"']
    DTYPES = [*DTYPE_NAMES, *NUMBERS, *NUMBERS]

    def __init__(self, seed):
        self.random = random.Random(seed)

    def chance(self, share):
        return self.random.random() < share

    def space(self):
        return self.random.choice(["", "", "", " ", "\n\t", "  "])

    def number(self, dtype):
        if self.chance(0.01):
            return self.random.choice(self.OTHERS)
        if self.chance(0.03):
            return self.random.choice(self.EDGES)
        if dtype == "bool":
            return self.random.choice(["true", "false"])
        if dtype == "object":
            return self.random.choice(['"x"', '"a, [b]: {c}"', '{"b64": "YQ=="}'])
        if dtype[0] in "iu" and not self.chance(0.01):
            return str(self.random.randrange(128))
        return self.random.choice([*self.PLAIN, repr(self.random.gauss(0, 1e3))])

    def value(self, shape, dtype):
        if not shape:
            return self.number(dtype)
        length = shape[0]
        if self.chance(0.01):
            length = max(0, length + self.random.choice([-1, 1]))
        items = [self.value(shape[1:], dtype) for _ in range(length)]
        if self.chance(0.005):
            items.append(self.random.choice(self.OTHERS))
        return "[" + ",".join(self.space() + i + self.space() for i in items) + "]"

    def members(self, pairs):
        pairs = list(pairs)
        if self.chance(0.03):
            pairs.append(self.random.choice(pairs))
        if self.chance(0.03):
            pairs.append(('"other"', "[1, [2]]"))
        if self.chance(0.03):
            pairs.pop()
        if self.chance(0.3):
            self.random.shuffle(pairs)
        joined = ",".join(f"{key}{self.space()}:{value}" for key, value in pairs)
        return "{" + joined + "}"

    def request(self):
        """A body and the signatures that it is held against."""
        number = self.random.choice([1, 1, 1, 2, 3])
        aliases = self.random.sample(["x", "y", "eE+1", "b64"], number)
        aliases = [a for a in aliases if a != "b64" or self.chance(0.1)] or ["x"]
        inputs = {alias: self.random.choice(self.DTYPES) for alias in aliases}
        shapes = {
            alias: [self.random.randint(1, 4) for _ in range(self.random.randint(0, 3))]
            for alias in aliases
        }
        rows = self.random.randint(0 if self.chance(0.1) else 1, 4)
        key = self.random.choice(["instances", "inputs"])
        if len(aliases) == 1 and self.chance(0.6):
            value = self.value([rows, *shapes[aliases[0]]], inputs[aliases[0]])
        elif key == "instances":
            objects = [
                self.members(
                    (f'"{alias}"', self.value(shapes[alias], inputs[alias]))
                    for alias in aliases
                )
                for _ in range(rows)
            ]
            value = f"[{','.join(objects)}]"
        else:
            value = self.members(
                (f'"{alias}"', self.value([rows, *shapes[alias]], inputs[alias]))
                for alias in aliases
            )
        pairs = [(f'"{key}"', value)]
        if self.chance(0.3):
            names = ['"serving_default"', '""', '"b"', '"s:[,]{"', "3", "[1]", "{}"]
            weights = [9, 2, 1, 1, 1, 1, 1]
            name = self.random.choices(names, weights)[0]
            pairs.insert(self.random.randrange(2), ('"signature_name"', name))
        text = self.space() + self.members(pairs) + self.space()
        if self.chance(0.02):
            text += self.random.choice(["{", "x", "\x00", "[1]"])
        body = text.encode("latin-1")
        if self.chance(0.02):
            body = b"\xef\xbb\xbf" + body
        if self.chance(0.1):
            body = mutations.octets(self.random, body)
        return body, signature(**inputs)


def outcome(body, signatures):
    try:
        return arrays_of(rest_body.predict_inputs(body, signatures, None))
    except ServingError as error:
        return type(error), str(error)


@pytest.mark.parametrize("seed", range(8))
def test_every_request_is_answered_as_without_simdjson(seed, monkeypatch):
    documents = Documents(seed)
    requests = [documents.request() for _ in range(1000)]
    found = [outcome(body, signatures) for body, signatures in requests]
    here = sum(
        json_numbers.predict_inputs(body, signatures) is not None
        for body, signatures in requests
    )
    monkeypatch.setattr(json_numbers, "predict_inputs", lambda *_: None)
    for (body, signatures), fast in zip(requests, found, strict=True):
        assert fast == outcome(body, signatures), body
    assert here > 250  # else nothing was compared
    refused = sum(isinstance(answer[0], type) for answer in found)
    assert 200 < refused < 650
