"""The store on disk: `<store>/<model>/<version>/`, read as TF Serving reads it.

A version is a folder whose name is an integer and that holds `saved_model.pb`. Anything
else, a staging folder of an export that is still running included, is not there.
"""

import pathlib
import re
from collections.abc import Sequence

from savedmodels.errors import VersionNotFoundError

SAVED_MODEL = "saved_model.pb"
LITERT_MODEL = "model.tflite"
ASSETS_EXTRA = "assets.extra"
PROVENANCE = f"{ASSETS_EXTRA}/provenance.json"
WARMUP_REQUESTS = f"{ASSETS_EXTRA}/tf_serving_warmup_requests"

# TF Serving parses names as int64, so "00000123" is version 123.
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


def parse_version(folder_name: str) -> int | None:
    """Returns the version that a folder's name stands for, or None.

    Args:
        folder_name: Name alone, without its path. Leading zeros are allowed.
    """
    return int(folder_name) if _NUMBER.fullmatch(folder_name) else None


def list_models(store: pathlib.Path) -> list[str]:
    """Returns the names of the models that have at least one version, sorted.

    Args:
        store: Folder of models. May be missing: there are no models then.
    """
    return sorted(path.name for path in _folders(store) if list_versions(path))


def list_versions(base_path: pathlib.Path) -> list[int]:
    """Returns the versions under `base_path`, ascending.

    Args:
        base_path: `<store>/<model>`. May be missing: there are no versions then.
    """
    return sorted(version_paths(base_path))


def ignored_duplicates(base_path: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folders whose version another folder stands for, as "001" for "1".

    Args:
        base_path: `<store>/<model>`.
    """
    chosen = set(version_paths(base_path).values())
    return [
        path
        for path in _folders(base_path)
        if parse_version(path.name) is not None
        and (path / SAVED_MODEL).is_file()
        and path not in chosen
    ]


def version_path(base_path: pathlib.Path, version: int | None = None) -> pathlib.Path:
    """Returns the folder of one version.

    Args:
        base_path: `<store>/<model>`.
        version: Version number; None for the highest there is.

    Raises:
        VersionNotFoundError: There is no such version, or none at all.
    """
    versions = version_paths(base_path)
    if not versions:
        raise VersionNotFoundError(_no_model(base_path))
    wanted = max(versions) if version is None else version
    if wanted not in versions:
        raise VersionNotFoundError(
            f"Model `{base_path.name}` has no version {wanted}. "
            f"Expected one of: {_listed(sorted(versions))}. Received: {wanted}."
        )
    return versions[wanted]


def version_paths(base_path: pathlib.Path) -> dict[int, pathlib.Path]:
    """Returns the folder of each version; of "1" and "001" the plain one stands for it.

    Args:
        base_path: `<store>/<model>`. May be missing: there are no versions then.
    """
    found: dict[int, pathlib.Path] = {}
    for path in _folders(base_path):
        version = parse_version(path.name)
        if version is None or not (path / SAVED_MODEL).is_file():
            continue
        if version not in found or path.name == str(version):
            found[version] = path
    return found


def _folders(path: pathlib.Path) -> list[pathlib.Path]:
    """The folders inside `path`, sorted by name; none where it is no folder."""
    try:
        return sorted(child for child in path.iterdir() if child.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _no_model(base_path: pathlib.Path) -> str:
    store = base_path.parent
    models = list_models(store)
    there = _listed(models) if models else "none yet"
    return (
        f"Model `{base_path.name}` has no version in `{store}`. "
        f"Models there: {there}. "
        f"To make one, type `make train MODEL={base_path.name}`."
    )


def _listed(items: Sequence[object]) -> str:
    return ", ".join(str(item) for item in items)
