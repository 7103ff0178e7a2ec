"""Measures the server on this machine, beside others that answer for the same model."""

import argparse
import math
import pathlib
import tempfile
from collections.abc import Sequence

from pipelines import _bench_cells as cells
from pipelines import (
    _bench_contenders,
    _bench_figures,
    _bench_plot,
    _bench_report,
    _bench_requests,
    _bench_tools,
    _cli,
)
from pipelines._bench_contenders import POLL_S, Contenders
from pipelines._bench_processes import Processes
from pipelines._bench_rounds import Rounds
from pipelines._progress import Progress
from savedmodels import store
from serving.flag_types import positive


@_cli.command
def main(argv: Sequence[str]) -> int:
    """Starts all contenders, measures them in rounds, ends them, and writes."""
    arguments = _parser().parse_args(argv)
    version = store.version_path(
        pathlib.Path(arguments.store) / arguments.model, arguments.version
    ).absolute()
    _bench_requests.check_signature(version)
    packages = [*_bench_report.PACKAGES, *_bench_report.installed_peers()]
    about = _bench_report.machine(packages)
    output = _bench_report.make_folder(pathlib.Path(arguments.output))
    with (
        tempfile.TemporaryDirectory(prefix="maaskit-bench-") as folder,
        Processes(pathlib.Path(folder)) as processes,
    ):
        rounds = Rounds(
            processes,
            _bench_contenders.start(processes, version, arguments.model),
            arguments.seconds,
        )
        with Progress(arguments.rounds * rounds.steps, "steps") as progress:
            for number in range(arguments.rounds):
                rounds.measure(number, progress.add)
    about["measured"] = (
        f"{arguments.rounds} rounds of {arguments.seconds:g} s a cell, after a warm-up "
        f"of a quarter of that; {output.name}"
    )
    title = f"Serving {arguments.model}, version {version.name}"
    _write(output, title, about, rounds)
    return 0


def _write(
    output: pathlib.Path, title: str, about: dict[str, str], rounds: Rounds
) -> None:
    """The table on stdout; table, all rounds and plot as files."""
    running, timings = rounds.running, rounds.timings
    figures = _bench_figures.figures(
        running.engines, running.peers, timings, rounds.others
    )
    text = _bench_report.table(title, about, timings, figures, _notes(rounds))
    everything = _bench_report.results(about, timings, figures)
    _bench_plot.draw(output / _bench_report.PLOT, title, timings)
    _bench_report.publish(output, text, everything)


def _parser() -> argparse.ArgumentParser:
    parser = _cli.parser(__doc__)
    _cli.add_model(parser)
    _cli.add_store(parser)
    _cli.add_version(parser)
    add = parser.add_argument
    add("--seconds", type=_positive, default=2.0, help="seconds of each cell")
    add("--rounds", type=positive, default=5, help="how often each is measured")
    add("--output", metavar="DIR", default=_cli.BENCH, help="folder for the results")
    return parser


def _positive(text: str) -> float:
    """The type of `--seconds`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(
            f"a number above 0 was expected. Received: {text}"
        )
    return value


def _notes(rounds: Rounds) -> list[str]:
    """What this run lacks, and what was set for it."""
    running = rounds.running
    notes = [f"servers look for new versions every {POLL_S:g} s, not every second"]
    notes += _load_notes(running)
    if len(running.engines) == 1:
        notes.append("the version has no `model.tflite`, so LiteRT was not measured")
    if not running.has_tls:
        notes.append("there is no command `openssl`, so TLS was not measured")
    for name in cells.missing():
        instead = cells.STAND_INS.get(name)
        notes.append(
            f"{name} is not installed (`pip install '.[bench]'`), so "
            + (f"`{instead}` stands for it" if instead else "it was not measured")
        )
    notes += [
        f"{cell.contender} failed by {cell.protocol} with {cell.rows} rows a request, "
        f"{cell.in_flight} in flight, and is left out there: {error}"
        for cell, error in rounds.failed.items()
    ]
    return notes


def _load_notes(running: Contenders) -> list[str]:
    """What sent the requests."""
    notes = [
        f"load by {protocol} came from {running.tools[protocol]}"
        if protocol in running.tools
        else f"load by {protocol} came from a generator in Python, since "
        f"`{tool}` is not on PATH (Debian: {_bench_tools.PACKAGES[tool]})"
        for protocol, tool in _bench_tools.OF_PROTOCOL.items()
    ]
    return [
        *notes,
        "that of the p99 while a version loads came from Python in any case",
    ]


if __name__ == "__main__":
    raise SystemExit(main())
