"""Shards on a cluster by Apache Beam: each is scored by the worker that it lands on.

What travels is where a shard lies, and back its manifest; rows never do. So the store,
the input and the output must be where every worker finds them by the same path, and
this project installed there. A worker loads the model once.
"""

import functools
import logging
import threading
from collections.abc import Sequence

from pipelines import _shard
from pipelines._lanes import Done, Numbered
from pipelines._plan import Shard
from pipelines._scorer import Listener, Runs
from pipelines._shard import Job
from savedmodels.errors import MaaskitError, UsageError

_LEAST = "2.77"


def check() -> None:
    """Raises UsageError unless Beam is installed."""
    try:
        import apache_beam  # noqa: F401 -- only whether it is there
    except ImportError as error:
        raise UsageError(
            "This runner is Apache Beam's, which is not installed. It takes older "
            "numpy, pillow and pyarrow than the lock has: in an environment of its own "
            f"type `pip install 'apache-beam>={_LEAST}' .` and call `maaskit-score`; "
            "or leave RUNNER= out: the shards then run on all cores here. "
            f"Received: {error}."
        ) from error


def run(
    job: Job,
    todo: Sequence[Numbered],
    watch: Listener,
    done: Done,
    runner: str,
    options: Sequence[str],
) -> None:
    """Scores shards by a Beam pipeline, and waits for its end.

    Args:
        job: What is done.
        todo: The shards.
        watch: Is told of all rows once the pipeline has ended: no runner tells before.
        done: Takes the manifests.
        runner: Beam's name of the runner.
        options: Beam's options, as they were typed.

    Raises:
        MaaskitError: The pipeline failed; finished shards are kept.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions

    from pipelines import _atomic

    typed = PipelineOptions([f"--runner={runner}", *options])
    # What a worker needs is imported by it, not pickled from here.
    typed.view_as(SetupOptions).save_main_session = False
    pipeline = beam.Pipeline(options=typed)
    # Spread out again, for else one worker might get what was made in one place.
    _ = (
        pipeline
        | "shards" >> beam.Create(list(todo))
        | "spread" >> beam.Reshuffle()
        | "score" >> beam.Map(functools.partial(score, job))
    )
    try:
        pipeline.run().wait_until_finish()
    except Exception as error:  # each runner has its own
        logging.getLogger(__name__).debug("The pipeline failed", exc_info=True)
        raise MaaskitError(
            f"{runner} did not finish the run: {_last_line(error)} Finished shards are "
            "kept: type the same again to go on."
        ) from error
    for number, _ in todo:
        manifest = _atomic.read_json(job.layout.shard_manifest(number))
        if not manifest:
            continue  # whoever counts the shards says so
        watch.scored(manifest["rows"])
        done(manifest)


# One model for all shards that a worker process gets.
_loaded: dict[tuple[str, int, str], Runs] = {}
_lock = threading.Lock()


def _runs(job: Job) -> Runs:
    with _lock:
        key = (job.model, job.version, job.path)
        if key not in _loaded:
            _loaded[key] = job.load()
        return _loaded[key]


def score(job: Job, item: tuple[int, Shard]) -> int:
    """Scores one shard where it lands, and returns its number."""
    number, spans = item
    _shard.score(job, number, spans, _runs(job), Listener(), threads=0)
    return number


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__).rstrip(".") + "."
