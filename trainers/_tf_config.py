"""Which cluster this process belongs to, as the variable TF_CONFIG tells it.

    {"cluster": {"chief": ["host:port"], "worker": ["host:port", ...]},
     "task": {"type": "worker", "index": 0}}

`make train-workers`, Kubernetes operators and Slurm scripts set it for each process.
Without a `chief` worker 0 is the chief. Needs no TensorFlow.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

from savedmodels.errors import UsageError

VARIABLE = "TF_CONFIG"
# As TensorFlow counts them: the chief is the first.
_JOBS = ("chief", "worker")


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A cluster, and the place of this process in it.

    Attributes:
        addresses: Of all workers, the chief's first.
        job: `chief` or `worker`.
        index: Within the job.
        place: Among all workers, from 0.
    """

    addresses: tuple[str, ...]
    job: str
    index: int
    place: int

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes."""
        return self.place == 0


def read(environment: Mapping[str, str] = os.environ) -> Cluster | None:
    """Returns what TF_CONFIG says; None where it is not set or names no worker.

    Args:
        environment: Variables of the process.

    Raises:
        UsageError: It is malformed.
    """
    text = environment.get(VARIABLE, "").strip()
    if not text:
        return None
    try:
        content = json.loads(text)
    except ValueError as error:
        raise _malformed(f"it is no JSON: {error}", text) from error
    if not isinstance(content, dict) or not isinstance(
        content.get("cluster", {}), dict
    ):
        raise _malformed("it is no object with a `cluster`", text)
    jobs = {job: hosts for job, hosts in content.get("cluster", {}).items() if hosts}
    if not jobs:
        return None
    _check_jobs(jobs, text)
    task = content.get("task")
    if not isinstance(task, dict) or task.get("type") not in jobs:
        raise _malformed("`task` does not name a job of the cluster", text)
    try:
        index = int(task.get("index"))  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise _malformed("the `index` of `task` is no number", text) from error
    if not 0 <= index < len(jobs[task["type"]]):
        raise _malformed("the `index` of `task` is not in its job", text)
    chiefs = len(jobs.get("chief", ()))
    return Cluster(
        addresses=tuple(host for job in _JOBS for host in jobs.get(job, ())),
        job=task["type"],
        index=index,
        place=index if task["type"] == "chief" else chiefs + index,
    )


def written(addresses: list[str], place: int) -> str:
    """Returns the TF_CONFIG of one worker of a cluster without a `chief`.

    Args:
        addresses: Of all workers, `host:port` each.
        place: Of this one, from 0.
    """
    task = {"type": "worker", "index": place}
    return json.dumps({"cluster": {"worker": addresses}, "task": task})


def _check_jobs(jobs: Mapping[str, Any], text: str) -> None:
    unknown = sorted(set(jobs) - set(_JOBS))
    if unknown:
        raise _malformed(f"no such job trains here: {', '.join(unknown)}", text)
    for job, hosts in jobs.items():
        fits = isinstance(hosts, list) and all(map(_is_address, hosts))
        if not fits:
            raise _malformed(f"`{job}` is no list of host:port", text)
    every = [host for hosts in jobs.values() for host in hosts]
    if len(set(every)) < len(every):
        raise _malformed("two workers have the same address", text)
    if len(jobs.get("chief", ())) > 1:
        raise _malformed("there is more than one chief", text)


def _is_address(text: object) -> bool:
    if not isinstance(text, str):
        return False
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdecimal() and 0 < int(port) < 65536


def _malformed(why: str, text: str) -> UsageError:
    return UsageError(
        f"The variable {VARIABLE} names no cluster: {why}. Expected "
        '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", '
        '"index": 0}}, with an optional job `chief`. '
        f"Received: {text}."
    )
