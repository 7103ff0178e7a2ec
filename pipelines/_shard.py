"""One scorer for a shard: read, batch, run, write; the same wherever it runs."""

import dataclasses
import gc
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines import _atomic, _outputs, _plan, _scorer, _sources
from pipelines._formats import Columns
from pipelines._layout import Layout
from pipelines._outputs import ScoresFile
from pipelines._reading import Span, Wanted
from pipelines._scorer import Listener, Runs
from pipelines._sources import Source
from pipelines._tally import Judged, Tally
from serving import servable
from serving.servable import SignatureInfo


@dataclasses.dataclass(frozen=True)
class Job:
    """What is done with every shard. Can be sent to other processes and machines.

    Attributes:
        model: Model name.
        version: Version number.
        path: Folder of the version, the same on every machine; empty where servers
            answer.
        servers: `host:port` of servers that answer; empty where the version is loaded.
        signature_name: Signature.
        signature: What it takes and returns.
        source: The input.
        wanted: What is taken from it beside the inputs.
        carried: How many of these values go along to the scores, from the first on.
        truth: Place of the true answer among them, or None.
        row: What a row of scores holds.
        layout: Where the scores go.
        batch_rows: Most rows of a batch; None for as many as is sensible.
        baseline: The version's own statistics.
        facts: What every manifest says.
    """

    model: str
    version: int
    path: str
    servers: Sequence[str]
    signature_name: str
    signature: SignatureInfo
    source: Source
    wanted: Wanted
    carried: int
    truth: int | None
    row: Columns
    layout: Layout
    batch_rows: int | None
    baseline: Mapping[str, Any]
    facts: Mapping[str, Any]

    def load(self) -> Runs:
        """Returns what answers: the version in this process, or its servers."""
        if self.servers:
            from pipelines import _upstream  # it brings gRPC

            return _upstream.Upstream(self.servers, self.model, self.version)
        path = pathlib.Path(self.path)
        loaded = servable.load(
            path, self.model, self.version, only=[self.signature_name]
        )
        # TensorFlow is half a million objects that each full collection would walk.
        gc.collect()
        gc.freeze()
        return loaded


def score(
    job: Job,
    number: int,
    spans: Sequence[Span],
    runs: Runs,
    listener: Listener,
    threads: int | None = None,
) -> dict[str, Any]:
    """Scores one shard: its file appears, then its manifest.

    Args:
        job: What is done.
        number: Of the shard.
        spans: What it is made of.
        runs: Answers.
        listener: Is told how far it is.
        threads: As for `_scorer.answers`.

    Returns:
        The manifest.

    Raises:
        MaaskitError: The shard could not be written.
    """
    layout = job.layout
    to_stdout = layout.target == _outputs.STDOUT
    tally = Tally(Judged(job.signature, job.baseline, job.truth))
    with ScoresFile(
        _outputs.STDOUT if to_stdout else layout.data(number),
        job.row,
        layout.shard_errors(number),
        header=layout.is_sharded or number == 0,
    ) as output:
        items = _sources.read(
            job.source, job.signature, listener.note, job.wanted, spans
        )
        _scorer.score(
            runs,
            job.signature_name,
            items,
            output,
            listener,
            job.batch_rows,
            threads=threads,
            carried=job.carried,
            tally=tally,
        )
    manifest = {
        "shard": number,
        "of": layout.shards,
        "file": output.path.name,
        "input": _shown(spans),
        "rows": output.written,
        "refused": output.refused,
        "bytes": output.size,
        "sha256": output.sha256,
        **job.facts,
        "counts": tally.as_json(),
    }
    if not to_stdout:
        _atomic.write_json(layout.shard_manifest(number), manifest)
    return manifest


def _shown(spans: Sequence[Span]) -> dict[str, Any]:
    """Where a shard's rows come from, in a few words."""
    if not spans:
        return {}
    first, last = spans[0], spans[-1]
    return {
        "files": len(spans),
        "first": {"file": _text(first.file), "row": first.row},
        "last": {"file": _text(last.file), "row": last.row + last.rows - 1},
        "about": _plan.rows(spans),
    }


def _text(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
