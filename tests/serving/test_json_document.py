"""What bytes the REST API takes for a JSON request, and what it says of the others."""

import gc
import json
import math

import pytest

from serving import json_document
from serving.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b' \t\r\n{"a": 1}', {"a": 1}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": 1} and anything after it {', {"a": 1}),
        (b'{"a": [Infinity, -Infinity]}', {"a": [math.inf, -math.inf]}),
        (b'{"a": [Inf, -Inf, "Inf"]}', {"a": [math.inf, -math.inf, "Inf"]}),
        (b'{"a": 1e999}', {"a": math.inf}),
        (b'{"a": "\\u00e9 \xc3\xa9"}', {"a": "é é"}),
    ],
)
def test_the_first_document_is_read(body, expected):
    assert json_document.parse(body) == expected


@pytest.mark.parametrize("token", [b"NaN", b"-NaN"])
def test_not_a_number_is_a_number(token):
    assert math.isnan(json_document.parse(b'{"a": ' + token + b"}")["a"])


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"  ", "JSON Parse error: The document is empty. at offset: 2"),
        (b'{"a": }', "JSON Parse error: Invalid value. at offset: 6"),
        (b"{a: 1}", "Missing a name for object member. at offset: 1"),
        (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        (b'{"a": 1 "b": 2}', "Missing a comma or } after an object member."),
        (b'{"a": ["]", 1 2]}', "Missing a comma or ] after an array element."),
        (b'{"a": "x', "Missing a closing quotation mark in string."),
        (b'{"a": "\\x"}', "Invalid escape character in string."),
        (b'{"a": "\\uZZZZ"}', "Incorrect hex digit after \\u escape in string."),
        (b'{"a": "\x01"}', "Invalid encoding in string."),
        (b'{"a": ' + b"9" * 5000 + b"}", "Number too big to be stored."),
        (b'{"a": ' + b"[" * 100_000, "The document is nested too deep."),
        (b"[1]", "JSON Value: [\n    1\n] Is not object"),
        (b"1", "JSON Value: 1 Is not object"),
    ],
)
def test_what_is_no_json_object_is_refused_with_the_place(body, text):
    with pytest.raises(InvalidRequestError) as caught:
        json_document.parse(body)
    assert text in str(caught.value)


def test_offsets_count_bytes_not_characters():
    with pytest.raises(InvalidRequestError, match="at offset: 7$"):
        json_document.parse('{"é": }'.encode())


def test_bytes_that_are_not_utf8_come_back_as_they_were():
    document = json_document.parse(b'{"a": "\xff\xfe ok"}')
    assert json_document.to_bytes(document["a"]) == b"\xff\xfe ok"


def test_half_a_surrogate_pair_is_refused():
    document = json_document.parse(b'{"a": "\\ud800"}')
    with pytest.raises(InvalidRequestError, match="surrogate pair"):
        json_document.to_bytes(document["a"])


def test_the_signature_name_must_be_a_string():
    assert json_document.signature_name({}) == ""
    assert json_document.signature_name({"signature_name": "s"}) == "s"
    with pytest.raises(InvalidRequestError, match="key must be a string value"):
        json_document.signature_name({"signature_name": 3})


def test_a_quoted_value_is_cut_at_256_bytes():
    text = json_document.debug_string(["é" * 1000])
    # `[`, a line break, 4 spaces and `"` leave 249 bytes: 124 letters and half a one.
    assert text == '[\n    "' + "é" * 124


PADDING = b" " * 300_000  # makes a document a large one


@pytest.mark.parametrize(
    "value",
    [
        b'[[1, 2.5], [], "x", {"b64": "YQ=="}, null, true, NaN]',
        b'{"x": [[1], [2]], "y": {"z": "[1, 2]"}}',
        b"[1, 2 3]",
        b'[[1, 2] {"a": 3}]',
        b'{"x": [1] "y": 2}',
        b'[{"x": 1 "y": 2}]',
        b"[1, ]",
        b"[1, [2, }]",
        b'{"x" 1}',
        b'["\\x"]',
        b"[Inf, -Inf]",
        b"[" * 100_000,
    ],
)
def test_a_large_document_is_read_as_a_small_one(value):
    def outcome(padding):
        try:
            return str(json_document.parse(b'{"a":' + value + padding + b"}"))
        except InvalidRequestError as error:
            return str(error)

    assert outcome(PADDING) == outcome(b"")


def test_a_large_document_is_gone_after_it_was_read():
    assert gc.isenabled()
    body = json.dumps({"inputs": {"x": [[1]] * 100_000}}).encode()
    with json_document.reading(body) as document:
        rows = document["inputs"]["x"]
        assert len(rows) == 100_000
        assert not gc.isenabled()
    assert rows == []
    assert gc.isenabled()


def test_the_garbage_collector_works_again_after_a_broken_document():
    with (
        pytest.raises(InvalidRequestError),
        json_document.reading(b'{"a": ' + PADDING),
    ):
        pass
    assert gc.isenabled()
