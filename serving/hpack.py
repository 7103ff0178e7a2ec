"""HPACK (RFC 7541), the headers of HTTP/2, without a dynamic table.

What is written is never to be remembered by the other side; what is read may be from
the static table, in full, or in Huffman's code. The other side is told that no dynamic
table is kept, so that equal headers are equal bytes, which are read once.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import TypeAlias

Fields: TypeAlias = tuple[tuple[str, str], ...]

_METHODS = ((":method", "GET"), (":method", "POST"))
_PATHS = ((":path", "/"), (":path", "/index.html"))
_SCHEMES = ((":scheme", "http"), (":scheme", "https"))
_STATUSES = tuple((":status", code) for code in "200 204 206 304 400 404 500".split())
_ENCODING = (("accept-charset", ""), ("accept-encoding", "gzip, deflate"))
_NAMES = (
    "accept-language accept-ranges accept access-control-allow-origin age allow "
    "authorization cache-control content-disposition content-encoding "
    "content-language content-length content-location content-range content-type "
    "cookie date etag expect expires from host if-match if-modified-since "
    "if-none-match if-range if-unmodified-since last-modified link location "
    "max-forwards proxy-authenticate proxy-authorization range referer refresh "
    "retry-after server set-cookie strict-transport-security transfer-encoding "
    "user-agent vary via www-authenticate"
)
# Appendix A; the first field has number 1.
_STATIC: Fields = (
    (":authority", ""),
    *(_METHODS + _PATHS + _SCHEMES + _STATUSES + _ENCODING),
    *((name, "") for name in _NAMES.split()),
)

# Appendix B: which octets have codes of how many bits. The codes themselves follow, as
# they rise with their length, and within a length with the octet. 256 ends a text.
_CODES: dict[int, Sequence[int]] = {
    5: b"012aceiost",
    6: b" %-./3456789=A_bdfghlmnpru",
    7: b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: b"&*,;XZ",
    10: b'!"()?',
    11: b"'+|",
    12: b"#>",
    13: b"\0$@[]~",
    14: b"^}",
    15: b"<`{",
    19: b"\\\xc3\xd0",
    20: b"\x80\x82\x83\xa2\xb8\xc2\xe0\xe2",
    21: b"\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6",
    22: b"\x81\x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb"
    b"\xbd\xbe\xc4\xc6\xe4\xe8\xe9",
    23: b"\x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8"
    b"\xae\xaf\xb4\xb6\xb7\xbc\xbf\xc5\xe7\xef",
    24: b"\t\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed",
    25: b"\xc7\xcf\xea\xeb",
    26: b"\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\xee\xf0\xf2\xf3\xff",
    27: b"\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe",
    28: (*range(2, 9), 11, 12, *range(14, 22), *range(23, 32), 127, 220, 249),
    30: (10, 13, 22, 256),
}
_END = 256
_LEAST_BITS, _MOST_BITS = 5, 30


class HpackError(ValueError):
    """A block of headers that cannot be read."""


def encode(fields: Sequence[tuple[str, str]]) -> bytes:
    """Returns a block of headers: names and values in full.

    Args:
        fields: Names in lower case; `:method` and its like first.
    """
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields)


@functools.lru_cache(maxsize=256)
def decode(block: bytes) -> Fields:
    """Returns the fields of a block of headers, in its order.

    Raises:
        HpackError: It is broken, or takes fields from a dynamic table.
    """
    try:
        return tuple(_fields(block))
    except (IndexError, UnicodeDecodeError) as error:
        raise HpackError(f"The headers are broken: {block[:64]!r}.") from error


def _fields(block: bytes) -> Iterator[tuple[str, str]]:
    start = 0
    while start < len(block):
        first = block[start]
        if first & 0x80:
            number, start = _number(block, start, 7)
            yield _known(number)
        elif first & 0xE0 == 0x20:
            size, start = _number(block, start, 5)
            if size:
                raise HpackError(f"There is no dynamic table. Received: {size} bytes.")
        else:
            # Remembered or not: of a table without room all are forgotten at once.
            number, start = _number(block, start, 6 if first & 0x40 else 4)
            if number:
                name = _known(number)[0]
            else:
                name, start = _string(block, start)
            value, start = _string(block, start)
            yield name, value


def _known(number: int) -> tuple[str, str]:
    if not 1 <= number <= len(_STATIC):
        raise HpackError(f"There is no dynamic table. Received: field {number} of it.")
    return _STATIC[number - 1]


def _string(block: bytes, start: int) -> tuple[str, int]:
    is_huffman = block[start] & 0x80
    size, start = _number(block, start, 7)
    octets = block[start : start + size]
    if len(octets) != size:
        raise HpackError(f"A text of {size} bytes ends after {len(octets)}.")
    octets = _huffman(octets) if is_huffman else octets
    return octets.decode("latin-1"), start + size


def _number(block: bytes, start: int, bits: int) -> tuple[int, int]:
    """An integer whose first bits share an octet with others, and what follows."""
    most = (1 << bits) - 1
    value = block[start] & most
    start += 1
    if value < most:
        return value, start
    shift = 0
    while True:
        octet = block[start]
        start += 1
        value += (octet & 0x7F) << shift
        shift += 7
        if octet < 0x80:
            return value, start
        if shift > 28:
            raise HpackError("A number is too large.")


@functools.cache
def _symbols() -> dict[tuple[int, int], int]:
    """By bits and code: the octet."""
    found, code = {}, 0
    for bits in range(_LEAST_BITS, _MOST_BITS + 1):
        code <<= 1
        for symbol in _CODES.get(bits, ()):
            found[bits, code] = symbol
            code += 1
    return found


def _huffman(octets: bytes) -> bytes:
    symbols, found = _symbols(), bytearray()
    code = bits = 0
    for octet in octets:
        for place in range(7, -1, -1):
            code, bits = code << 1 | octet >> place & 1, bits + 1
            symbol = symbols.get((bits, code))
            if symbol is not None:
                if symbol == _END:
                    raise HpackError("A text has a code that ends it inside.")
                found.append(symbol)
                code = bits = 0
    # What fills the last octet are ones.
    if bits > 7 or code != (1 << bits) - 1:
        raise HpackError("A text in Huffman's code ends within a code.")
    return bytes(found)


def _text(text: str) -> bytes:
    octets = text.encode("latin-1")
    size, head = len(octets), bytearray()
    if size < 0x7F:
        return bytes([size]) + octets
    size -= 0x7F
    while size >= 0x80:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    return b"\x7f" + bytes([*head, size]) + octets
