"""Where the versions of models lie, and whether the files of one have changed."""

import pathlib
from collections.abc import Mapping

from savedmodels import store
from serving.version_policy import Source
from serving.version_state import Files


def models_in(store_path: pathlib.Path) -> Mapping[str, Source] | None:
    """Returns the models of a store by name, as `VersionManager` asks for them.

    Args:
        store_path: Folder of models. Where it is missing (not made yet, or on a disk
            that is gone for the moment), the answer is None.
    """
    if not store_path.is_dir():
        return None
    return {
        path.name: Source(path)
        for path in sorted(store_path.iterdir())
        if path.is_dir() and store.list_versions(path)
    }


def no_versions(name: str, base_path: pathlib.Path) -> str:
    """Returns TF Serving's words for a base path without versions."""
    return (
        f"No versions of servable {name} found under base path {base_path}. "
        "Did you forget to name your leaf directory as a number (eg. '/1/')?"
    )


def problem_with(name: str, source: Source, numbers: set[int]) -> str:
    """Returns why there is less to load than was asked for or lies there, or "".

    Args:
        name: Model name.
        source: What was asked for.
        numbers: Versions that are there.
    """
    if not numbers:
        return no_versions(name, source.base_path)
    specific = source.policy.specific
    if specific is not None and not specific:
        return f"No specific versions of servable {name} are asked for: none is served."
    if missing := sorted((specific or set()) - numbers):
        return (
            f"Versions {missing} of servable {name}, which its version policy asks "
            f"for, were not found under base path {source.base_path}."
        )
    if ignored := store.ignored_duplicates(source.base_path):
        folders = ", ".join(path.name for path in ignored)
        return (
            f"Duplicate version directories detected. Under {source.base_path} these "
            f"are ignored: {folders}."
        )
    return ""


def files_of(path: pathlib.Path) -> Files:
    """Returns what tells one content of a version's folder from another."""
    found = set()
    for file in path.rglob("*"):
        try:
            stat = file.stat()
        except FileNotFoundError:  # Gone since it was listed.
            continue
        found.add((str(file.relative_to(path)), stat.st_size, stat.st_mtime_ns))
    return frozenset(found)
