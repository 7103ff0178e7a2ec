"""CSV files as instances, their columns mapped by the names in the first line.

An input takes the column of its name: one value, or JSON text for an array. A vector
may also lie in columns of its own, `scores_0, scores_1, ...`, as scores are written.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from pipelines import _files, _inputs
from pipelines._inputs import Inputs, MismatchError, UnreadableError
from pipelines._reading import Instance, Item, Reading, check_columns
from serving.servable import TensorInfo

csv.field_size_limit(1 << 30)  # a cell may be the JSON text of an array


def records(file: BinaryIO) -> Iterator[tuple[list[str], int]]:
    """Yields each record of a file, and the byte after it.

    Args:
        file: At the start of a record. Bytes that are not UTF-8 are kept.

    Raises:
        UnreadableError: The file is no CSV.
    """
    place = file.tell()

    def lines() -> Iterator[str]:
        nonlocal place
        for line in file:
            place += len(line)
            yield line.decode("utf-8", "surrogateescape")

    try:
        for record in csv.reader(lines()):
            yield record, place
    except csv.Error as error:
        raise UnreadableError(f"The file is not CSV: {error}.") from error


def instances(reading: Reading) -> Iterator[Item]:
    """Yields the instances of a part of a file."""
    span = reading.span
    with _files.opened(reading.path) as file:
        header, place = next(records(file), ([], 0))
        header = [name.removeprefix("\ufeff").strip() for name in header]
        columns = _Columns(header, reading)
        place = max(place, span.begin)
        file.seek(place)
        for record, after in records(file):
            if span.end is not None and place >= span.end:
                return
            place = after
            yield columns.instance(record) if record else None


class _Columns:
    """Which cells of a record make the instance."""

    def __init__(self, header: Sequence[str], reading: Reading) -> None:
        self._signature = reading.signature
        self._wanted = reading.wanted
        self._header = header
        found = {
            alias: places
            for alias in reading.signature.inputs
            if (places := _places(alias, header))
        }
        check_columns([*found, *header], reading, header)
        self._inputs = found
        self._places = {name: header.index(name) for name in reversed(header)}

    def instance(self, record: Sequence[str]) -> Item:
        if len(record) != len(self._header):
            return UnreadableError(
                f"The row has {len(record)} cells, the header {len(self._header)}."
            )
        try:
            inputs: Inputs = {
                alias: _value(
                    [record[place] for place in places],
                    alias,
                    self._signature.inputs[alias],
                )
                for alias, places in self._inputs.items()
            }
        except MismatchError as error:
            return error
        wanted = self._wanted
        key = wanted.key_among(self._places, self._inputs)
        return Instance(
            None if key is None else record[self._places[key]],
            inputs,
            tuple(plain(record[self._places[name]]) for name in wanted.columns),
        )


def plain(cell: str) -> int | float | str:
    """Returns a cell as the number that it is written as, else as the text it is."""
    for kind in (int, float):
        try:
            value = kind(cell)
        except ValueError:
            continue
        # Not 007 or 1_000: what is carried along must come out as it went in.
        return value if str(value) == cell else cell
    return cell


def _places(alias: str, header: Sequence[str]) -> list[int]:
    if alias in header:
        return [header.index(alias)]
    places: list[int] = []
    while (name := f"{alias}_{len(places)}") in header:
        places.append(header.index(name))
    return places


def _value(cells: Sequence[str], alias: str, info: TensorInfo) -> np.ndarray:
    """One instance of an input from its cells."""
    if _inputs.is_string(info):
        texts = [cell.encode("utf-8", "surrogateescape") for cell in cells]
        if len(texts) == 1 and not _inputs.fits((), info):
            return _inputs.from_json_value(_json(cells[0], alias, info), alias, info)
        flat = np.array(texts, object)
    elif len(cells) == 1 and not _is_number(cells[0]):
        return _inputs.from_json_value(_json(cells[0], alias, info), alias, info)
    else:
        values = [_number(cell, alias, info) for cell in cells]
        flat = _inputs.numbers(np.array(values), alias, info)
    return _inputs.shaped(flat, alias, info)


def _json(cell: str, alias: str, info: TensorInfo) -> Any:
    try:
        return json.loads(cell.lower() if cell in ("True", "False") else cell)
    except (ValueError, RecursionError) as error:
        raise _mismatch(cell, alias, info) from error


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(cell: str, alias: str, info: TensorInfo) -> int | float:
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    raise _mismatch(cell, alias, info)


def _mismatch(cell: str, alias: str, info: TensorInfo) -> MismatchError:
    shown = cell if len(cell) <= 80 else f"{cell[:77]}..."
    return MismatchError(
        f"`{alias}` must be {_inputs.describe_tensor(info)}. Received: `{shown}`."
    )
