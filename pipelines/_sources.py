"""What a file, folder or pattern holds, as one stream of instances.

Files are read in the order of their names, folders with all that is below them; hidden
files are left out.
"""

import dataclasses
import glob
import itertools
import os
import pathlib
from collections.abc import Collection, Iterator

from pipelines import _inputs, _readers
from pipelines._images import Note
from pipelines._inputs import Inputs, MismatchError, UnreadableError
from savedmodels.errors import UsageError
from serving.servable import SignatureInfo

PREVIEWED = 100  # instances looked at to tell a mismatch from a few bad ones


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One instance.

    Attributes:
        key: What its scores are found by: the file's name for an image, `id` of a JSON
            object, else the row, with the file's name before it if there are several.
        file: The file's name, relative to the folder that was asked for.
        row: 0-based position in the file, which for `.jsonl` is the line; None for an
            image.
        inputs: Alias to array, without the batch axis.
    """

    key: str | int | float
    file: str
    row: int | None
    inputs: Inputs


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
    """

    root: pathlib.Path
    files: list[str]
    others: int


def find(pattern: str, leave_out: Collection[pathlib.Path] = ()) -> Source:
    """Finds the files that `pattern` names.

    Args:
        pattern: A file, a folder, or a pattern with `*`, `?`, `[...]` or `**`.
        leave_out: Files that are not input although they match, as the output is.

    Raises:
        UsageError: There is no such file, or none of a kind that can be read.
    """
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
        if _readers.kind(name) and os.path.realpath(name) not in left_out
    ]
    if os.path.isdir(pattern):
        # Beside anything else a text says something about it, as a list of labels.
        others = [name for name in files if _readers.kind(name) != "text"]
        files = others or files
    if not files:
        raise UsageError(
            f"No file is of a known kind. Expected endings: {_readers.ENDINGS}. "
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
    source: Source, signature: SignatureInfo, note: Note
) -> Iterator[Row | Refusal]:
    """Yields every instance of every file, or why there is none.

    Args:
        source: The files.
        signature: What the model takes.
        note: Told once what is changed on the way, as the size of images.
    """
    for name in source.files:
        yield from _read_file(source, name, signature, note)


def _read_file(
    source: Source, name: str, signature: SignatureInfo, note: Note
) -> Iterator[Row | Refusal]:
    is_image = _readers.kind(name) == "image"
    # Names that are not UTF-8 could not be written down.
    file = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    several = len(source.files) > 1
    row = -1
    try:
        for row, item in enumerate(_readers.read(source.root / name, signature, note)):
            place = None if is_image else row
            if isinstance(item, Exception):
                yield Refusal(file, place, str(item))
            elif item is not None:
                key, inputs = item
                if key is None and is_image:
                    key = file
                elif key is None:
                    key = f"{file}:{row}" if several else row
                yield Row(key, file, place, inputs)
    except (MismatchError, UnreadableError) as error:
        yield Refusal(file, None if is_image else row + 1, str(error))
    except OSError as error:
        reason = f"The file cannot be read: {error.strerror or error}."
        yield Refusal(file, None if is_image else row + 1, reason)


def preview(source: Source, signature: SignatureInfo) -> None:
    """Looks at the first instances of each kind of file, before any work is done.

    A few bad instances are refused one by one on the way. But if not one of the first
    fits the signature, the files and the model do not belong together.

    Raises:
        MismatchError: Says what the signature takes and what was found.
    """
    first = {_readers.kind(name): name for name in reversed(source.files)}
    for name in reversed(first.values()):
        mismatch = _first_mismatch(source.root / name, signature)
        if mismatch is not None:
            raise MismatchError(
                f"`{name}` does not fit the signature, which takes "
                f"{_inputs.describe(signature)}. {mismatch}"
            )


def _first_mismatch(
    path: pathlib.Path, signature: SignatureInfo
) -> MismatchError | None:
    """Why none of the first instances fits; None if one does, or all are damaged."""
    first = None
    try:
        items = _readers.read(path, signature, lambda about, message: None)
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


def count(source: Source, signature: SignatureInfo) -> int:
    """Returns how many instances there seem to be, for the progress bar."""
    return sum(_readers.count(source.root / name, signature) for name in source.files)
