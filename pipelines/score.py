"""Scores files with an exported version or through servers, and can be interrupted."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from pipelines import (
    _atomic,
    _cli,
    _folder,
    _job,
    _lanes,
    _outputs,
    _plan,
    _score_flags,
    _summary,
    _tally,
)
from pipelines._progress import Progress
from pipelines._scorer import Listener
from pipelines._sources import Refusal
from savedmodels.errors import MaaskitError, UsageError

EXIT_REFUSED, EXIT_TOO_MANY = 3, 4


class TooManyRefusedError(MaaskitError):
    """More rows were refused than was allowed."""

    exit_code = EXIT_TOO_MANY


@_cli.command
def main(argv: Sequence[str]) -> int:
    """Runs files -> shards -> batches -> model -> output, and sums up."""
    argv, options = _divided(list(argv))
    arguments = _score_flags.parser(__doc__).parse_args(argv)
    if options and arguments.runner not in _score_flags.BEAM:
        raise UsageError(
            "Options after `--` are Beam's. Expected --runner to be one of: "
            f"{', '.join(_score_flags.BEAM)}. Received: {arguments.runner}."
        )
    if arguments.runner in _score_flags.BEAM:
        from pipelines import _beam  # it asks for Beam, which may not be installed

        _beam.check()
    task = _job.prepare(arguments)
    if arguments.output == "-":
        return _to_stdout(task, arguments)
    folder = _folder.Folder(task.job.layout, task.fits)
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
    folder: _folder.Folder,
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
    if arguments.runner in _score_flags.BEAM:
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


if __name__ == "__main__":
    raise SystemExit(main())
