"""From what was typed to what is done with every shard, before any work."""

import argparse
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines import (
    _batches,
    _found,
    _inputs,
    _layout,
    _outputs,
    _plan,
    _sources,
    _tuning,
)
from pipelines._plan import Shard
from pipelines._reading import Wanted
from pipelines._scorer import Runs
from pipelines._shard import Job
from pipelines._sources import Refusal, Row, Source
from savedmodels.errors import UsageError
from serving.flag_types import positive


@dataclasses.dataclass(frozen=True)
class Task:
    """A run: what is done, and with what.

    Attributes:
        job: What is done with every shard.
        runs: Answers, in this process.
        engine: `litert`, `tensorflow` or the servers.
        in_flight: Batches at once where one thread reads; None for the cores.
        shards: The input in parts.
        fits: What a finished shard must be of to be kept.
        statistics: The version's own statistics; empty where it has none.
    """

    job: Job
    runs: Runs
    engine: str
    in_flight: int | None
    shards: Sequence[Shard]
    fits: dict[str, Any]
    statistics: Mapping[str, Any]


def prepare(arguments: argparse.Namespace) -> Task:
    """Finds the input and the version, and holds one against the other.

    Args:
        arguments: What was typed.

    Raises:
        UsageError: Something typed does not name or fit what there is.
        ServingError: The version cannot be loaded, or the servers do not answer.
    """
    # What costs nothing first: a slip of the keyboard is told before a model is loaded.
    layout = _target(arguments.output)
    _check(arguments)
    wanted, truth = _wanted(arguments)
    source = _source(arguments, layout)
    upstream = bool(arguments.upstream)
    found = _found.servers(arguments) if upstream else _found.version(arguments)
    signature = _inputs.find_signature(
        found.signatures, arguments.signature, f"Version {found.version}"
    )
    row = _outputs.columns(signature, arguments.carry, _types(arguments, source))
    _batches.largest_batch(signature, None)
    _sources.preview(source, signature, wanted)
    shards = _plan.shards(source, signature, arguments.shard_rows)
    if layout.target == _outputs.STDOUT:
        shards = [[span for shard in shards for span in shard]]
    facts = {
        "model": arguments.model,
        "version": found.version,
        "signature": arguments.signature,
        "run_by": found.engine,
    }
    job = Job(
        model=arguments.model,
        version=found.version,
        path=found.path,
        servers=arguments.upstream,
        signature_name=arguments.signature,
        signature=signature,
        source=source,
        wanted=wanted,
        carried=len(arguments.carry),
        truth=truth,
        row=row,
        layout=dataclasses.replace(layout, shards=len(shards)),
        batch_rows=None,
        baseline=found.statistics,
        facts=facts,
    )
    fits = _fits(arguments, job, found.content)
    return Task(
        job, found.runs, found.engine, found.in_flight, shards, fits, found.statistics
    )


def _fits(arguments: argparse.Namespace, job: Job, content: str) -> dict[str, Any]:
    """What a shard of an earlier run must be of to be kept."""
    fits = {
        "input": _plan.identity(job.source),
        "model": {**job.facts, "content": content},
        "options": {
            "key": job.wanted.key,
            "carry": list(arguments.carry),
            "truth": arguments.truth if arguments.metrics else None,
            "batch_size": arguments.batch_size,
            "shards": job.layout.shards,
            "shard_rows": arguments.shard_rows,
            "output": job.layout.target.name,
        },
    }
    if job.source.stdin is not None:
        # Nobody knows what comes: what was made of it before is of no use.
        fits["input"] = {"read": os.urandom(8).hex()}
    return fits


def tuned(task: Task, earlier: Mapping[str, Any], asked: int | None) -> Job:
    """Returns the job with the size of its batches.

    Args:
        task: The run.
        earlier: What an interrupted run of the same left, which had a size already.
        asked: What was typed; None for the fastest.
    """
    job = task.job
    most = _batches.largest_batch(job.signature, asked)
    if most is None:
        most = earlier.get("batch_rows")
    if most is None:
        total = sum(map(_plan.rows, task.shards))
        items: Iterable[Row | Refusal] = ()
        if job.source.stdin is None:
            items = _sources.read(
                job.source, job.signature, lambda about, text: None, job.wanted
            )
        most = _tuning.rows(task.runs, job.signature_name, items, total)
    return dataclasses.replace(job, batch_rows=most)


def _target(output: str) -> _layout.Layout:
    if output == "-":
        return _layout.Layout(_outputs.STDOUT)
    return _layout.of(output)


def _check(arguments: argparse.Namespace) -> None:
    upstream = arguments.runner == "upstream"
    if upstream != bool(arguments.upstream):
        raise UsageError(
            "Servers are asked with both, as in `--runner=upstream "
            "--upstream=127.0.0.1:8500`. Received: "
            f"--runner={arguments.runner} --upstream={','.join(arguments.upstream)}."
        )
    if arguments.label is not None and not upstream:
        raise UsageError(
            "Labels are given by servers. Expected --version=N, or --runner=upstream. "
            f"Received: --label={arguments.label}."
        )
    if arguments.label is not None and arguments.version is not None:
        raise UsageError("Expected --version or --label. Received: both.")
    local = arguments.runner in ("local", "upstream")
    if "-" in (arguments.input, arguments.output) and not local:
        raise UsageError(
            "Beam's workers have no standard input or output. Expected files. "
            f"Received: --input={arguments.input} --output={arguments.output}."
        )


def _wanted(arguments: argparse.Namespace) -> tuple[Wanted, int | None]:
    """The columns beside the inputs, and the place of the true answer among them."""
    columns = list(arguments.carry)
    truth = None
    if arguments.metrics:
        if arguments.truth not in columns:
            columns.append(arguments.truth)
        truth = columns.index(arguments.truth)
    return Wanted(arguments.key, tuple(columns)), truth


def _source(arguments: argparse.Namespace, layout: _layout.Layout) -> Source:
    leave_out = [layout.target, layout.errors, layout.work]
    if layout.target != _outputs.STDOUT:
        leave_out += layout.found()
    return _sources.find(arguments.input, leave_out=leave_out)


def _types(arguments: argparse.Namespace, source: Source) -> list[str]:
    """Types of what is carried along, as Parquet files of the input have them."""
    first = source.files[0]
    if not first.lower().endswith(".parquet") or not arguments.carry:
        return []
    from pipelines import _parquet  # it brings pyarrow

    return _parquet.types(source.root / first, arguments.carry)


def batch_size(text: str) -> int | None:
    """The type of `--batch-size`: None stands for auto."""
    try:
        return None if text == "auto" else positive(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"expected `auto`, or 1 or more. Received: {text}"
        ) from None
