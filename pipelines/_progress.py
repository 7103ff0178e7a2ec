"""How far a long command is, on stderr: a bar for a person, a line for a log."""

import sys
import time

import tqdm

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts rows; shows rows, rows per second and the time left.

    On a terminal that is one line that changes; elsewhere a new line every 10 seconds,
    so that a short run says nothing.
    """

    def __init__(self, total: int, unit: str) -> None:
        """Starts the clock.

        Args:
            total: Rows expected; if there turn out to be more, the bar just grows.
            unit: What is counted, in the plural.
        """
        self._total = total
        self._unit = unit
        self._done = 0
        self._noted: set[str] = set()
        self._started = self._told = time.monotonic()
        self._bar = tqdm.tqdm(
            total=total,
            unit=f" {unit}",
            file=sys.stderr,
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
            leave=False,
        )

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
            speed = self._done / self.seconds
            left = max(self._total - self._done, 0) / speed
            print(
                f"{self._done:,} of {self._total:,} {self._unit}, "
                f"{speed:,.0f} {self._unit}/s, {left:,.0f} s left",
                file=sys.stderr,
            )

    def note(self, about: str, message: str) -> None:
        """Prints the first message about each thing, without tearing the bar."""
        if about not in self._noted:
            self._noted.add(about)
            self._bar.write(f"note: {message}", file=sys.stderr)
