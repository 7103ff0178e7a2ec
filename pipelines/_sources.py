"""What a file, folder or pattern holds, as one stream of instances.

Files are read in the order of their names, folders with all that is below them; hidden
files are left out.
"""

import dataclasses
import glob
import itertools
import os
import pathlib
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from pipelines import _files, _inputs, _lines, _readers
from pipelines._images import Note
from pipelines._inputs import Inputs, MismatchError, UnreadableError
from pipelines._lines import Stdin
from pipelines._reading import Item, Reading, Span, Wanted
from savedmodels.errors import UsageError
from serving.servable import SignatureInfo

STDIN = "-"
PREVIEWED = 100  # instances looked at to tell a mismatch from a few bad ones


class Row(NamedTuple):
    """One instance.

    Attributes:
        key: What its scores are found by: the file's name for an image, the column
            `id` or another that was asked for, else the row, with the file's name
            before it if there are several.
        file: The file's name, relative to the folder that was asked for.
        row: 0-based position in the file, which for `.jsonl` is the line; None for an
            image.
        inputs: Alias to array, without the batch axis.
        carried: The values of the columns that were asked for.
    """

    key: str | int | float
    file: str
    row: int | None
    inputs: Inputs
    carried: tuple[Any, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """An instance, or the rest of a file, that has no scores.

    Attributes:
        file: As for `Row`.
        row: As for `Row`; the first that could not be read where more are lost.
        reason: One or more sentences.
    """

    file: str
    row: int | None
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """The files to read.

    Attributes:
        root: The folder that all files lie in.
        files: Their names relative to `root`, sorted.
        others: Number of files left out because of their ending.
        stdin: JSON lines that take the place of the only file, `-`.
    """

    root: pathlib.Path
    files: list[str]
    others: int
    stdin: Stdin | None = None

    @property
    def several(self) -> bool:
        """Whether rows need the name of their file to be told apart."""
        return len(self.files) > 1

    def path(self, name: str) -> pathlib.Path:
        """Where a file lies; standard input has the name of what it holds."""
        return pathlib.Path("-.jsonl") if self.stdin else self.root / name


def find(pattern: str, leave_out: Collection[pathlib.Path] = ()) -> Source:
    """Finds the files that `pattern` names.

    Args:
        pattern: A file, a folder, a pattern with `*`, `?`, `[...]` or `**`, or `-` for
            JSON lines on standard input.
        leave_out: Files and folders that are not input although they match, as the
            output is.

    Raises:
        UsageError: There is no such file, or none of a kind that can be read.
    """
    if pattern == STDIN:
        return Source(pathlib.Path(), [STDIN], 0, Stdin(sys.stdin.buffer))
    if os.path.isfile(pattern):
        names = [pattern]
    elif os.path.isdir(pattern):
        names = list(_walk(pattern))
    elif glob.has_magic(pattern):
        names = sorted(filter(os.path.isfile, glob.glob(pattern, recursive=True)))
    else:
        names = []
    if not names:
        raise UsageError(
            "There is no such input. Expected a file, a folder or a pattern of files. "
            f"Received: {pattern}."
        )
    left_out = {os.path.realpath(path) for path in leave_out}
    files = [
        name
        for name in names
        if _files.kind(name)
        and os.path.realpath(name) not in left_out
        and os.path.realpath(os.path.dirname(name)) not in left_out
    ]
    if os.path.isdir(pattern):
        # Beside anything else a text says something about it, as a list of labels.
        others = [name for name in files if _files.kind(name) != "text"]
        files = others or files
    if not files:
        raise UsageError(
            f"No file is of a known kind. Expected endings: {_files.ENDINGS}. "
            f"Received: {names[0]}{', ...' if len(names) > 1 else ''}."
        )
    root = pattern if os.path.isdir(pattern) else _common_folder(files)
    relative = [os.path.relpath(name, root) for name in files]
    return Source(pathlib.Path(root), relative, len(names) - len(files))


def _walk(folder: str) -> Iterator[str]:
    for path, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (
            os.path.join(path, name)
            for name in sorted(files)
            if not name.startswith(".")
        )


def _common_folder(files: list[str]) -> str:
    return os.path.commonpath([os.path.dirname(name) or "." for name in files])


def read(
    source: Source,
    signature: SignatureInfo,
    note: Note,
    wanted: Wanted = Wanted(),  # noqa: B008 -- it cannot be changed
    spans: Sequence[Span] | None = None,
) -> Iterator[Row | Refusal]:
    """Yields every instance of every file, or why there is none.

    Args:
        source: The files.
        signature: What the model takes.
        note: Told once what is changed on the way, as the size of images.
        wanted: What is taken beside the inputs.
        spans: Parts of files, in their order; None for all files as a whole.
    """
    for span in map(Span, source.files) if spans is None else spans:
        reading = Reading(source.path(span.file), span, signature, note, wanted)
        yield from _read_span(source, reading)


def _read_span(source: Source, reading: Reading) -> Iterator[Row | Refusal]:
    is_image = _files.kind(reading.path.name) == "image"
    # Names that are not UTF-8 could not be written down.
    name = reading.span.file
    file = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    row = reading.span.row - 1
    try:
        for row, item in enumerate(_items(source, reading), reading.span.row):
            place = None if is_image else row
            if isinstance(item, Exception):
                yield Refusal(file, place, str(item))
            elif item is not None:
                key = item.key
                if key is None and is_image:
                    key = file
                elif key is None:
                    key = f"{file}:{row}" if source.several else row
                yield Row(key, file, place, item.inputs, item.carried)
    except (MismatchError, UnreadableError) as error:
        yield Refusal(file, None if is_image else row + 1, str(error))
    except OSError as error:
        reason = f"The file cannot be read: {error.strerror or error}."
        yield Refusal(file, None if is_image else row + 1, reason)


def _items(source: Source, reading: Reading) -> Iterator[Item]:
    if source.stdin is None:
        return _readers.read(reading)
    return _lines.from_lines(source.stdin, reading)


def preview(
    source: Source,
    signature: SignatureInfo,
    wanted: Wanted = Wanted(),  # noqa: B008 -- it cannot be changed
) -> None:
    """Looks at the first instances of each kind of file, before any work is done.

    A few bad instances are refused one by one on the way. But if not one of the first
    fits the signature, the files and the model do not belong together.

    Raises:
        MismatchError: Says what the signature takes and what was found.
    """
    first = {_files.kind(name): name for name in reversed(source.files)}
    for name in reversed(first.values()):
        path = source.path(name)
        reading = Reading(path, Span(name), signature, lambda about, text: None, wanted)
        if source.stdin is None:
            mismatch = _first_mismatch(_readers.read(reading))
        else:
            head = source.stdin.head(PREVIEWED)
            mismatch = _first_mismatch(_lines.from_lines(head, reading))
        if mismatch is not None:
            raise MismatchError(
                f"`{name}` does not fit the signature, which takes "
                f"{_inputs.describe(signature)}. {mismatch}"
            )


def _first_mismatch(items: Iterator[Item]) -> MismatchError | None:
    """Why none of the first instances fits; None if one does, or all are damaged."""
    first = None
    try:
        for item in itertools.islice(items, PREVIEWED):
            if isinstance(item, tuple):
                return None
            if isinstance(item, MismatchError):
                first = first or item
    except MismatchError as error:
        return first or error
    except (UnreadableError, OSError):
        pass  # `read` tells of it.
    return first
