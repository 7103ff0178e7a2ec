"""The shapes of a JSON document's lists of numbers, by brackets and commas alone.

What is left of a document without its digits and strings is short, and compared as a
whole: nothing is done for each number or list.
"""

import functools

from serving.json_document import LARGE_BYTES
from serving.json_tensor import MAX_RANK

# What numbers are written with, and what stands between tokens.
_NUMBERS_AND_SPACE = b"0123456789+-.eE \t\n\r"


def lists(body: bytes) -> list[bytes] | None:
    """Returns the punctuation of the value of each member of an object, in order.

    Args:
        body: A JSON document, in UTF-8.

    Returns:
        Text for `shape`. Values that are no lists give nothing, or a text of no shape.
        None where a string might hide where it ends.
    """
    text = body.translate(None, _NUMBERS_AND_SPACE)
    if b"\\" in text:  # perhaps a quotation mark inside a string
        return None
    without_strings = b'"'.join(text.split(b'"')[::2])
    return [
        # Up to the next key or the object's end, without the comma between members.
        part.partition(b'"')[0].partition(b"}")[0].removesuffix(b",")
        for part in without_strings.split(b":")[1:]
    ]


def shape(text: bytes) -> tuple[int, ...] | None:
    """Returns the shape of nested lists, all of one shape, by their punctuation.

    Args:
        text: Brackets and commas, as in `[[,,],[,,]]` for two rows of three numbers.

    Returns:
        The lengths, outermost first; a list of nothing counts as one of one number.
        None where lengths or depths differ, or there is anything else.
    """
    return _known_shape(text) if len(text) <= LARGE_BYTES else _shape(text)


def _shape(text: bytes) -> tuple[int, ...] | None:
    rank = len(text) - len(text.lstrip(b"["))
    if not 0 < rank <= MAX_RANK:
        return None
    lengths = []
    expected = b""  # the first list of each depth, innermost first
    for depth in range(1, rank + 1):
        end = text.find(b"]" * depth, rank) + depth
        length, rest = divmod(end - (rank - depth) - 1, len(expected) + 1)
        if rest or length < 1:
            return None
        expected = b"[" + ((expected + b",") * length)[:-1] + b"]"
        lengths.append(length)
    return tuple(reversed(lengths)) if expected == text else None


# Many requests after each other are of the same shape.
_known_shape = functools.lru_cache(maxsize=4)(_shape)
