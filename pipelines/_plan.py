"""Which parts of the input make a shard: decided before the work, and always alike."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pipelines import _spans
from pipelines._reading import Span
from pipelines._sources import Source
from serving.servable import SignatureInfo

# A shard is what is lost by a kill, and what one core works on alone.
_SHARDS = 16
_FEWEST, _MOST = 1_000, 50_000

Shard = Sequence[Span]


def shards(source: Source, signature: SignatureInfo, asked: int | None) -> list[Shard]:
    """Returns the input in parts that are read and scored alone, at least one.

    Args:
        source: The files.
        signature: What the model takes.
        asked: Rows of a shard; None for a sixteenth of all, within limits.
    """
    if source.stdin is not None:
        return [[Span(source.files[0], rows=0)]]
    grain = min(asked or _FEWEST, _FEWEST)
    spans = [
        span
        for name in source.files
        for span in _spans.find(source.root, name, signature, grain)
    ]
    total = sum(span.rows for span in spans)
    rows = asked or min(max(-(-total // _SHARDS), _FEWEST), _MOST)
    return list(_packed(spans, rows)) or [[]]


def _packed(spans: Iterable[Span], rows: int) -> Iterator[Shard]:
    shard: list[Span] = []
    size = 0
    for span in spans:
        if shard and size + span.rows > rows:
            yield shard
            shard, size = [], 0
        last = shard[-1] if shard else None
        if last is not None and last.file == span.file:
            both = last.rows + span.rows
            shard[-1] = dataclasses.replace(last, end=span.end, rows=both)
        else:
            shard.append(span)
        size += span.rows
    if shard:
        yield shard


def rows(shard: Shard) -> int:
    """Returns how many rows a shard seems to have."""
    return sum(span.rows for span in shard)


def identity(source: Source) -> dict[str, Any]:
    """Returns what tells an input from another: names, sizes and times of change."""
    if source.stdin is not None:
        return {"files": 1, "sha256": None}
    digest = hashlib.sha256()
    for name in source.files:
        try:
            found = os.stat(source.root / name)
            facts = [os.fsdecode(name), found.st_size, found.st_mtime_ns]
        except OSError:
            facts = [os.fsdecode(name), None, None]
        digest.update(json.dumps(facts).encode() + b"\n")
    return {"files": len(source.files), "sha256": digest.hexdigest()}
