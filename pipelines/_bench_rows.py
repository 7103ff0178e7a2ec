"""Rows to score for `make bench-score`: random ones for an only input of numbers."""

import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import _inputs
from savedmodels import tfrecord
from savedmodels.errors import UsageError
from savedmodels.protos import example_pb2
from serving.signatures import SignatureInfo, read_signatures

ENDINGS = ("tfrecord", "parquet", "jsonl")
_BLOCK = 1_000  # rows written at once
_SEED = 1


def signature(version: pathlib.Path) -> SignatureInfo:
    """Returns `serving_default` of a version.

    Raises:
        UsageError: It takes other than one array of numbers of a fixed shape.
    """
    found = read_signatures(version)["serving_default"]
    for info in found.inputs.values():
        inner = info.shape[1:] if info.shape else (None,)
        if len(found.inputs) > 1 or info.dtype.kind not in "iuf" or None in inner:
            raise UsageError(
                "Rows can be made up for an only input of numbers of a fixed shape. "
                f"Received: a signature that takes {_inputs.describe(found)}."
            )
    return found


def write(path: pathlib.Path, taken: SignatureInfo, rows: int) -> None:
    """Writes rows, the same in every format.

    Args:
        path: Ends in one of `ENDINGS`. In TFRecord and Parquet numbers are bytes.
        taken: From `signature`.
        rows: How many.
    """
    ((alias, info),) = taken.inputs.items()
    shape = tuple(size for size in (info.shape or ())[1:] if size is not None)
    random = np.random.default_rng(_SEED)
    kept = random.integers(0, 256, (_BLOCK, *shape)).astype(info.dtype)
    kept[::2] = 0  # a whole range of answers, and of sizes of JSON text
    if path.suffix == ".parquet":
        column = pa.array([row.tobytes() for row in kept])
        table = pa.table({alias: column})
        with pq.ParquetWriter(path, table.schema) as writer:
            for begin in range(0, rows, _BLOCK):
                writer.write_table(table.slice(0, min(_BLOCK, rows - begin)))
        return
    if path.suffix == ".jsonl":
        records = [json.dumps({alias: row.tolist()}).encode() + b"\n" for row in kept]
    else:
        records = [tfrecord.framed(_example(alias, row)) for row in kept]
    with path.open("wb") as file:
        for begin in range(0, rows, _BLOCK):
            file.write(b"".join(records[: rows - begin]))


def _example(alias: str, row: np.ndarray) -> bytes:
    example = example_pb2.Example()
    example.features.feature[alias].bytes_list.value.append(row.tobytes())
    return bytes(example.SerializeToString())
