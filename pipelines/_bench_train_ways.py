"""The ways of training that `make bench-train` compares, and what runs each of them."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines import _bench_train_process as process
from pipelines import _worker_processes
from pipelines._bench_processes import Process, Processes

FIT, LIMIT, TEXTBOOK = "fit", "bare loop", "textbook"
PIPELINE = "pipeline alone"
CHECKPOINT_STEPS = 10
BETWEEN = "fit, checkpoints at epochs"
WITHIN = f"fit, and every {CHECKPOINT_STEPS} steps"

ABOUT = {
    FIT: "the training loop of `make train`: its input pipeline, its callbacks",
    LIMIT: "with the same settings, a compiled step of the same model and optimizer, "
    "called over and over on batches that lie in memory: the limit",
    TEXTBOOK: "the same model's `model.fit(x, y, batch_size=32)` on numpy arrays, with "
    "TensorFlow as it comes",
    PIPELINE: "the input pipeline, whose batches nobody trains on",
    BETWEEN: "fit, which writes a checkpoint at the end of epochs alone",
    WITHIN: f"fit, which writes a checkpoint every {CHECKPOINT_STEPS} steps too: more "
    "often than anybody would, for what one costs is lost in the noise",
}

# A first round compiles; starting all processes at once takes a while.
_LIMIT_S = 3600

Answer = Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Way:
    """One line of the table.

    Attributes:
        name: Its name there.
        kind: What its process is asked for.
        set: Fields of the Config, as `field=value`.
        devices: As `--devices` of training has it.
        strategy: Likewise.
        workers: Processes that train together.
    """

    name: str
    kind: str = process.FIT
    set: tuple[str, ...] = ()
    devices: str = "auto"
    strategy: str = "default"
    workers: int = 0


def on_devices(count: int) -> str:
    """Returns the name of the way that trains on so many parts of the CPU."""
    return f"fit, {count} device{'s' * (count > 1)}"


def on_workers(count: int) -> str:
    """Returns the name of the way that so many processes train together."""
    return f"fit, {count} worker{'s' * (count > 1)}"


def planned(devices: Sequence[int], workers: Sequence[int]) -> list[Way]:
    """Returns all ways, in the order of the table.

    Args:
        devices: Numbers of logical devices.
        workers: Numbers of processes.
    """
    ways = [
        Way(FIT),
        Way(LIMIT, process.LIMIT),
        Way(TEXTBOOK, process.TEXTBOOK),
        Way(PIPELINE, process.PIPELINE),
        Way(BETWEEN, set=("checkpoint_steps=0",)),
        Way(WITHIN, set=(f"checkpoint_steps={CHECKPOINT_STEPS}",)),
    ]
    for count in devices:
        name = on_devices(count)
        ways.append(Way(name, devices=f"cpu:{count}", strategy="mirrored"))
    for count in workers:
        name = on_workers(count)
        ways.append(Way(name, strategy="multi_worker", workers=count))
    return ways


class Bench:
    """The processes of all ways, ready for rounds."""

    def __init__(
        self,
        processes: Processes,
        ways: Sequence[Way],
        model: str,
        settings: Sequence[str],
        steps: int,
    ) -> None:
        """Starts them one after the other, each until it could begin.

        Args:
            processes: Ends them.
            ways: What is measured.
            model: Model name.
            settings: Fields of its Config, as `field=value`.
            steps: Those of a round; 0 for a whole epoch.

        Raises:
            MaaskitError: One did not start.
        """
        self._processes = processes
        self._common = {"model": model, "steps": steps}
        self._settings = list(settings)
        self._of_way: dict[Way, list[Process]] = {}
        for way in ways:
            members = [self._start(way, cluster) for cluster in _clusters(way)]
            # Before the next: all of them at once would take each other's cores.
            for member in members:
                member.answer(_LIMIT_S)
            self._of_way[way] = members

    def once(self, way: Way) -> Answer:
        """Trains one round in one way, and returns what it took.

        Raises:
            MaaskitError: Its process ended.
        """
        members = self._of_way[way]
        for member in members:
            member.tell("")
        answers = [member.answer(_LIMIT_S) for member in members]
        used = sum(answer["processor_seconds"] for answer in answers)
        return answers[0] | {"processor_seconds": used}

    def _start(self, way: Way, cluster: Any) -> Process:
        job = {
            **self._common,
            "way": way.kind,
            "set": [*self._settings, *way.set],
            "devices": way.devices,
            "strategy": way.strategy,
            "runs": str(self._processes.folder / way.name),
        }
        if cluster:
            job["tf_config"] = cluster
        module = "pipelines._bench_train_process"
        return self._processes.start(way.name, module, json.dumps(job))


def _clusters(way: Way) -> list[Any]:
    """TF_CONFIG of each worker; one that is nobody's where there are none."""
    if not way.workers:
        return [None]
    with _worker_processes.addresses(way.workers) as found:
        cluster = {"worker": found}  # all held until each has another one
    return [
        {"cluster": cluster, "task": {"type": "worker", "index": rank}}
        for rank in range(way.workers)
    ]
