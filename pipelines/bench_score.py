"""Measures batch scoring beside a bare tf.data loop over the same rows, in one run."""

import argparse
import datetime
import json
import pathlib
import tempfile
from collections.abc import Sequence

from pipelines import _bench_rows, _bench_score_cells, _cli, _job
from savedmodels import store
from savedmodels.errors import UsageError


@_cli.command
def main(argv: Sequence[str]) -> int:
    """Writes rows, scores them in every way, and puts the figures side by side."""
    arguments = _parser().parse_args(argv)
    base = pathlib.Path(arguments.store) / arguments.model
    version = store.version_path(base, arguments.version)
    signature = _bench_rows.signature(version)
    name = f"score-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    folder = pathlib.Path(arguments.out) / name
    folder.mkdir(parents=True)
    memory = [arguments.rows // 10, 2 * arguments.rows]
    if memory[0] < 1:
        raise UsageError(
            f"The rows are too few. Expected 10 or more. Received: {arguments.rows}."
        )
    with tempfile.TemporaryDirectory(prefix="bench-score-", dir=folder) as scratch:
        inputs = pathlib.Path(scratch) / "rows"
        inputs.mkdir()
        for ending in _bench_rows.ENDINGS:
            path = inputs / f"rows.{ending}"
            _bench_rows.write(path, signature, arguments.rows)
        bench = _bench_score_cells.Bench(
            arguments.model, version, inputs, pathlib.Path(scratch), arguments.workers
        )
        rounds = [bench.once() for _ in range(arguments.rounds)]
        peaks = {}
        for rows in memory:
            path = pathlib.Path(scratch) / f"{rows}.tfrecord"
            _bench_rows.write(path, signature, rows)
            peaks[rows] = bench.peak(path)
            path.unlink()
    figures = {
        "model": arguments.model,
        "version": int(version.name),
        "rows": arguments.rows,
        "rows_per_s": rounds,
        "peak_bytes": peaks,
    }
    (folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    table = _bench_score_cells.table(arguments.rows, rounds, peaks)
    (folder / "table.txt").write_text(table)
    _bench_score_cells.draw(folder / "plot.png", arguments.model, rounds)
    print(table)
    print(f"written to {folder}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _cli.parser(__doc__)
    _cli.add_model(parser)
    _cli.add_store(parser)
    _cli.add_version(parser)
    add = parser.add_argument
    add("--rows", metavar="N", type=_job.at_least_one, default=200_000, help="rows")
    add("--rounds", metavar="N", type=_job.at_least_one, default=3, help="rounds")
    add("--workers", metavar="N", type=_job.at_least_one, default=2, help="processes")
    add("--out", metavar="DIR", default=_cli.BENCH, help="folder of the figures")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
