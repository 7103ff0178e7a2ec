"""The plot of `make bench`: requests/s and latency of every contender."""

import pathlib
from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from pipelines import _bench_cells as cells
from pipelines._bench_rounds import Timings
from pipelines._bench_statistics import Spread, Timing, spread

# There are ten; a stand-in has that of the server that it stands for.
_ORIGINALS = {stand_in: name for name, stand_in in cells.STAND_INS.items()}
_NAMES = [name for name in cells.ABOUT if name not in _ORIGINALS]
_COLOURS = {
    name: f"C{_NAMES.index(_ORIGINALS.get(name, name))}" for name in cells.ABOUT
}


def draw(path: pathlib.Path, title: str, timings: Timings) -> None:
    """Draws a column for each protocol and size of request.

    Args:
        path: PNG to write.
        title: First line.
        timings: Of every cell, one a round.

    Raises:
        OSError: The file cannot be written.
    """
    columns = [(protocol, rows) for rows in cells.ROWS for protocol in ("gRPC", "REST")]
    figure = Figure(figsize=(5 * len(columns), 13), layout="constrained")
    figure.suptitle(title, fontsize=15)
    grid = figure.subplots(3, len(columns), sharey="row", squeeze=False)
    for place, (protocol, rows) in enumerate(columns):
        of_column = {
            cell: rounds
            for cell, rounds in timings.items()
            if cell.rows == rows and cell.protocol in (protocol, cells.CALLS)
        }
        plural = "row" if rows == 1 else "rows"
        grid[0][place].set_title(f"{protocol}, {rows} {plural} a request")
        _draw(grid[0][place], of_column, lambda timing: timing.requests_per_s)
        _draw(grid[1][place], of_column, lambda timing: timing.p50_ms)
        _draw(grid[2][place], of_column, lambda timing: timing.p99_ms)
        grid[2][place].set_xlabel("requests in flight")
        grid[0][place].legend(fontsize="small")
    for line, label in enumerate(("requests/s", "p50, ms", "p99, ms")):
        grid[line][0].set_ylabel(label)
    FigureCanvasAgg(figure)
    figure.savefig(path)


def _draw(axes: Axes, timings: Timings, value: Callable[[Timing], float]) -> None:
    """A line for each contender, with the range of its rounds."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(cells.IN_FLIGHT, [str(number) for number in cells.IN_FLIGHT])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
    for name in dict.fromkeys(cell.contender for cell in timings):
        found = {
            cell: spread([value(timing) for timing in rounds])
            for cell, rounds in timings.items()
            if cell.contender == name
        }
        _draw_line(axes, name, {cell.in_flight: s for cell, s in found.items()})


def _draw_line(axes: Axes, name: str, spreads: dict[int, Spread]) -> None:
    x = list(spreads)
    medians = [found.median for found in spreads.values()]
    if name == cells.IN_PROCESS:
        label = f"{name}, one after another"
        axes.axhline(medians[0], color=_COLOURS[name], linestyle="--", label=label)
        return
    below = [found.median - found.low for found in spreads.values()]
    above = [found.high - found.median for found in spreads.values()]
    axes.errorbar(
        x,
        medians,
        [below, above],
        color=_COLOURS[name],
        marker="o",
        capsize=3,
        label=name,
    )
