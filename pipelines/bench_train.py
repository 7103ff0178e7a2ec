"""Measures training beside a bare loop and a textbook's script, in one run."""

import argparse
import pathlib
import tempfile
from collections.abc import Sequence

from pipelines import _bench_report, _bench_train_report, _cli
from pipelines._bench_processes import Processes
from pipelines._bench_train_ways import Answer, Bench, Way, planned
from pipelines._progress import Progress
from serving.flag_types import positive
from trainers import _catalog


@_cli.command
def main(argv: Sequence[str]) -> int:
    """Starts all ways, trains with them in turns, and puts the figures side by side."""
    arguments = _parser().parse_args(argv)
    _catalog.check_model(arguments.model)
    about = _bench_train_report.machine()
    output = _bench_report.make_folder(pathlib.Path(arguments.output), "train-")
    ways = planned(arguments.devices, arguments.workers)
    with (
        tempfile.TemporaryDirectory(prefix="maaskit-bench-") as folder,
        Processes(pathlib.Path(folder)) as processes,
    ):
        settings = [f"datasets_dir={pathlib.Path(arguments.datasets).absolute()}"]
        settings += arguments.set
        bench = Bench(processes, ways, arguments.model, settings, arguments.steps)
        rounds = _measured(bench, ways, arguments.rounds)
    examples = rounds[ways[0].name][0]["examples"]
    about["measured"] = (
        f"{arguments.rounds} rounds of {examples:,.0f} examples, after one that does "
        f"not count; {output.name}"
    )
    _write(output, f"Training {arguments.model}", about, rounds)
    return 0


def _measured(bench: Bench, ways: Sequence[Way], count: int) -> dict[str, list[Answer]]:
    """The answers of each way. Each round begins with another one."""
    rounds: dict[str, list[Answer]] = {way.name: [] for way in ways}
    with Progress((count + 1) * len(ways), "trainings") as progress:
        for way in ways:
            bench.once(way)  # compiles
            progress.add(1)
        for number in range(count):
            first = number % len(ways)
            for way in [*ways[first:], *ways[:first]]:
                rounds[way.name].append(bench.once(way))
                progress.add(1)
    return rounds


def _write(
    output: pathlib.Path,
    title: str,
    about: dict[str, str],
    rounds: dict[str, list[Answer]],
) -> None:
    """The table on stdout; table, all rounds and plot as files."""
    found = _bench_train_report.figures(rounds)
    text = _bench_train_report.table(title, about, rounds, found)
    everything = _bench_train_report.results(about, rounds, found)
    _bench_train_report.draw(output / _bench_report.PLOT, title, rounds)
    _bench_report.publish(output, text, everything)


def _parser() -> argparse.ArgumentParser:
    parser = _cli.parser(__doc__)
    _cli.add_model(parser)
    _cli.add_datasets(parser)
    add = parser.add_argument
    add(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="one field of the model's Config, as in global_batch_size=64",
    )
    add("--rounds", metavar="N", type=positive, default=5, help="rounds")
    add("--steps", metavar="N", type=int, default=100, help="of a round; 0: an epoch")
    add(
        "--devices",
        metavar="N,...",
        type=_counts,
        default=(1, 2, 4),
        help="parts of the processor to train on; empty: none (default: 1,2,4)",
    )
    add(
        "--workers",
        metavar="N,...",
        type=_counts,
        default=(1, 2),
        help="processes that train together; empty: none (default: 1,2)",
    )
    add("--output", metavar="DIR", default=_cli.BENCH, help="folder for the results")
    return parser


def _counts(text: str) -> tuple[int, ...]:
    """The type of `--devices` and `--workers`."""
    return tuple(positive(part) for part in text.split(",") if part)


if __name__ == "__main__":
    raise SystemExit(main())
