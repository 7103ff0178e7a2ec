"""Scores files with an exported version or through servers, and can be interrupted."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from pipelines import (
    _atomic,
    _cli,
    _files,
    _formats,
    _job,
    _lanes,
    _layout,
    _outputs,
    _plan,
    _summary,
    _tally,
)
from pipelines._progress import Progress
from pipelines._scorer import Listener
from pipelines._sources import Refusal
from savedmodels.errors import MaaskitError, UsageError
from serving import servable
from serving.command_line import addresses, whole_number

BEAM = ("DirectRunner", "FlinkRunner", "SparkRunner", "DataflowRunner")
RUNNERS = ("local", "upstream", *BEAM)
EXIT_REFUSED, EXIT_TOO_MANY = 3, 4


class TooManyRefusedError(MaaskitError):
    """More rows were refused than was allowed."""

    exit_code = EXIT_TOO_MANY


@_cli.command
def main(argv: Sequence[str]) -> int:
    """Runs files -> shards -> batches -> model -> output, and sums up."""
    argv, options = _divided(list(argv))
    arguments = _parser().parse_args(argv)
    if options and arguments.runner not in BEAM:
        raise UsageError(
            "Options after `--` are Beam's. Expected --runner to be one of: "
            f"{', '.join(BEAM)}. Received: {arguments.runner}."
        )
    if arguments.runner in BEAM:
        from pipelines import _beam  # it asks for Beam, which may not be installed

        _beam.check()
    task = _job.prepare(arguments)
    if arguments.output == "-":
        return _to_stdout(task, arguments)
    folder = _layout.Folder(task.job.layout, task.fits)
    try:
        return _to_files(task, folder, arguments, options)
    finally:
        folder.close()


def _divided(argv: list[str]) -> tuple[list[str], list[str]]:
    """The command's own arguments, and those after `--`."""
    if "--" not in argv:
        return argv, []
    place = argv.index("--")
    return argv[:place], argv[place + 1 :]


def _to_stdout(task: _job.Task, arguments: argparse.Namespace) -> int:
    job = _job.tuned(task, {}, arguments.batch_size)
    total = sum(map(_plan.rows, task.shards)) or None
    spans = [span for shard in task.shards for span in shard]
    manifests: list[dict[str, Any]] = []
    with Progress(total, "rows") as progress:
        watch = _Watch(progress, arguments.max_errors)
        _lanes.one_by_one(job, task.runs, [(0, spans)], watch, manifests.append)
        seconds = progress.seconds
    whole = _whole(task, job, manifests, seconds)
    _summary.tell(job, task, whole, sys.stderr)
    return EXIT_REFUSED if whole["refused"] else 0


def _to_files(
    task: _job.Task,
    folder: _layout.Folder,
    arguments: argparse.Namespace,
    options: Sequence[str],
) -> int:
    if folder.changed:
        print(
            "note: starting over: finished shards there are of another "
            f"{', '.join(folder.changed)}",
            file=sys.stderr,
        )
    job = _job.tuned(task, folder.earlier, arguments.batch_size)
    run = {"fits": task.fits, "batch_rows": job.batch_rows}
    _atomic.write_json(job.layout.run, run)
    finished = folder.finished()
    kept = dict(finished)
    todo = [item for item in enumerate(task.shards) if item[0] not in finished]
    total = sum(_plan.rows(spans) for _, spans in todo)

    def done(manifest: dict[str, Any]) -> None:
        finished[manifest["shard"]] = manifest

    with Progress(total, "rows") as progress:
        refused = sum(manifest["refused"] for manifest in finished.values())
        watch = _Watch(progress, arguments.max_errors, refused)
        try:
            _run(task, job, todo, watch, done, arguments, options)
        except TooManyRefusedError:
            folder.list_errors(watch.lines, sorted(kept))
            raise
        seconds = progress.seconds
    whole = _whole(task, job, [finished[n] for n in sorted(finished)], seconds)
    folder.join(whole)
    _summary.tell(job, task, whole, sys.stdout, kept)
    return EXIT_REFUSED if whole["refused"] else 0


def _run(
    task: _job.Task,
    job: Any,
    todo: Sequence[_lanes.Numbered],
    watch: Listener,
    done: _lanes.Done,
    arguments: argparse.Namespace,
    options: Sequence[str],
) -> None:
    """Scores the shards that are left, the way that was asked for."""
    if not todo:
        return
    lanes = min(arguments.workers or os.cpu_count() or 1, len(todo))
    if arguments.runner in BEAM:
        from pipelines import _beam

        _beam.run(job, todo, watch, done, arguments.runner, options)
    elif arguments.runner == "upstream" or lanes == 1:
        threads = task.in_flight
        _lanes.one_by_one(job, task.runs, todo, watch, done, threads)
    elif task.engine == "litert":
        _lanes.in_processes(job, todo, watch, done, lanes)
    else:
        _lanes.in_threads(job, task.runs, todo, watch, done, lanes)


