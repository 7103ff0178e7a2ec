"""The ways of scoring that `make bench-score` compares, and their figures."""

import functools
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipelines._bench_statistics import spread
from savedmodels import store
from savedmodels.errors import MaaskitError

BARE = "tf.data -> SavedModel"
LITERT, TENSORFLOW = "TFRecord, LiteRT", "TFRecord, TensorFlow"
PARQUET, JSONL, BEAM = "Parquet", "JSONL", "TFRecord, DirectRunner"
# What is hoped for: a share of the bare loop, and of Beam of the local run.
AIMS = {LITERT: 1.5, TENSORFLOW: 0.9, JSONL: 0.5, BEAM: 0.8}
MEMORY_AIM = 1.1
_PEAK_BATCH = 128

Round = Mapping[str, float]


class Bench:
    """Runs each way once, as a process of its own, as a person would type it."""

    def __init__(
        self,
        model: str,
        version: pathlib.Path,
        inputs: pathlib.Path,
        scratch: pathlib.Path,
        workers: int,
    ) -> None:
        """Makes a store beside the rows, with the version and one without LiteRT.

        Args:
            model: Model name.
            version: Folder of the version.
            inputs: Folder of the rows in every format.
            scratch: Folder for what nobody keeps.
            workers: Processes of a run.
        """
        self._model = model
        self._version = version
        self._inputs = inputs
        self._scratch = scratch
        self._workers = workers
        self._has_litert = (version / store.LITERT_MODEL).is_file()
        for kind in ("litert", "tensorflow"):
            copy = scratch / kind / model / version.name
            shutil.copytree(version, copy)
            if kind == "tensorflow":
                (copy / store.LITERT_MODEL).unlink(missing_ok=True)

    def ways(self) -> dict[str, Callable[[], float]]:
        """Returns every way that can be had here, each of which returns its rows/s."""
        found: dict[str, Callable[[], float]] = {BARE: self._bare}
        if self._has_litert:
            found[LITERT] = functools.partial(self._score, "litert", "tfrecord")
        found[TENSORFLOW] = functools.partial(self._score, "tensorflow", "tfrecord")
        found[PARQUET] = functools.partial(self._score, "litert", "parquet")
        found[JSONL] = functools.partial(self._score, "litert", "jsonl")
        if importlib.util.find_spec("apache_beam") is not None:
            typed = ["--runner=DirectRunner", "--"]
            typed.append(f"--direct_num_workers={self._workers}")
            typed.append("--direct_running_mode=multi_processing")
            found[BEAM] = functools.partial(self._score, "litert", "tfrecord", *typed)
        return found

    def peak(self, rows: pathlib.Path) -> int:
        """Returns the bytes that a run of one process takes at most.

        In batches of one size: they are what takes memory, and the size that is found
        out to be the fastest may be another in the next run.
        """
        self._run("litert", rows, ["--workers=1", f"--batch-size={_PEAK_BATCH}"])
        return self._peak

    def _bare(self) -> float:
        rows = self._inputs / "rows.tfrecord"
        command = [sys.executable, "-m", "pipelines._bench_bare"]
        done = subprocess.run(
            [*command, str(self._version), str(rows)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise MaaskitError(f"The bare loop failed: {done.stderr.strip()}")
        lines = (self._inputs / "rows.jsonl").open("rb")
        with lines:
            count = sum(1 for _ in lines)
        return count / float(done.stdout)

    def _score(self, kind: str, ending: str, *more: str) -> float:
        typed = [f"--workers={self._workers}", *more]
        return self._run(kind, self._inputs / f"rows.{ending}", typed)

    def _run(self, kind: str, rows: pathlib.Path, typed: Sequence[str]) -> float:
        """Rows/s of a run, its processes' start included."""
        output = self._scratch / "scores.jsonl"
        arguments = [self._model, f"--store={self._scratch / kind}"]
        arguments += [f"--input={rows}", f"--output={output}", *typed]
        log = self._scratch / "log"
        with log.open("w") as told:
            process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.score", *arguments],
                stdout=told,
                stderr=told,
            )
            _, status, usage = os.wait4(process.pid, 0)
        if os.waitstatus_to_exitcode(status):
            raise MaaskitError(f"A run failed: {log.read_text().strip()}")
        self._peak = usage.ru_maxrss * 1024
        manifest = json.loads(
            output.with_name(f"{output.name}.manifest.json").read_text()
        )
        return float(manifest["rows"] / manifest["seconds"])


def table(rows: int, rounds: Sequence[Round], peaks: Mapping[int, int]) -> str:
    """Returns the figures for a person, medians of all rounds and their ranges."""
    lines = [
        f"{rows:,} rows, {len(rounds)} rounds; rows/s: median, lowest, highest",
        "",
    ]
    for name in rounds[0]:
        rates = spread([found[name] for found in rounds])
        line = f"{name:24} {rates.median:10,.0f} {rates.low:10,.0f} {rates.high:10,.0f}"
        other = LITERT if name == BEAM else BARE
        if name != BARE and other in rounds[0]:
            ratio = spread([found[name] / found[other] for found in rounds])
            line += f"   {ratio.median:5.2f} of `{other}`"
            if name in AIMS:
                line += f", hoped for {AIMS[name]}"
        lines.append(line)
    lines.append("")
    first = min(peaks)
    for count, size in sorted(peaks.items()):
        line = f"peak memory, {count:,} rows, 1 process, batches of {_PEAK_BATCH}: "
        line += f"{size / 2**20:,.0f} MiB"
        if count != first:
            share = size / peaks[first]
            line += f", {share:.2f} of the first, hoped for {MEMORY_AIM} at most"
        lines.append(line)
    return "\n".join(lines) + "\n"


def draw(path: pathlib.Path, title: str, rounds: Sequence[Round]) -> None:
    """Draws rows/s of every way, with the range of the rounds."""
    names = list(rounds[0])
    spreads = [spread([found[name] for found in rounds]) for name in names]
    medians = [found.median for found in spreads]
    below = [found.median - found.low for found in spreads]
    above = [found.high - found.median for found in spreads]
    figure = Figure(figsize=(9, 0.7 * len(names) + 1.5), layout="constrained")
    axes = figure.subplots()
    axes.barh(names, medians, xerr=[below, above], capsize=4)
    axes.invert_yaxis()
    axes.set_xlabel("rows/s")
    axes.set_title(f"{title}, scored")
    FigureCanvasAgg(figure)
    figure.savefig(path)
