"""Replays the requests that a version carries for its warm-up, before it answers.

The first requests of a version are slow (graphs are optimised, memory is taken); this
way no client sends them.
"""

import pathlib

from serving import warmup_requests
from serving.servable import Servable


def replay(servable: Servable, path: pathlib.Path, iterations: int = 1) -> int:
    """Runs a version's warm-up requests, and returns how many there were.

    Those of signatures that are loaded with their first call are left out: they would
    be that call.

    Args:
        servable: The loaded version.
        path: Its folder; it need not hold warm-up requests.
        iterations: How often each is run.

    Raises:
        ServingError: The file is broken, or one of its requests fails.
    """
    record = 0
    for request in warmup_requests.read(path):
        record = request.record
        if servable.is_deferred(request.signature_name):
            continue
        for _ in range(iterations):
            servable.run(request.signature_name, request.inputs, request.output_filter)
    return record
