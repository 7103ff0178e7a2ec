"""What kind of input a file is, by its name, and its bytes, compressed or not."""

import contextlib
import gzip
import pathlib
import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

from pipelines._inputs import UnreadableError
from savedmodels import tfrecord

ENDINGS = (
    ".png .jpg .jpeg .npy .npz .parquet .jsonl .csv .txt .tfrecord, the last four "
    "also with .gz"
)

_KINDS = {
    "image": re.compile(r"\.(png|jpe?g)$", re.IGNORECASE),
    "array": re.compile(r"\.(npy|npz)$", re.IGNORECASE),
    "parquet": re.compile(r"\.parquet$", re.IGNORECASE),
    "jsonl": re.compile(r"\.jsonl(\.gz)?$", re.IGNORECASE),
    "csv": re.compile(r"\.csv(\.gz)?$", re.IGNORECASE),
    "text": re.compile(r"\.txt(\.gz)?$", re.IGNORECASE),
    "tfrecord": re.compile(r"\.tfrecords?(-\d+-of-\d+)?(\.gz)?$", re.IGNORECASE),
}
_GZIP = b"\x1f\x8b"


def kind(name: str) -> str | None:
    """Returns which of the kinds a file is by its ending, or None.

    They are image, array, parquet, jsonl, csv, text and tfrecord.
    """
    kinds = (kind for kind, ending in _KINDS.items() if ending.search(name))
    return next(kinds, None)


def is_gzip(path: pathlib.Path) -> bool:
    """Whether a file is compressed, whatever its name: TFRecords often do not say so.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(12)
    # A record of 35 KB begins with the same bytes, but its length has a checksum.
    return start.startswith(_GZIP) and not (
        kind(path.name) == "tfrecord" and tfrecord.is_header(start)
    )


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[BinaryIO]:
    """Opens a file for reading its bytes, decompressed where it is compressed.

    Raises:
        UnreadableError: Inside the block: what is compressed is damaged or cut short.
        OSError: The file cannot be read.
    """
    if not is_gzip(path):
        with path.open("rb") as plain:
            yield plain
        return
    try:
        with gzip.open(path, "rb") as file:
            yield cast(BinaryIO, file)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UnreadableError(
            f"The compressed file is damaged or cut short: {error}."
        ) from error
