"""Whether a request does better to wait for a run that is going than to run beside it.

Two short runs at the same time take turns with everything else that a server does for a
call: with a small CNN on 2 cores, by gRPC, runs of a few rows each, two at a time,
answered 12 to 18 % fewer requests of 8 to 32 clients than one after the other, and as
many of 64. Long runs are another matter: nobody should wait for one while a thread is
free.
"""

_SHORT_S = 0.003
_MANY_ROWS = 32
_FADING = 0.98  # of the longest run of late, by each that follows


class ShortRuns:
    """The runs of one queue. Not thread-safe: its methods belong under a lock."""

    def __init__(self) -> None:
        """Knows of no run."""
        self._going = 0
        self._longest_s: float | None = None

    def began(self) -> None:
        """Takes note of a run that begins."""
        self._going += 1

    def ended(self, seconds: float) -> None:
        """Takes note of a run that is over, and how long it took."""
        self._going -= 1
        self._longest_s = max(seconds, _FADING * (self._longest_s or 0))

    def are_worth_waiting_for(self, waiting_rows: int) -> bool:
        """Whether the end of a run is near, and few wait for it.

        Args:
            waiting_rows: Rows of all that wait.
        """
        return (
            self._going > 0
            and waiting_rows < _MANY_ROWS
            and self._longest_s is not None
            and self._longest_s <= _SHORT_S
        )
