"""The version that scores: loaded from the store, or behind servers."""

import argparse
import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

from pipelines import _inputs
from pipelines._scorer import Runs
from savedmodels import provenance, store
from serving.servable import SignatureInfo

# What tells the weights and the graph of one version from another's.
_CONTENT = (store.SAVED_MODEL, store.LITERT_MODEL, "variables/variables.index")


@dataclasses.dataclass(frozen=True)
class Found:
    """A version, loaded or behind servers.

    Attributes:
        version: Its number.
        path: Its folder; empty behind servers.
        signatures: By name.
        engine: `litert`, `tensorflow` or `servers`.
        runs: Answers.
        content: What tells it from another of the same number.
        in_flight: Batches at once where one thread reads; None for the cores.
        statistics: Its own statistics; empty where it has none.
    """

    version: int
    path: str
    signatures: Mapping[str, SignatureInfo]
    engine: str
    runs: Runs
    content: str
    in_flight: int | None = None
    statistics: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def version(arguments: argparse.Namespace) -> Found:
    """Loads the version that was asked for from the store.

    Raises:
        UsageError: There is no such version.
        ServingError: It cannot be loaded.
    """
    from serving import servable  # it brings LiteRT

    path = store.version_path(
        pathlib.Path(arguments.store) / arguments.model, arguments.version
    )
    loaded = servable.load(
        path, arguments.model, int(path.name), only=[arguments.signature]
    )
    _inputs.find_signature(
        loaded.signatures, arguments.signature, f"Version {loaded.version}"
    )
    return Found(
        version=loaded.version,
        path=str(path.absolute()),
        signatures=loaded.signatures,
        engine=loaded.engine(arguments.signature),
        runs=loaded,
        content=_content(path),
        statistics=provenance.read(path).get("statistics") or {},
    )


def servers(arguments: argparse.Namespace) -> Found:
    """Asks servers for the version that was asked for.

    Raises:
        ServingError: They do not answer, or have no such version.
    """
    from pipelines import _upstream  # it brings gRPC

    number, signatures = _upstream.find(
        arguments.upstream, arguments.model, arguments.version, arguments.label
    )
    runs = _upstream.Upstream(arguments.upstream, arguments.model, number)
    names = ", ".join(arguments.upstream)
    return Found(
        version=number,
        path="",
        signatures=signatures,
        engine="servers",
        runs=runs,
        content=names,
        in_flight=_upstream.MOST_IN_FLIGHT,
    )


def _content(path: pathlib.Path) -> str:
    """Checksum of a version; the index of its variables has those of their values."""
    digest = hashlib.sha256()
    for name in _CONTENT:
        try:
            digest.update((path / name).read_bytes())
        except FileNotFoundError:
            continue
    return digest.hexdigest()
