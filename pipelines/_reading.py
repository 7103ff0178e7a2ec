"""What every reader of files is given, and what it yields."""

import dataclasses
import pathlib
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from pipelines import _inputs
from pipelines._images import Note
from pipelines._inputs import Inputs, MismatchError, UnreadableError
from serving.servable import SignatureInfo

Key = str | int | float


class Instance(NamedTuple):
    """One instance as it stands in a file.

    Attributes:
        key: What it brings along to be found by, or None.
        inputs: Alias to array, without the batch axis.
        carried: The values of `Wanted.columns`, as JSON has them.
    """

    key: Key | None
    inputs: Inputs
    carried: tuple[Any, ...] = ()


# Or why it cannot be had, or an empty line.
Item = Instance | MismatchError | UnreadableError | None


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What is taken from files beside the inputs.

    Attributes:
        key: Column of the key; None for `id` where there is one, else the row.
        columns: Columns that go along to the scores, or to what judges them.
    """

    key: str | None = None
    columns: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them that must be there."""
        return self.columns if self.key is None else (self.key, *self.columns)

    def key_among(self, names: Collection[str], inputs: Collection[str]) -> str | None:
        """Returns the column of the key; None where there is none.

        Args:
            names: Of all columns, with those that must be there.
            inputs: What the model takes, which an `id` may be too.
        """
        if self.key is not None:
            return self.key
        return "id" if "id" in names and "id" not in inputs else None


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """Consecutive instances of one file.

    Attributes:
        file: Its name, relative to the folder that was asked for.
        begin: Where they begin; 0 is the first instance, after any header.
        end: Where they end; None for the end of the file, whatever stands there.
        row: Position of the first one in the file, as in `Row.row`.
        rows: How many there seem to be.
    """

    file: str
    begin: int = 0
    end: int | None = None
    row: int = 0
    rows: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """A part of a file, and what is to be had from it.

    Attributes:
        path: The file.
        span: The part.
        signature: What the model takes.
        note: Told once what is changed on the way, as the size of images.
        wanted: What is taken beside the inputs.
    """

    path: pathlib.Path
    span: Span
    signature: SignatureInfo
    note: Note
    wanted: Wanted = Wanted()


def check_columns(
    found: Collection[str], reading: Reading, shown: Sequence[str] = ()
) -> None:
    """Raises MismatchError unless a table has what is needed; it may have more.

    Args:
        found: Names of columns, and aliases that are made of several.
        reading: Says what is needed.
        shown: The columns as a message shows them.
    """
    signature = reading.signature
    needed = [alias for alias in signature.inputs if alias not in signature.defaults]
    missing = [name for name in (*needed, *reading.wanted.names) if name not in found]
    if missing:
        names = [f"`{name}`" for name in shown or found]
        more = f", ... ({len(names)} columns)" if len(names) > 20 else ""
        wanted = "".join(f", `{name}`" for name in reading.wanted.names)
        raise MismatchError(
            f"Expected columns for {_inputs.describe(signature)}{wanted}. "
            f"Received: {', '.join(names[:20]) or 'none'}{more}."
        )


def no_columns(reading: Reading, kind: str) -> None:
    """Raises MismatchError where columns are asked of files that have none."""
    if reading.wanted.names:
        raise MismatchError(
            f"{kind} has no columns to take keys or values from. Expected JSONL, CSV, "
            f"Parquet, TFRecord or .npz. Received: {', '.join(reading.wanted.names)}."
        )


def plain(value: Any) -> Any:
    """Returns a cell as JSON has it: bytes, dates and the like as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)
