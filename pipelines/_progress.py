"""How far a long command is, on stderr: a bar for a person, a line for a log."""

import sys
import time

import tqdm

_SECONDS_BETWEEN_LINES = 10.0


class Notes:
    """Tells once about each thing that is changed on the way."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self, about: str, message: str) -> None:
        """Prints the first message about a thing.

        Args:
            about: The thing.
            message: A sentence.
        """
        if about not in self._told:
            self._told.add(about)
            # Above a bar, where there is one.
            tqdm.tqdm.write(f"note: {message}", file=sys.stderr)


class Progress:
    """Counts rows; shows rows, rows per second and the time left.

    On a terminal that is one line that changes; elsewhere a new line every 10 seconds,
    so that a short run says nothing.

    Attributes:
        note: Tells of a change on the way without tearing the bar.
    """

    def __init__(self, total: int | None, unit: str) -> None:
        """Starts the clock.

        Args:
            total: Rows expected; if there turn out to be more, the bar just grows. None
                where nobody knows.
            unit: What is counted, in the plural.
        """
        self._total = total
        self._unit = unit
        self._done = 0
        self._started = self._told = time.monotonic()
        self._bar = tqdm.tqdm(
            total=total,
            unit=f" {unit}",
            file=sys.stderr,
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
            leave=False,
        )
        self.note = Notes()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    def add(self, rows: int) -> None:
        """Counts `rows` more."""
        self._done += rows
        if not self._bar.disable:
            self._bar.update(rows)
        elif time.monotonic() - self._told >= _SECONDS_BETWEEN_LINES:
            self._told = time.monotonic()
            print(self._line(self._done / self.seconds), file=sys.stderr)

    def _line(self, speed: float) -> str:
        """What a log is told, at so many of the unit a second."""
        # Of what takes long each, only the time left is of use.
        rate = f", {speed:,.0f} {self._unit}/s" if speed >= 1 else ""
        if self._total is None:
            return f"{self._done:,} {self._unit}{rate}"
        left = max(self._total - self._done, 0) / speed
        return (
            f"{self._done:,} of {self._total:,} {self._unit}{rate}, {left:,.0f} s left"
        )
