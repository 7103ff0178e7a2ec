"""What is a gRPC call in HTTP/2's words, and the other way round."""

import grpc
import pytest

from serving import grpc_over_http2, hpack
from serving.http2_client import Answer, Lost

OK = (("grpc-status", "0"),)
HEAD = ((":status", "200"), ("content-type", "application/grpc"))


def status(outcome):
    error = grpc_over_http2.failure(outcome)
    return error.code().name, error.details()


def test_a_request_has_metadata_and_time_as_grpc_writes_them():
    metadata = (("x-trace", "abc"), ("x-key-bin", b"\x00\xff"))
    block = grpc_over_http2.request("/a.B/C", "host:1", metadata, 1.5)
    fields = dict(hpack.decode(block))
    assert fields[":path"] == "/a.B/C"
    assert fields[":authority"] == "host:1"
    assert fields["grpc-timeout"] == "1500000u"
    assert (fields["x-trace"], fields["x-key-bin"]) == ("abc", "AP8")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1u"),
        (99.999999, "99999999u"),
        (100.0, "100000m"),
        (1e6, "1000000S"),
        (1e15, "99999999H"),
    ],
)
def test_a_timeout_has_eight_digits_at_most(seconds, text):
    block = grpc_over_http2.request("/a.B/C", "host:1", (), seconds)
    assert dict(hpack.decode(block))["grpc-timeout"] == text


def test_a_message_is_what_is_framed():
    body = grpc_over_http2.framed(b"abc")
    assert body == b"\0\0\0\0\x03abc"
    assert grpc_over_http2.message(Answer(HEAD, body, OK)) == b"abc"
    assert grpc_over_http2.message(Answer(HEAD, b"\0\0\0\0\0", OK)) == b""


@pytest.mark.parametrize(
    "answer",
    [
        Answer(HEAD, b"", OK),
        Answer(HEAD, b"\0\0\0\0\x04abc", OK),
        Answer(HEAD, b"\x01\0\0\0\x03abc", OK),  # compressed
        Answer(HEAD, b"\0\0\0\0\x03abc", ()),
        Answer(HEAD, b"\0\0\0\0\x03abc", (("grpc-status", "3"),)),
    ],
)
def test_what_is_not_one_plain_message_is_none(answer):
    assert grpc_over_http2.message(answer) is None
    assert grpc_over_http2.failure(answer).code() != grpc.StatusCode.OK


def test_an_error_has_its_code_text_and_metadata():
    trailers = (
        (":status", "200"),
        ("grpc-status", "5"),
        ("grpc-message", "%C3%A9%25 \xff gone%"),
        ("x-key-bin", "AP8"),
        ("x-odd-bin", "?"),
    )
    error = grpc_over_http2.failure(Answer((), b"", trailers))
    assert error.code() == grpc.StatusCode.NOT_FOUND
    assert error.details().startswith("é% ")
    found = dict(error.trailing_metadata())
    assert (found["x-key-bin"], found["x-odd-bin"]) == (b"\x00\xff", "?")


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Lost("gone"), "UNAVAILABLE"),
        (Lost("reset", 7), "UNAVAILABLE"),
        (Lost("reset", 8), "CANCELLED"),
        (Lost("reset", 11), "RESOURCE_EXHAUSTED"),
        (Lost("reset", 2), "INTERNAL"),
        (Answer((), b"", (("grpc-status", "99"),)), "UNKNOWN"),
        (Answer((), b"", (("grpc-status", "x"),)), "UNKNOWN"),
        (Answer(((":status", "503"),), b"<html>", ()), "UNAVAILABLE"),
        (Answer((), b"", ((":status", "404"),)), "UNIMPLEMENTED"),
        (Answer((), b"", ()), "UNKNOWN"),
    ],
)
def test_a_call_without_a_status_ends_as_in_grpcs_own_clients(outcome, code):
    assert status(outcome)[0] == code
