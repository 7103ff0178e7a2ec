"""The garbage collector's work, done when versions come and go, and as little of it.

With TensorFlow imported a full collection stops everything for 180 ms, without it for
30 ms, and JSON sets them off all the time. So what is there for long is taken out of
the collector's sight. Versions that LiteRT runs are freed by their last reference; only
TensorFlow's graphs refer to themselves, and only where one of them went must everything
be looked at again.
"""

import gc
import threading

_MANY = 50_000  # objects; below it the collector may look at them at any time

_cycles = threading.Event()
_cycles.set()  # of all that was imported


def note_cycles() -> None:
    """Tells that objects were dropped which refer to each other. From any thread."""
    _cycles.set()


def tidy() -> None:
    """Frees what nothing uses any more, and hides from the collector what stays."""
    if _cycles.is_set():
        _cycles.clear()
        # What is hidden is not freed either.
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        return
    gc.collect()
    # What is hidden for each version would stay for ever if a cycle holds it.
    if len(gc.get_objects()) > _MANY:
        gc.freeze()
