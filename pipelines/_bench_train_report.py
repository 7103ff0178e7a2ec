"""What `make bench-train` makes of its rounds: figures, a table, a plot."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture

from pipelines import _bench_report as report
from pipelines import _bench_train_ways as ways
from pipelines._bench_figures import Figure
from pipelines._bench_statistics import spread
from pipelines._bench_train_ways import Answer

# What is hoped for: at least so much of what it is compared with, or at most.
LIMIT_AIM, TEXTBOOK_AIM, CHECKPOINTS_AIM = 0.92, 1.25, 0.03

_STEPS_BETWEEN = 100  # checkpoints as `make train` has them

Rounds = Mapping[str, Sequence[Answer]]

_PACKAGES = ("maaskit", "tensorflow", "keras", "tf-keras", "numpy")


def machine() -> dict[str, str]:
    """Returns what was measured on, as name and value."""
    return report.machine(_PACKAGES)


def figures(rounds: Rounds) -> list[Figure]:
    """Returns what follows from the rounds: ratios are taken within each."""

    def ratio(name: str, above: str, below: str, definition: str) -> Figure:
        pairs = zip(rounds[above], rounds[below], strict=True)
        values = [_rate(a) / _rate(b) for a, b in pairs]
        return Figure(above, name, f"examples/s, {definition}", values)

    def thrift(name: str, below: str, definition: str) -> Figure:
        pairs = zip(rounds[ways.FIT], rounds[below], strict=True)
        values = [_processor_ms(b) / _processor_ms(a) for a, b in pairs]
        return Figure(ways.FIT, name, definition, values)

    found = [
        ratio(
            "of the bare loop",
            ways.FIT,
            ways.LIMIT,
            f"divided by the bare loop's; hoped for: {LIMIT_AIM} or more",
        ),
        ratio(
            "of the textbook",
            ways.FIT,
            ways.TEXTBOOK,
            f"divided by the textbook's; hoped for: {TEXTBOOK_AIM} or more",
        ),
        thrift(
            "thrift beside the bare loop",
            ways.LIMIT,
            "processor time of the bare loop for an example, divided by fit's, which "
            "tells something where other programs run too",
        ),
        thrift(
            "thrift beside the textbook",
            ways.TEXTBOOK,
            "the same of the textbook",
        ),
        ratio(
            "pipeline of fit",
            ways.PIPELINE,
            ways.FIT,
            "of the pipeline alone, divided by fit's: how much faster it could feed",
        ),
        Figure(
            ways.FIT,
            "input wait",
            "share of the steps' time in which they waited for a batch",
            [answer["input_wait"] for answer in rounds[ways.FIT]],
        ),
    ]
    if ways.WITHIN in rounds:
        pairs = zip(rounds[ways.WITHIN], rounds[ways.BETWEEN], strict=True)
        costs = [_share_of_checkpoints(within, between) for within, between in pairs]
        definition = (
            f"share of the speed that a checkpoint every {_STEPS_BETWEEN} steps takes, "
            f"from what one takes of {ways.CHECKPOINT_STEPS}; hoped for: below "
            f"{CHECKPOINTS_AIM}"
        )
        found.append(Figure(ways.WITHIN, "checkpoints cost", definition, costs))
    for one, what in ((ways.on_devices(1), "device"), (ways.on_workers(1), "worker")):
        found += [
            ratio(f"of one {what}", name, one, f"divided by those of one {what}")
            for name in rounds
            if one in rounds and name != one and name.rstrip("s").endswith(what)
        ]
    return found


def table(
    title: str,
    about: Mapping[str, str],
    rounds: Rounds,
    found: Sequence[Figure],
) -> str:
    """Returns the tables and what their words mean, as Markdown.

    Args:
        title: First line.
        about: Machine and settings, by name.
        rounds: Answers of every way, one a round.
        found: What follows from them.
    """
    head = ["way", "examples/s", "processor ms an example", "input wait"]
    return "\n".join(
        [
            f"# {title}",
            "",
            *(f"- {name}: {value}" for name, value in about.items()),
            "",
            *report.aligned(head, (_row(name, rounds[name]) for name in rounds)),
            "",
            *report.aligned(report.FIGURES_HEAD, map(report.figure_row, found)),
            "",
            "All are medians over the rounds, with the lowest and highest round; the "
            "first step of a process is in none. Validation, checkpoints and pictures "
            "at the ends of epochs are between rounds.",
            "",
            *(f"- {name}: {ways.ABOUT[name]}" for name in rounds if name in ways.ABOUT),
            "- devices: parts of this machine's processor, in one process; the global "
            "batch stays, so that what is lost is the overhead",
            "- workers: processes that train together, likewise",
            "",
            *report.definitions(found),
            "",
        ]
    )


def results(
    about: Mapping[str, str], rounds: Rounds, found: Sequence[Figure]
) -> dict[str, Any]:
    """Returns everything, every round of it, ready for JSON."""
    return {
        "about": dict(about),
        "rounds": {name: [dict(answer) for answer in rounds[name]] for name in rounds},
        "figures": [
            {**dataclasses.asdict(figure), **dataclasses.asdict(figure.spread)}
            for figure in found
        ],
    }


def draw(path: pathlib.Path, title: str, rounds: Rounds) -> None:
    """Draws examples/s and processor time of every way, with the range of the rounds.

    Raises:
        OSError: The file cannot be written.
    """
    names = [name for name in rounds if name != ways.PIPELINE]
    size = (13, 0.5 * len(names) + 1.8)
    picture = Picture(figsize=size, layout="constrained")
    picture.suptitle(title)
    left, right = picture.subplots(1, 2, sharey=True)
    for axes, value, label in (
        (left, _rate, "examples/s"),
        (right, _processor_ms, "processor ms an example"),
    ):
        spreads = [spread([value(answer) for answer in rounds[name]]) for name in names]
        medians = [found.median for found in spreads]
        below = [found.median - found.low for found in spreads]
        above = [found.high - found.median for found in spreads]
        colours = ["C0" if name == ways.FIT else "C7" for name in names]
        axes.barh(names, medians, xerr=[below, above], capsize=4, color=colours)
        axes.set_xlabel(label)
        axes.grid(axis="x", alpha=0.3)
    left.invert_yaxis()
    FigureCanvasAgg(picture)
    picture.savefig(path)


def _share_of_checkpoints(within: Answer, between: Answer) -> float:
    """What checkpoints cost at `_STEPS_BETWEEN`, from a round with more of them."""
    bare = 1 / _rate(between)
    more = (1 / _rate(within) - bare) * ways.CHECKPOINT_STEPS / _STEPS_BETWEEN
    return more / (bare + more)


def _rate(answer: Answer) -> float:
    return answer["examples"] / answer["seconds"]


def _processor_ms(answer: Answer) -> float:
    return 1000 * answer["processor_seconds"] / answer["examples"]


def _row(name: str, answers: Sequence[Answer]) -> list[str]:
    waits = [answer["input_wait"] for answer in answers if "input_wait" in answer]
    return [
        name,
        report.with_range(spread([_rate(answer) for answer in answers])),
        report.with_range(spread([_processor_ms(answer) for answer in answers])),
        f"{spread(waits).median:.2%}" if waits else "",
    ]
