"""HPACK, by the examples of RFC 7541 and by what is broken."""

import random

import pytest

from serving import hpack

# Appendix C: blocks that need no dynamic table, and their fields.
EXAMPLES = [
    (
        "400a637573746f6d2d6b65790d637573746f6d2d686561646572",
        [("custom-key", "custom-header")],
    ),
    ("040c2f73616d706c652f70617468", [(":path", "/sample/path")]),
    ("100870617373776f726406736563726574", [("password", "secret")]),
    ("82", [(":method", "GET")]),
    (
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "www.example.com"),
        ],
    ),
    (
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff"
        "6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        [
            (":status", "302"),
            ("cache-control", "private"),
            ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("location", "https://www.example.com"),
        ],
    ),
]


@pytest.mark.parametrize(("block", "fields"), EXAMPLES)
def test_the_examples_of_the_rfc_are_read(block, fields):
    assert list(hpack.decode(bytes.fromhex(block))) == fields


def test_what_is_written_is_read_again_whatever_its_length():
    fields = [(f"name-{size}", "\xff~ " * size) for size in (0, 1, 42, 43, 5000)]
    assert list(hpack.decode(hpack.encode(fields))) == fields


def test_a_change_of_the_tables_size_to_nothing_is_no_field():
    assert hpack.decode(b"\x20\x88") == ((":status", "200"),)


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ("be", "no dynamic table"),  # its first field
        ("3fe11f", "no dynamic table"),  # 4096 bytes for it
        ("80", "no dynamic table"),  # field 0
        ("0005", "ends after 0"),
        ("00", "broken"),
        ("ff8080808080", "too large"),
        ("008161ff", "within a code"),
        ("0082ffff00", "within a code"),
        ("0084ffffffff00", "ends it inside"),
    ],
)
def test_a_block_that_cannot_be_read_says_why(block, text):
    with pytest.raises(hpack.HpackError) as caught:
        hpack.decode(bytes.fromhex(block))
    assert text in str(caught.value)


def test_nothing_but_its_own_error_comes_of_random_bytes():
    source = random.Random(1)
    outcomes = set()
    for _ in range(3000):
        block = source.randbytes(source.randrange(1, 40))
        try:
            hpack.decode(block)
            outcomes.add("read")
        except hpack.HpackError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
