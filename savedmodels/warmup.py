"""The requests that a server replays before it answers the first client."""

import pathlib
from collections.abc import Mapping

import numpy as np

from savedmodels import prediction_log, signature, store


def write(
    version_path: pathlib.Path,
    model: str,
    requests: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    """Writes `assets.extra/tf_serving_warmup_requests`.

    Each signature is called with one row and with all rows, since the first run of a
    graph at a number of rows is the slow one; `classify` and `regress` also the way
    that Classify and Regress call them.

    Args:
        version_path: Folder of the version.
        model: Model name.
        requests: Signature name to alias to array [rows, ...].

    Raises:
        OSError: The file could not be written.
    """
    logs = []
    for name, request in requests.items():
        for rows in (slice(1), slice(None)):
            part = {alias: array[rows] for alias, array in request.items()}
            logs.append(prediction_log.predict(model, name, part, {}))
    for name, make in (
        (signature.CLASSIFY, prediction_log.classify),
        (signature.REGRESS, prediction_log.regress),
    ):
        if name in requests:
            logs.append(make(model, name, requests[name]["inputs"]))
    path = version_path / store.WARMUP_REQUESTS
    path.parent.mkdir(exist_ok=True)
    prediction_log.write(path, logs)
