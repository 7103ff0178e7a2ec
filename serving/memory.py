"""The garbage collector's work, done when versions come and go, and as little of it.

With TensorFlow imported a full collection stops everything for 180 ms, without it for
30 ms, and JSON sets them off all the time. So what is there for long is taken out of
the collector's sight. Versions that LiteRT runs are freed by their last reference,
hidden or not. TensorFlow's graphs refer to themselves, so once hidden they would stay
for ever: its modules are hidden before there is a graph, and after that nothing is. A
graph is little to look at beside them: 16,000 objects for one that translates, where
the modules are 420,000.
"""

import gc
import threading

# Objects; below it the collector may look at them at any time. A server without
# TensorFlow has 50,000 from its start, for which each look takes 20 ms.
_MANY = 10_000

_graphs = threading.Event()  # set once there may be one


def hide_modules() -> None:
    """Hides all that there is: TensorFlow is imported, and has no graph yet.

    Without a look at what nothing uses: that would stop every call for 180 ms.
    """
    if not _graphs.is_set():
        _graphs.set()
        gc.freeze()


def tidy() -> None:
    """Frees what nothing uses any more, and hides from the collector what stays."""
    gc.collect()
    if not _graphs.is_set() and len(gc.get_objects()) > _MANY:
        gc.freeze()
