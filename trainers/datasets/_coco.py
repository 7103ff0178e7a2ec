"""COCO's annotations of images: one JSON file beside a folder of images.

    {"images": [{"id": 1, "file_name": "a.jpg"}, ...],
     "categories": [{"id": 7, "name": "cat"}, ...],
     "annotations": [{"image_id": 1, "category_id": 7,
                      "bbox": [left, top, width, height]}, ...]}

Other keys are left alone. Crowds (`iscrowd`), one box around many objects, are left
out.
"""

import hashlib
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainers.datasets._boxes import Annotated, Annotations, listed
from trainers.datasets._package import DatasetError


def read(folder: pathlib.Path, file: pathlib.Path) -> Annotations:
    """Returns what `file` says of the images in `folder`.

    Raises:
        DatasetError: It is no such JSON, or contradicts itself, or images are missing.
    """
    content = file.read_bytes()
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _wrong(file, f"it is not JSON: {error}") from error
    images, categories, annotations = (
        _list(file, whole, key) for key in ("images", "categories", "annotations")
    )
    names = _by_id(file, categories, "categories", "name")
    files = _by_id(file, images, "images", "file_name")
    _check_files(file, folder, list(files.values()))
    if len(set(names.values())) < len(names):
        raise _wrong(file, "two `categories` have the same name")

    labels = {key: label for label, key in enumerate(sorted(names, key=_order))}
    boxes: dict[Any, list[list[float]]] = {key: [] for key in files}
    classes: dict[Any, list[int]] = {key: [] for key in files}
    for place, annotation in enumerate(annotations):
        image, category = _known(file, place, annotation, files, names)
        if not annotation.get("iscrowd"):
            boxes[image].append(_box(file, place, annotation.get("bbox")))
            classes[image].append(labels[category])
    crowds = sum(bool(annotation.get("iscrowd")) for annotation in annotations)
    return Annotations(
        class_names=tuple(names[key] for key in labels),
        images=tuple(
            Annotated(
                folder / name,
                np.array(boxes[key], np.float64).reshape(-1, 4),
                np.array(classes[key], np.int64),
            )
            for key, name in files.items()
        ),
        sha256=hashlib.sha256(content).hexdigest(),
        notes=(f"{crowds:,} crowds are left out.",) if crowds else (),
    )


def _list(file: pathlib.Path, whole: Any, key: str) -> list[Mapping[str, Any]]:
    found = whole.get(key) if isinstance(whole, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(x, Mapping) for x in found):
        raise _wrong(file, f"it has no list `{key}` of objects")
    return found


def _by_id(
    file: pathlib.Path, entries: list[Mapping[str, Any]], key: str, value: str
) -> dict[Any, str]:
    """The text that each id stands for."""
    found: dict[Any, str] = {}
    for place, entry in enumerate(entries):
        identity, text = entry.get("id"), entry.get(value)
        if not isinstance(identity, int | str) or not isinstance(text, str) or not text:
            raise _wrong(file, f"`{key}` {place} has no `id` or no `{value}`")
        if identity in found:
            raise _wrong(file, f"the id {identity!r} stands twice in `{key}`")
        found[identity] = text
    return found


def _order(identity: int | str) -> tuple[bool, int | str]:
    """Numbers first: they cannot be compared with text."""
    return isinstance(identity, str), identity


def _known(
    file: pathlib.Path,
    place: int,
    annotation: Mapping[str, Any],
    files: Mapping[Any, str],
    names: Mapping[Any, str],
) -> tuple[Any, Any]:
    """The image and the class of an annotation, by their ids."""
    image, category = (annotation.get(key) for key in ("image_id", "category_id"))
    for what, identity, known in (("image", image, files), ("class", category, names)):
        # A list, say, cannot be looked up at all.
        if not isinstance(identity, int | str) or identity not in known:
            raise _wrong(
                file, f"annotation {place} has the unknown {what} {identity!r}"
            )
    return image, category


def _check_files(file: pathlib.Path, folder: pathlib.Path, names: list[str]) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DatasetError(
            f"Images are missing. Expected all {len(names):,} that `{file}` lists in "
            f"`{folder}`. Received: {len(missing):,} that are not there: "
            f"{listed(missing)}. Name the folder that holds them, or take them out of "
            "the file."
        )


def _box(file: pathlib.Path, place: int, given: Any) -> list[float]:
    """[ymin, xmin, ymax, xmax] in pixels."""
    numbers = isinstance(given, list) and len(given) == 4
    if not numbers or not all(
        isinstance(x, int | float) and math.isfinite(x) for x in given
    ):
        raise _wrong(
            file, f"annotation {place} has the `bbox` {given!r}, not four numbers"
        )
    left, top, width, height = map(float, given)
    return [top, left, top + height, left + width]


def _wrong(file: pathlib.Path, reason: str) -> DatasetError:
    return DatasetError(
        f"`{file}` cannot be used. Expected annotations in the format of COCO. "
        f"Received: {reason}."
    )
