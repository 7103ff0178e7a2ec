"""Which models and data sets there are: the files without a leading underscore."""

import difflib
import importlib
import pathlib
import types
from collections.abc import Iterable

from savedmodels.errors import UsageError

CATALOGUE_PREFIX = "tfds:"
# The user's own images with boxes; see `datasets/_own_boxes.py`.
OWN_PREFIXES = ("coco:", "voc:")
# Between the names of data sets that are read one after the other.
_AND = "+"

_TRAINERS = pathlib.Path(__file__).parent


def model_names() -> list[str]:
    """Returns the names of all models, sorted."""
    return _module_names(_TRAINERS)


def dataset_names() -> list[str]:
    """Returns the names of all packaged data sets, sorted."""
    return _module_names(_TRAINERS / "datasets")


def check_model(name: str) -> None:
    """Accepts a model's name, without importing anything.

    Raises:
        UsageError: There is no such model. Names the nearest there is.
    """
    if name not in model_names():
        raise UsageError(_unknown("model", name, model_names()))


def load_model(name: str) -> types.ModuleType:
    """Imports `trainers/<name>.py`.

    Raises:
        UsageError: There is no such model.
    """
    check_model(name)
    return importlib.import_module(f"trainers.{name}")


def load_dataset(name: str) -> types.ModuleType:
    """Imports `trainers/datasets/<name>.py`.

    Raises:
        UsageError: There is no such packaged data set.
    """
    if name not in dataset_names():
        raise UsageError(_unknown("data set", name, dataset_names()))
    return importlib.import_module(f"trainers.datasets.{name}")


def joined(name: str) -> list[str]:
    """Returns the names in `a+b`, or the only one."""
    # The name of one's own folder may hold anything.
    return [name] if name.startswith(OWN_PREFIXES) else name.split(_AND)


def check_dataset(name: str) -> None:
    """Accepts a packaged data set's name, or `tfds:` and a public catalogue name.

    Args:
        name: As typed: `mnist`, `tfds:fashion_mnist`, `tfds:emnist/digits`; or several
            of them, joined by `+`, for a model that reads any amount of text; or
            `coco:<images>,<annotations.json>` or `voc:<folder>`.

    Raises:
        UsageError: There is no such data set. Names the nearest there is.
    """
    for part in joined(name):
        _check_single(part)


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Returns the known name that `name` was most likely meant to be, or None."""
    known = list(known)
    # Half a name is likelier an abbreviation than a misspelling of a shorter one.
    longer = [k for k in known if name and k.startswith(name)]
    matches = longer or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return matches[0] if matches else None


def _check_single(name: str) -> None:
    if name.startswith(OWN_PREFIXES):
        # Not at the top: most commands never need it.
        from trainers.datasets import _own_boxes

        _own_boxes.check(name)
        return
    if not name.startswith(CATALOGUE_PREFIX):
        if name not in dataset_names():
            known = [*dataset_names(), f"{CATALOGUE_PREFIX}<catalogue name>"]
            known += [f"{prefix}<folder>" for prefix in OWN_PREFIXES]
            raise UsageError(_unknown("data set", name, known))
        return
    # Not at the top: most commands never need the catalogue.
    import tensorflow_datasets as tfds

    wanted = name.removeprefix(CATALOGUE_PREFIX)
    known = tfds.list_builders(with_community_datasets=False)
    # A name may go on with a config and a version: `emnist/digits:3.1.0`.
    if wanted.partition("/")[0].partition(":")[0] not in known:
        raise UsageError(
            f"Unknown data set `{name}`. Expected `{CATALOGUE_PREFIX}` and one of the "
            f"{len(known)} names of the TFDS catalogue. Received: `{wanted}`."
            + _nearest(wanted, known, CATALOGUE_PREFIX)
        )


def _module_names(folder: pathlib.Path) -> list[str]:
    return sorted(p.stem for p in folder.glob("*.py") if not p.stem.startswith("_"))


def _nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    nearest = nearest_name(name, known)
    return f" Did you mean `{prefix}{nearest}`?" if nearest else ""


def _unknown(what: str, name: str, known: list[str]) -> str:
    listed = ", ".join(f"`{k}`" for k in known) or "none"
    return (
        f"Unknown {what} `{name}`. Expected one of {listed}. Received: `{name}`."
        + _nearest(name, known)
    )
