"""Where a version comes from: `assets.extra/provenance.json`.

    created            UTC, ISO 8601
    config             every field of the training's Config
    dataset            name, version, licence, source, sha256 and sizes of the data
    started_from       pretrained weights that the training began with: name, sha256;
                       null where it began with random ones
    metrics            measured on the test split
    statistics         how its inputs and answers on that split are distributed: see
                       savedmodels/distributions.py; batch scoring tells drift by it
    training_seconds   how long the training took, by the clock
    code_revision      git commit, "-dirty" where files differ; null outside git
    packages           versions of what was used
    python, machine    interpreter and platform
    check              what the check before publishing found: see savedmodels/verify.py

`collect` gathers all but the last, which the export adds.
"""

import datetime
import importlib.metadata
import json
import math
import pathlib
import platform
import subprocess
from collections.abc import Mapping
from typing import Any

from savedmodels import store
from savedmodels.errors import MaaskitError

_PACKAGES = (
    "ai-edge-litert",
    "babel",
    "gensim",
    "keras",
    "maaskit",
    "numpy",
    "protobuf",
    "sacrebleu",
    "sentencepiece",
    "tensorflow",
    "tensorflow-datasets",
    "tensorflow-text",
    "tf-keras",
    "tf-models-official",
)


def collect(
    *,
    config: Mapping[str, Any],
    metrics: Mapping[str, float],
    dataset: Mapping[str, Any],
    training_seconds: float,
    started_from: Mapping[str, str] | None = None,
    statistics: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns what is known of a model's origin once it is trained.

    Args:
        config: Every field of its Config.
        metrics: Measured on the test split.
        dataset: Name, version, licence, source, sha256 and sizes of the data.
        training_seconds: Wall time of the training.
        started_from: What pretrained weights it began with, if any.
        statistics: How inputs and answers on the test split are distributed, if known.
    """
    now = datetime.datetime.now(datetime.UTC)
    return {
        "created": now.isoformat(timespec="seconds"),
        "config": config,
        "dataset": dataset,
        "started_from": started_from,
        "metrics": metrics,
        "statistics": statistics,
        "training_seconds": round(training_seconds, 1),
        "code_revision": code_revision(),
        "packages": packages(),
        "python": platform.python_version(),
        "machine": platform.platform(),
    }


def write(version_path: pathlib.Path, record: Mapping[str, Any]) -> None:
    """Writes the record of a version; makes the folder it lies in.

    Args:
        version_path: Folder of the version.
        record: Tuples become lists, paths and dates strings, numpy scalars numbers, NaN
            and infinity null.

    Raises:
        OSError: It could not be written.
    """
    path = version_path / store.PROVENANCE
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(_plain(record), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def read(version_path: pathlib.Path) -> dict[str, Any]:
    """Returns the record of a version; empty where it was made elsewhere.

    Raises:
        MaaskitError: The record is broken.
    """
    path = version_path / store.PROVENANCE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise MaaskitError(
            f"`{path}` is broken. Expected the JSON that an export writes. "
            f"Received: {error}."
        ) from error
    if not isinstance(record, dict):
        raise MaaskitError(
            f"`{path}` is broken. Expected a JSON object. "
            f"Received: {type(record).__name__}."
        )
    return record


def code_revision(file: pathlib.Path = pathlib.Path(__file__)) -> str | None:
    """Returns the git commit of the code that runs.

    Args:
        file: A file of that code. Installed code lies in nobody's repository, even
            where its environment lies inside one.

    Returns:
        40 hex digits, with "-dirty" where a file differs from the commit or is not in
        it; None where `file` is not under git, or git is not there.
    """
    try:
        _git(file, "ls-files", "--error-unmatch", file.name)
        commit = _git(file, "rev-parse", "HEAD")
        changes = _git(file, "status", "--porcelain")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}-dirty" if changes else commit


def packages() -> dict[str, str]:
    """Returns the versions of the packages that matter here and are installed."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _git(file: pathlib.Path, *arguments: str) -> str:
    """What git says in the folder of `file`."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=file.parent,
        check=True,
        capture_output=True,
        text=True,
        timeout=10,
    )
    return done.stdout.strip()


def _plain(value: Any) -> Any:
    """`value` out of the types that JSON has."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # a numpy array or scalar, or one of TensorFlow's
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)
