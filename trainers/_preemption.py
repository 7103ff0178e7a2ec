"""SIGTERM in a training: the machine is wanted back, the run is to go on elsewhere.

Within a step it is noted, and the step is finished and kept. Elsewhere, and the second
time, it ends the training at once: what was finished has been written already.
"""

import contextlib
import signal
import threading
import types
from collections.abc import Iterator
from typing import Any, NoReturn

from trainers._errors import PreemptedError


class Preemption:
    """Takes SIGTERM over from whoever had it; for a `with` block.

    Attributes:
        asked: Whether it came, and waits for the step to end.
    """

    def __init__(self) -> None:
        self.asked = False
        self._holds = False
        self._before: Any = None

    def __enter__(self) -> "Preemption":
        # Python gives signals to the main thread, and lets no other one take them.
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._come)
        return self

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._before or signal.SIG_DFL)

    @contextlib.contextmanager
    def held(self, holds: bool = True) -> Iterator[None]:
        """What is done in this block is finished first, if it `holds`."""
        self._holds = holds
        try:
            yield
        finally:
            self._holds = False

    def obey(self, where: str) -> NoReturn:
        """Ends the training, which was asked for.

        Args:
            where: The last thing that was done and kept, in words.

        Raises:
            PreemptedError: Always.
        """
        raise PreemptedError(f"Stopped by SIGTERM after {where}, which is kept")

    def _come(self, number: int, frame: types.FrameType | None) -> None:
        if self.asked or not self._holds:
            raise PreemptedError("Stopped by SIGTERM")
        self.asked = True
