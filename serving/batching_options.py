"""How batches are formed: defaults that were measured here, or a file of TF Serving's.

```
max_batch_size { value: 128 }
batch_timeout_micros { value: 1000 }
max_enqueued_batches { value: 100 }
num_batch_threads { value: 4 }
allowed_batch_sizes: 32
allowed_batch_sizes: 128
```
"""

import dataclasses
import os
import pathlib
from typing import Any

from savedmodels.serving_protos import BatchingParameters
from serving import text_config
from serving.errors import InvalidRequestError

PER_MODEL_FILE = "batching_params.pbtxt"
# What TF Serving takes where a file does not say it.
_MAX_BATCH_SIZE = 1000
_MAX_ENQUEUED_BATCHES = 10


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BatchingOptions:
    """How batches are formed, in the words of TF Serving's BatchingParameters.

    Attributes:
        max_batch_size: Rows of a batch at most; a larger request takes several runs,
            see `serving/slices.py`. On a CPU LiteRT ran 16 to 64 rows at the same
            rate, so more would only wait longer.
        max_request_rows: Rows of a request at most; None for any number.
        max_enqueued_batches: Batches that may wait per signature before requests are
            refused.
        num_batch_threads: Batches that run at the same time, over all models. As many
            as there are cores, and two at least: a slow model must not stop the others.
            Of one signature short runs follow each other while few requests wait, see
            `serving/short_runs.py`.
        batch_timeout_s: Seconds that requests wait for others to fill their batch.
        allowed_batch_sizes: Sizes that a batch is padded to, ascending; empty for none.
        pads_inputs: Whether requests of different lengths share a batch, in which the
            shorter ones end in zeros. Without it they run in batches of their own.
        thread_pool_name: What metrics call the threads.
    """

    max_batch_size: int = 32
    max_request_rows: int | None = None
    max_enqueued_batches: int = 100
    num_batch_threads: int = max(2, os.cpu_count() or 1)
    batch_timeout_s: float = 0.0
    allowed_batch_sizes: tuple[int, ...] = ()
    pads_inputs: bool = False
    thread_pool_name: str = "model_server_batch_threads"


def read(path: pathlib.Path) -> BatchingOptions:
    """Returns the options of a file of BatchingParameters.

    What it leaves out is as TF Serving has it, but for the threads: as many as here.

    Args:
        path: The file.

    Raises:
        InvalidRequestError: The file cannot be read, or contradicts itself.
    """
    proto = text_config.read(path, BatchingParameters())
    limit = _value(proto, "max_batch_size", _MAX_BATCH_SIZE)
    size = limit
    if proto.enable_large_batch_splitting.value:
        size = _value(proto, "max_execution_batch_size", limit)
    sizes = tuple(proto.allowed_batch_sizes)
    _check_sizes(sizes, size)
    threads = BatchingOptions().num_batch_threads
    return BatchingOptions(
        max_batch_size=size,
        max_request_rows=limit,
        max_enqueued_batches=_value(
            proto, "max_enqueued_batches", _MAX_ENQUEUED_BATCHES
        ),
        num_batch_threads=_value(proto, "num_batch_threads", threads),
        batch_timeout_s=_value(proto, "batch_timeout_micros", 0, least=0) / 1e6,
        allowed_batch_sizes=sizes,
        pads_inputs=proto.pad_variable_length_inputs,
        thread_pool_name=proto.thread_pool_name.value or "batch_threads",
    )


def of_version(
    version_path: pathlib.Path, shared: BatchingOptions
) -> BatchingOptions | None:
    """Returns the options that a version carries, or None where it carries none.

    Args:
        version_path: Folder of the version.
        shared: Options of the server; its threads are those of every model.

    Raises:
        InvalidRequestError: As `read`.
    """
    path = version_path / PER_MODEL_FILE
    if not path.is_file():
        return None
    return dataclasses.replace(read(path), num_batch_threads=shared.num_batch_threads)


def _value(proto: Any, name: str, default: int, least: int = 1) -> int:
    if not proto.HasField(name):
        return default
    value = int(getattr(proto, name).value)
    if value < least:
        raise InvalidRequestError(f"Expected {name} to be {least} or more. Got {value}")
    return value


def _check_sizes(sizes: tuple[int, ...], max_batch_size: int) -> None:
    if not sizes:
        return
    if list(sizes) != sorted(set(sizes)) or sizes[0] < 1:
        raise InvalidRequestError(
            "allowed_batch_sizes entries must be positive and increasing. "
            f"Got {list(sizes)}"
        )
    if sizes[-1] != max_batch_size:
        raise InvalidRequestError(
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry "
            f"was {sizes[-1]}; expected {max_batch_size}"
        )
