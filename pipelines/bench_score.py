"""Measures batch scoring beside a bare tf.data loop over the same rows, in one run."""

import argparse
import pathlib
import tempfile
from collections.abc import Sequence

from pipelines import _bench_report, _bench_rows, _bench_score_cells, _cli
from pipelines._progress import Progress
from savedmodels import store
from savedmodels.errors import UsageError
from serving.flag_types import positive


@_cli.command
def main(argv: Sequence[str]) -> int:
    """Writes rows, scores them in every way, and puts the figures side by side."""
    arguments = _parser().parse_args(argv)
    base = pathlib.Path(arguments.store) / arguments.model
    version = store.version_path(base, arguments.version)
    signature = _bench_rows.signature(version)
    memory = [arguments.rows // 10, 2 * arguments.rows]
    if memory[0] < 1:
        raise UsageError(
            f"The rows are too few. Expected 10 or more. Received: {arguments.rows}."
        )
    folder = _bench_report.make_folder(pathlib.Path(arguments.output), "score-")
    with tempfile.TemporaryDirectory(prefix="bench-score-", dir=folder) as scratch:
        inputs = pathlib.Path(scratch) / "rows"
        inputs.mkdir()
        for ending in _bench_rows.ENDINGS:
            path = inputs / f"rows.{ending}"
            _bench_rows.write(path, signature, arguments.rows)
        bench = _bench_score_cells.Bench(
            arguments.model, version, inputs, pathlib.Path(scratch), arguments.workers
        )
        ways = bench.ways()
        runs = arguments.rounds * len(ways) + len(memory)
        with Progress(runs, "runs") as progress:
            rounds: list[dict[str, float]] = []
            for _ in range(arguments.rounds):
                rounds.append({})
                for name, once in ways.items():
                    rounds[-1][name] = once()
                    progress.add(1)
            peaks = {}
            for rows in memory:
                path = pathlib.Path(scratch) / f"{rows}.tfrecord"
                _bench_rows.write(path, signature, rows)
                peaks[rows] = bench.peak(path)
                progress.add(1)
                path.unlink()
    figures = {
        "model": arguments.model,
        "version": int(version.name),
        "rows": arguments.rows,
        "rows_per_s": rounds,
        "peak_bytes": peaks,
    }
    table = _bench_score_cells.table(arguments.rows, rounds, peaks)
    _bench_score_cells.draw(folder / _bench_report.PLOT, arguments.model, rounds)
    _bench_report.publish(folder, table, figures)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _cli.parser(__doc__)
    _cli.add_model(parser)
    _cli.add_store(parser)
    _cli.add_version(parser)
    add = parser.add_argument
    add("--rows", metavar="N", type=positive, default=200_000, help="rows")
    add("--rounds", metavar="N", type=positive, default=3, help="rounds")
    add("--workers", metavar="N", type=positive, default=2, help="processes")
    add("--output", metavar="DIR", default=_cli.BENCH, help="folder for the results")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