def _whole(
    task: _job.Task, job: Any, manifests: Sequence[dict[str, Any]], seconds: float
) -> dict[str, Any]:
    """The manifest of the whole run, whose shards are all there."""
    if len(manifests) != job.layout.shards:
        raise MaaskitError(
            f"Shards were lost: {job.layout.shards} were to be scored, "
            f"{len(manifests)} are there. Type the same again to do the rest."
        )
    names = ("file", "rows", "refused", "bytes", "sha256")
    whole = {
        **job.facts,
        "rows": sum(manifest["rows"] for manifest in manifests),
        "refused": sum(manifest["refused"] for manifest in manifests),
        "seconds": round(seconds, 3),
        "counts": _tally.added([manifest["counts"] for manifest in manifests]),
    }
    if job.layout.is_sharded:
        whole["shards"] = [{name: m[name] for name in names} for m in manifests]
    elif len(manifests) == 1:
        whole |= {name: manifests[0][name] for name in ("bytes", "sha256")}
    return whole


class _Watch(Listener):
    """Shows how far a run is, and ends it when too much is refused."""

    def __init__(self, progress: Progress, most: int | None, refused: int = 0) -> None:
        self._progress = progress
        self._most = most
        self._refused = refused
        self.lines: list[str] = []

    def scored(self, rows: int) -> None:
        self._progress.add(rows)

    def note(self, about: str, message: str) -> None:
        self._progress.note(about, message)

    def refused(self, refusal: Refusal) -> None:
        self._progress.add(1)
        self._refused += 1
        if self._most is None:
            return
        self.lines.append(_outputs.error_line(refusal))
        if self._refused > self._most:
            raise TooManyRefusedError(
                f"{self._refused:,} rows were refused. Expected at most "
                f"{self._most:,}. Received, as the last of them: {refusal.file}, "
                f"row {refusal.row}: {refusal.reason}"
            )


def _parser() -> argparse.ArgumentParser:
    parser = _cli.parser(__doc__)
    _cli.add_model(parser)
    add = parser.add_argument
    add(
        "--input",
        metavar="PATH",
        required=True,
        help="file, folder or quoted pattern of files that end in "
        f"{_files.ENDINGS}; - for JSON lines on standard input",
    )
    add(
        "--output",
        metavar="FILE",
        required=True,
        help=f"file to write, ends in {_formats.ENDINGS}; with one * or a folder, a "
        "file for each shard; - for JSON lines on standard output",
    )
    _cli.add_store(parser)
    _cli.add_version(parser)
    add("--label", metavar="NAME", help="version by its label, with --upstream")
    add(
        "--signature",
        metavar="NAME",
        default=servable.DEFAULT_SIGNATURE,
        help="signature",
    )
    add("--key", metavar="COLUMN", help="column whose value scores are found by")
    add("--carry", metavar="A,B", type=_names, default=(), help="columns to carry over")
    add("--metrics", action="store_true", help="compare answers with --truth")
    add("--truth", metavar="COLUMN", default="label", help="column of true answers")
    add("--max-errors", metavar="ROWS", type=whole_number, help="most rows refused")
    add("--runner", choices=RUNNERS, default="local", help="what runs the shards")
    add(
        "--upstream",
        metavar="HOST:PORT,...",
        type=addresses,
        default=(),
        help="servers that answer, for --runner=upstream",
    )
    add("--workers", metavar="N", type=whole_number, help="shards at once; all cores")
    add("--shard-rows", metavar="ROWS", type=_job.at_least_one, help="rows of a shard")
    add(
        "--batch-size",
        metavar="ROWS",
        type=_job.batch_size,
        default="auto",
        help="rows run at once; auto: the fastest, or 128 for few rows",
    )
    parser.epilog = (
        "Ends with 0 if every row was scored; 3 if all is done, but some rows were "
        "refused (listed in errors.jsonl, or <output>.errors.jsonl); 4 if more were "
        "refused than --max-errors; 1 if it could not be finished, and the same "
        "command goes on where it was; 2 if what was typed does not fit, and then "
        "writes nothing. Options after -- go to Beam."
    )
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


if __name__ == "__main__":
    raise SystemExit(main())
