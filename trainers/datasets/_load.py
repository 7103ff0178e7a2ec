"""From a data set's name to its examples: fetched, prepared once, then read.

Under `datasets_dir`: `<name>/<version>/` for those of our own, `tfds/<name>/...`
for those of the public catalogue, `own_boxes/<hash>/...` for the user's, `downloads/`
for what was fetched.
"""

import collections
import contextlib
import io
import json
import os
import pathlib
import shutil
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow_datasets as tfds

from savedmodels.errors import MaaskitError, UsageError
from trainers._catalog import check_dataset, joined, load_dataset
from trainers.datasets import _features, _own_boxes, _tfds
from trainers.datasets._builder import DOWNLOADS, Builder
from trainers.datasets._package import DatasetError, lock, say, told

if TYPE_CHECKING:
    import tensorflow as tf

Directory = str | os.PathLike[str]

SPLITS = ("train", "validation", "test")

# A catalogue data set without a validation split gives up its last sixth of train:
# 10,000 of MNIST's 60,000.
CUT = 5 / 6


def load(
    name: str,
    split: str,
    datasets_dir: Directory,
    *,
    like: type[Builder] | tfds.features.FeaturesDict,
    decoders: Mapping[str, Any] | None = None,
) -> "tf.data.Dataset":
    """Returns the examples of one split, unbatched, in a fixed order.

    Prepares the data set first if need be.

    Args:
        name: `mnist`, or `tfds:<name>` for the public catalogue.
        split: `train`, `validation` or `test`.
        datasets_dir: Folder that keeps data sets, made if missing.
        like: The data set that the model was written for, or features. Others must
            have these: same names, shapes, dtypes and numbers of classes; None fits
            every size and number.
        decoders: TFDS's, by feature: `SkipDecoding` gives images as they were encoded.

    Returns:
        Dataset of tuples, one entry per feature of `like`, in its order:
        (image, label) for `Mnist`.

    Raises:
        UsageError: No such data set or split, or its features or splits do not fit.
        DatasetError: It cannot be fetched or prepared.
    """
    check_dataset(name)
    _refuse_joined(name)
    if split not in SPLITS:
        raise UsageError(
            f"Unknown split. Expected one of {', '.join(SPLITS)}. Received: {split}."
        )
    wanted = like if isinstance(like, tfds.features.FeaturesDict) else like.features()
    # Before a download that would be for nothing.
    unprepared = _builder(name, pathlib.Path(datasets_dir))
    _features.check(name, unprepared.info.features, wanted)
    builder = prepare(name, datasets_dir)
    dataset = builder.as_dataset(
        split=_slices(name, builder)[split],
        decoders=decoders,
        # Batches are cached where they are made, and only there.
        read_config=tfds.ReadConfig(try_autocache=False),
    )
    keys = tuple(wanted)
    return dataset.map(lambda example: tuple(example[key] for key in keys))


def prepare(name: str, datasets_dir: Directory) -> tfds.core.DatasetBuilder:
    """Makes a data set ready to read, unless it is, and returns its builder.

    What is ready appears in one rename. Processes that prepare the same data set
    wait for each other, and what a killed one left is removed.

    Args:
        name: `mnist`, or `tfds:<name>` for the public catalogue, or the user's own.
        datasets_dir: Folder that keeps data sets, made if missing.

    Raises:
        UsageError: There is no such data set.
        DatasetError: It cannot be fetched or written.
    """
    check_dataset(name)
    _refuse_joined(name)
    root = pathlib.Path(datasets_dir)
    builder = _builder(name, root)
    if _is_ready(builder):
        return builder
    # One lock for all configs of a data set: they share downloads.
    kind = "tfds-" if _tfds.is_catalogue(name) else ""
    lock_path = root / f".{kind}{builder.name}.lock"
    with told(f"Data set `{name}`", root), lock(lock_path, f"`{name}`") as held:
        builder = _builder(name, root)  # another process may have been faster
        if not _is_ready(builder):
            _remove_leftovers(builder)
            start = time.monotonic()
            if _tfds.is_catalogue(name):
                _tfds.write(name, root, held)
            else:
                _write(name, builder, root)
            say(f"Data set `{name}` is ready after {time.monotonic() - start:.0f} s")
    return _builder(name, root)


