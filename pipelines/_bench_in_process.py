"""The SavedModel without a server: a process that takes one job a line on stdin.

It also says which requests the benchmark sends and what their answers are, since
TensorFlow is here anyway.
"""

import gc
import json
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from savedmodels import prediction_log, protos, store
from serving.servable import DEFAULT_SIGNATURE

tf = protos.import_tensorflow()

_ANY_SIZE = 8  # of an inner axis that the signature leaves open


def main(path: str) -> None:
    """Loads a version, and does jobs until stdin ends."""
    version = pathlib.Path(path)
    model = tf.saved_model.load(path, tags=["serve"])
    function = model.signatures[DEFAULT_SIGNATURE]
    # As the servers do: a full collection would stop it for 180 ms.
    gc.collect()
    gc.freeze()
    while line := sys.stdin.readline():
        job = json.loads(line)
        do = _prepare if job["job"] == "prepare" else _measure
        try:
            answer = do(function, version, job)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


def _prepare(function: Any, version: pathlib.Path, job: dict[str, Any]) -> Any:
    """Writes inputs and answers of each size of request."""
    _, keywords = function.structured_input_signature
    ((alias, spec),) = keywords.items()
    example = _example(version, alias, spec)
    folder = pathlib.Path(job["folder"])
    for rows in job["rows"]:
        array = np.resize(example, (rows, *example.shape[1:]))
        _save(folder / f"inputs-{rows}.npz", {alias: array})
        _save(folder / f"answers-{rows}.npz", _run(function, {alias: array}))
    return {}


def _save(file: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(file, allow_pickle=False, **arrays)


def _measure(function: Any, version: pathlib.Path, job: dict[str, Any]) -> Any:
    """Calls the function again and again, and writes when each call was."""
    with np.load(job["inputs"]) as file:
        inputs = dict(file)
    _repeat(lambda: _run(function, inputs), job["warmup_s"])
    begin = time.monotonic()
    times = _repeat(lambda: _run(function, inputs), job["seconds"])
    np.save(job["samples"], np.array(times).T)
    return {"begin": begin, "end": times[-1][1]}


def _repeat(call: Callable[[], object], seconds: float) -> list[tuple[float, float]]:
    """Begin and end of each call; at least one."""
    until = time.monotonic() + seconds
    times: list[tuple[float, float]] = []
    while not times or times[-1][1] < until:
        start = time.monotonic()
        call()
        times.append((start, time.monotonic()))
    return times


def _run(function: Any, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays in, arrays out, as a program would use it."""
    tensors = {alias: tf.constant(array) for alias, array in inputs.items()}
    return {alias: tensor.numpy() for alias, tensor in function(**tensors).items()}


def _example(version: pathlib.Path, alias: str, spec: Any) -> np.ndarray:
    """Held-out rows, which the version carries for its warm-up; else random ones."""
    file = version / store.WARMUP_REQUESTS
    logs = prediction_log.read(file) if file.is_file() else []
    requests = [log.predict_log.request for log in logs if log.HasField("predict_log")]
    found = [
        prediction_log.arrays(request.inputs)[alias]
        for request in requests
        if request.model_spec.signature_name == DEFAULT_SIGNATURE
    ]
    if found:
        return max(found, key=len)
    shape = [32, *(size or _ANY_SIZE for size in spec.shape[1:])]
    values = np.random.default_rng(0).uniform(0, 1, shape)
    dtype = spec.dtype.as_numpy_dtype
    scale = 255 if np.issubdtype(dtype, np.integer) else 1
    return (values * scale).astype(dtype)


if __name__ == "__main__":
    main(sys.argv[1])
