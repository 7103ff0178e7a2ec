"""Parts of files that can be read alone, found without decoding what they hold.

A part of lines or records begins at a byte, one of an array at a row, one of a Parquet
file at a row group. What is compressed as a whole cannot be entered in the middle: it
is one part.
"""

import pathlib
from typing import BinaryIO

import numpy as np

from pipelines import _arrays, _csv_lines, _files, _logged
from pipelines._reading import Span
from savedmodels import tfrecord
from savedmodels.errors import UsageError
from serving.servable import SignatureInfo

_CHUNK = 1 << 20
_NEWLINE = b"\n"[0]


def find(
    root: pathlib.Path, name: str, signature: SignatureInfo, most: int
) -> list[Span]:
    """Returns the parts of a file, in their order.

    Reads headers only, but for lines the whole file, which is ten times faster than
    scoring it. A file that cannot be read is one part of one row: reading it tells why.

    Args:
        root: Folder of the file.
        name: Its name there, of a kind that can be read.
        signature: What the model takes.
        most: Rows of one part, about.
    """
    path = root / name
    try:
        total, marks = _marks(path, signature, most)
    except (UsageError, OSError):
        return [Span(name)]
    ends = [(place, row) for place, row in marks if 0 < row < total]
    begins = [(0, 0), *ends]
    return [
        Span(name, begin, end[0], row, (end[1] or total) - row)
        for (begin, row), end in zip(begins, [*ends, (None, 0)], strict=True)
    ]


def _marks(
    path: pathlib.Path, signature: SignatureInfo, most: int
) -> tuple[int, list[tuple[int, int]]]:
    """The rows of a file, and (place, row) where it may be divided."""
    kind = _files.kind(path.name)
    if kind == "image":
        return 1, []
    if kind == "array":
        rows = _arrays.count(path, signature)
        return rows, [(row, row) for row in range(most, rows, most)] * (
            _arrays.can_seek(path)
        )
    if kind == "parquet":
        from pipelines import _parquet  # it brings pyarrow

        return _parquet.row_groups(path, most)
    marks: list[tuple[int, int]] = []
    with _files.opened(path) as file:
        if kind == "tfrecord":
            rows = 0
            for rows, place in enumerate(tfrecord.places(file), 1):
                if rows > 1 and (rows - 1) % most == 0:
                    marks.append((place, rows - 1))
        elif kind == "csv":
            rows, marks = _csv_marks(file, most)
        else:
            rows, marks = _line_marks(file, most)
    whole = _files.is_gzip(path) or (kind == "tfrecord" and _holds_logs(path))
    return rows, [] if whole else marks


def _line_marks(file: BinaryIO, most: int) -> tuple[int, list[tuple[int, int]]]:
    marks, lines, place, last = [], 0, 0, _NEWLINE
    while chunk := file.read(_CHUNK):
        ends = np.flatnonzero(np.frombuffer(chunk, np.uint8) == _NEWLINE)
        for line in range(most - lines % most, len(ends) + 1, most):
            marks.append((place + int(ends[line - 1]) + 1, lines + line))
        lines, place, last = lines + len(ends), place + len(chunk), chunk[-1]
    return lines + (last != _NEWLINE), marks


def _csv_marks(file: BinaryIO, most: int) -> tuple[int, list[tuple[int, int]]]:
    """As of lines, but one may go on in quotes; which do, only a parser knows."""
    marks, row = [], -1  # the header is none
    for row, (_, place) in enumerate(_csv_lines.records(file)):
        if row and row % most == 0:
            marks.append((place, row))
    return max(row, 0), marks


def _holds_logs(path: pathlib.Path) -> bool:
    """Whether records are logged requests, each of which holds any number of rows."""
    with _files.opened(path) as file:
        try:
            record = next(tfrecord.read(file), None)
        except tfrecord.TFRecordError:
            return False
    return record is not None and _logged.read(record) is not None