def facts(name: str, datasets_dir: Directory) -> dict[str, Any]:
    """Returns what to know of a data set, JSON-able, without TensorFlow if packaged.

    Args:
        name: `mnist`, or `tfds:<name>` for a prepared catalogue data set; or several,
            joined by `+`.
        datasets_dir: Folder that keeps data sets.

    Returns:
        `name`, `version`, `summary`, `licence`, `source`, `package`, `sha256` of the
        package or of generated examples, `splits` (examples by split) and `prepared`.
        Once prepared, sizes and hash are those of what lies on disk. None where not
        known. Of several: all their words, and their examples together.

    Raises:
        UsageError: There is no such data set.
    """
    check_dataset(name)
    if len(joined(name)) > 1:
        return _facts_together([facts(part, datasets_dir) for part in joined(name)])
    root = pathlib.Path(datasets_dir)
    if _tfds.is_catalogue(name):
        return _tfds.facts(name, root)
    if _own_boxes.is_own(name):
        return _own_boxes.facts(name, root)
    kind = builder_class(name)
    known = {
        "name": name,
        "version": str(kind.VERSION),
        "summary": kind.ABOUT.summary,
        "licence": kind.ABOUT.licence,
        "source": kind.ABOUT.source,
        **kind.origin(),
        "splits": dict(kind.ABOUT.splits),
        "prepared": False,
    }
    # Read as JSON: the builder would need TensorFlow for its features.
    folder = root / name / str(kind.VERSION)
    try:
        info = json.loads((folder / "dataset_info.json").read_text())
        made_from = json.loads((folder / "metadata.json").read_text())
    except FileNotFoundError:
        return known
    splits = {s["name"]: sum(map(int, s["shardLengths"])) for s in info["splits"]}
    return known | made_from | {"splits": splits, "prepared": True}


def builder_class(name: str) -> type[Builder]:
    """Returns the builder class of a data set of our own: `ab_cd` holds `AbCd`."""
    camel_case = "".join(word.capitalize() for word in name.split("_"))
    return getattr(load_dataset(name), camel_case)


def _refuse_joined(name: str) -> None:
    if len(joined(name)) > 1:
        raise UsageError(
            f"This model reads one data set. Expected one name. Received: `{name}`."
        )


def _facts_together(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """What `facts` says of each, as if they were one."""
    splits: collections.Counter[str] = collections.Counter()
    for part in parts:
        splits.update(part["splits"])
    words = {
        key: " + ".join(str(part[key]) for part in parts)
        for key in parts[0]
        if key not in ("splits", "prepared")
    }
    prepared = all(part["prepared"] for part in parts)
    return words | {"splits": dict(splits), "prepared": prepared}


def _builder(name: str, root: pathlib.Path) -> tfds.core.DatasetBuilder:
    if _tfds.is_catalogue(name):
        return _tfds.builder(name, root)
    if _own_boxes.is_own(name):
        return _own_boxes.builder(name, root)
    return builder_class(name)(data_dir=root)


def _is_ready(builder: tfds.core.DatasetBuilder) -> bool:
    """Whether the data set lies whole on disk: its folder appears in one rename."""
    return (builder.data_path / "dataset_info.json").is_file()


def _write(name: str, builder: tfds.core.DatasetBuilder, root: pathlib.Path) -> None:
    """Fetches or computes a data set and writes it; the caller holds the lock."""
    say(f"Preparing data set `{name}` in {root}")
    tfds.disable_progress_bar()  # Builder has its own
    # TFDS announces itself on stdout, which belongs to the command's own result.
    quiet = contextlib.redirect_stdout(io.StringIO())
    try:
        with quiet:
            builder.download_and_prepare(download_dir=root / DOWNLOADS)
    except Exception as error:
        raise _explained(name, root, error) from error


def _explained(name: str, root: pathlib.Path, error: Exception) -> Exception:
    """Returns the message for an error of TFDS, or the error itself if it is a bug."""
    import tensorflow as tf  # here only: who reads facts does not need it

    # TFDS raises errors anew, as other types, with what happened as their cause.
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MaaskitError):
            return cause
        if isinstance(cause, OSError | tf.errors.OpError):
            return DatasetError(
                f"Data set `{name}` could not be written to {root}. Received: "
                f"{_tfds.first_line(cause)}. Free space there, or name another folder "
                "with DATASETS=, and run again."
            )
        cause = cause.__cause__
    return error


def _remove_leftovers(builder: tfds.core.DatasetBuilder) -> None:
    """Removes what interrupted preparations left; the caller holds the lock."""
    for leftover in builder.data_path.parent.glob("incomplete.*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _slices(name: str, builder: tfds.core.DatasetBuilder) -> dict[str, str]:
    """Returns the TFDS split expression for train, validation and test."""
    published = builder.info.splits
    slices = {split: split for split in SPLITS}
    missing = [split for split in slices if split not in published]
    if missing == ["validation"]:
        cut = round(published["train"].num_examples * CUT)
        return slices | {"train": f"train[:{cut}]", "validation": f"train[{cut}:]"}
    if missing:
        raise UsageError(
            f"Data set `{name}` cannot be trained and tested on. Expected the splits "
            f"`train` and `test`. Received: {', '.join(published) or 'none'}."
        )
    return slices
