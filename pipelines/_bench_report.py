"""What `make bench` leaves behind: a table, the figures of every round, a plot."""

import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines import _bench_cells as cells
from pipelines._bench_cells import Cell
from pipelines._bench_figures import Figure
from pipelines._bench_rounds import Timings
from pipelines._bench_statistics import Spread, spread
from savedmodels.errors import MaaskitError

TABLE, RESULTS, PLOT = "table.md", "results.json", "plot.png"
FIGURES_HEAD = ("contender", "figure", "median", "lowest", "highest")

PACKAGES = (
    "maaskit",
    "tensorflow",
    "keras",
    "ai-edge-litert",
    "grpcio",
    "uvicorn",
    "httptools",
    "uvloop",
    "numpy",
)


def make_folder(parent: pathlib.Path, prefix: str = "") -> pathlib.Path:
    """Makes the folder of one benchmark, named after this second, and returns it.

    Raises:
        MaaskitError: It cannot be written to.
    """
    folder = parent / f"{prefix}{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MaaskitError(f"Cannot write {folder}: {error.strerror}.") from error
    return folder


def machine(packages: Sequence[str]) -> dict[str, str]:
    """Returns what was measured on and with, as name and value."""
    return {
        "processor": _processor(),
        "cores": f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} may be used",
        "load": f"{os.getloadavg()[0]:.2f} in the minute before",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: _package_version(name) for name in packages},
    }


def table(
    title: str,
    about: Mapping[str, str],
    timings: Timings,
    figures: Sequence[Figure],
    notes: Sequence[str],
) -> str:
    """Returns the tables and what their words mean, as Markdown.

    Args:
        title: First line.
        about: Machine and settings, by name.
        timings: Of every cell, one a round.
        figures: What follows from them.
        notes: Sentences about this run alone.
    """
    used = {cell.contender for cell in timings}
    return "\n".join(
        [
            f"# {title}",
            "",
            *(f"- {name}: {value}" for name, value in about.items()),
            *(f"- {note}" for note in notes),
            "",
            *aligned(
                ["protocol", "rows", "in flight", "contender"]
                + ["requests/s", "p50 ms", "p99 ms"],
                (_cell_row(cell, timings) for cell in timings),
            ),
            "",
            *aligned(
                FIGURES_HEAD,
                (figure_row(figure) for figure in figures),
            ),
            "",
            "All are medians over the rounds, with the lowest and highest round. What "
            "sends the requests runs on the same machine and takes its part of the "
            "cores.",
            "",
            *(f"- {name}: {cells.ABOUT[name]}" for name in cells.ABOUT if name in used),
            "",
            *definitions(figures),
            "",
        ]
    )


def results(
    about: Mapping[str, str], timings: Timings, figures: Sequence[Figure]
) -> dict[str, Any]:
    """Returns everything, every round of it, ready for JSON."""
    return {
        "about": dict(about),
        "cells": [
            {
                **dataclasses.asdict(cell),
                "rounds": [dataclasses.asdict(timing) for timing in timings[cell]],
            }
            for cell in timings
        ],
        "figures": [
            {**dataclasses.asdict(figure), **dataclasses.asdict(figure.spread)}
            for figure in figures
        ],
    }


def publish(folder: pathlib.Path, text: str, everything: Mapping[str, Any]) -> None:
    """Writes the table and the results beside the plot, and says it all.

    Raises:
        MaaskitError: The disk is full, or fails.
    """
    try:
        (folder / TABLE).write_text(text, encoding="utf-8")
        (folder / RESULTS).write_text(json.dumps(everything, indent=1) + "\n")
    except OSError as error:
        raise MaaskitError(f"Cannot write {folder}: {error.strerror}.") from error
    print(text)
    for file in (TABLE, RESULTS, PLOT):
        print(f"written  {folder / file}")


def number(value: float) -> str:
    """Returns a number with three digits that count, as in 12,345 or 1.23."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _cell_row(cell: Cell, timings: Timings) -> list[str]:
    rounds = timings[cell]
    return [
        cell.protocol,
        str(cell.rows),
        str(cell.in_flight),
        cell.contender,
        with_range(spread([timing.requests_per_s for timing in rounds])),
        with_range(spread([timing.p50_ms for timing in rounds])),
        with_range(spread([timing.p99_ms for timing in rounds])),
    ]


def figure_row(figure: Figure) -> list[str]:
    """Returns a line of the table of figures."""
    found = figure.spread
    values = [found.median, found.low, found.high]
    return [figure.contender, figure.name, *map(number, values)]


def with_range(found: Spread) -> str:
    """Returns a median with the lowest and highest value."""
    return f"{number(found.median)} ({number(found.low)} to {number(found.high)})"


def definitions(figures: Iterable[Figure]) -> list[str]:
    """Returns each figure's definition once."""
    known = {figure.name: figure.definition for figure in figures}
    return [f"- {name}: {definition}." for name, definition in known.items()]


def aligned(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Returns a table of Markdown that also reads well as text."""
    lines = [list(head), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return [
        "| " + " | ".join(map(str.ljust, line, widths)) + " |"  # noqa: B905
        for line in lines
    ]


def _processor() -> str:
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def installed_peers() -> list[str]:
    """Returns the packages of those servers of others that can be measured."""
    missing = cells.missing()
    return [package for name, package in cells.PACKAGES.items() if name not in missing]


def _package_version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed: run from its source"
