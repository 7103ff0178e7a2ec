"""What a person is told at the end of a run: counts, distributions, drift."""

from collections.abc import Mapping
from typing import IO, Any

from pipelines import _job, _outputs, _tally
from pipelines._shard import Job
from savedmodels import distributions

_MOST_CLASSES = 10  # shown by name
_MOST_FEATURES = 3


def tell(
    job: Job,
    task: _job.Task,
    whole: Mapping[str, Any],
    file: IO[str],
    kept: Mapping[int, Mapping[str, Any]] | None = None,
) -> None:
    """Prints the summary, and draws drift where it can be judged.

    Args:
        job: What was done.
        task: The run.
        whole: The manifest of all.
        file: Where to print.
        kept: Manifests of the shards that an earlier run had finished.
    """
    for label, text in _lines(job, task, whole, kept or {}):
        print(f"{label:8} {text}", file=file)


def _lines(
    job: Job,
    task: _job.Task,
    whole: Mapping[str, Any],
    kept: Mapping[int, Mapping[str, Any]],
) -> list[tuple[str, str]]:
    to_stdout = job.layout.target == _outputs.STDOUT
    rows, refused, seconds = whole["rows"], whole["refused"], whole["seconds"]
    before = sum(manifest["rows"] + manifest["refused"] for manifest in kept.values())
    speed = (rows + refused - before) / max(seconds, 1e-9)
    lines = [
        (
            "Scored",
            f"{rows:,} of {rows + refused:,} rows in {seconds:.1f} s, "
            f"{speed:,.0f} rows/s",
        )
    ]
    if kept:
        text = f"{before:,} of these rows, which an earlier run had finished"
        lines.append(("Kept", text))
    model = f"{job.model}, version {job.version}, `{job.signature_name}`"
    lines.append(("Model", f"{model}, run by {task.engine}"))
    if job.source.others:
        text = f"{job.source.others:,} by ending, which is of no known kind"
        lines.append(("Skipped", text))
    if refused:
        where = "on stderr" if to_stdout else f"in {job.layout.errors}"
        lines.append(("Refused", f"{refused:,}, listed with the reasons {where}"))
    lines += _judged(job, task, whole["counts"])
    if not to_stdout:
        lines.append(("Scores", str(job.layout.target)))
    return lines


def _judged(
    job: Job, task: _job.Task, counts: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """What the answers look like, and whether that is as it was."""
    lines = []
    classes = counts.get("classes") or {}
    if classes:
        lines.append(("Classes", _shares(classes)))
    scores = counts.get("scores") or []
    if sum(scores):
        lines.append(("Best", _tenths(scores)))
    for name, value in _tally.metrics(counts.get("sums") or {}).items():
        shown = f"{value:.2%}" if name == "accuracy" else f"{value:.4g}"
        rows = int(counts["sums"].get("labelled") or counts["sums"].get("regressed", 0))
        lines.append(("Metric", f"{name} {shown} on {rows:,} labelled rows"))
    if not classes and not counts.get("drift"):
        return lines
    if not task.statistics:
        if job.path:
            lines.append(("Drift", "not judged: the version has no statistics"))
        return lines
    return lines + _drift(job, task.statistics, counts)


def _drift(
    job: Job, statistics: Mapping[str, Any], counts: Mapping[str, Any]
) -> list[tuple[str, str]]:
    indices = distributions.indices(statistics, counts["drift"], counts["classes"])
    if not indices:
        return [("Drift", "not judged: too few rows, whose share of chance is large")]
    worst = sorted(indices, key=lambda name: -indices[name])
    shown = ", ".join(f"{name} {indices[name]:.3f}" for name in worst[:_MOST_FEATURES])
    verdict = distributions.verdict(indices[worst[0]])
    more = f" and {len(worst) - _MOST_FEATURES} less" * (len(worst) > _MOST_FEATURES)
    limits = f"{distributions.MODERATE} moved, {distributions.LARGE} drifted"
    lines = [("Drift", f"{verdict}: PSI {shown}{more} ({limits})")]
    if job.layout.target != _outputs.STDOUT:
        from pipelines import _drift_plot  # it brings matplotlib

        path = job.layout.plot
        _drift_plot.draw(path, f"{job.model} {job.version}", statistics, counts)
        lines.append(("Plot", str(path)))
    return lines


def _shares(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    names = sorted(counts, key=lambda name: -counts[name])
    shown = names[:_MOST_CLASSES]
    if len(shown) == len(names):
        shown = sorted(shown, key=int)
    text = ", ".join(f"{name}: {counts[name] / total:.1%}" for name in shown)
    return text + f", {len(names) - len(shown)} more" * (len(shown) < len(names))


def _tenths(counts: list[int]) -> str:
    """The best score of each row, the tenths that there are."""
    total = sum(counts)
    return "scores " + ", ".join(
        f"{place / 10:.1f}-{(place + 1) / 10:.1f}: {count / total:.1%}"
        for place, count in reversed(list(enumerate(counts)))
        if count
    )
