"""Your own images with boxes: `coco:<images>,<annotations.json>` and `voc:<folder>`.

They are checked once, all of them, and copied as a TFDS data set whose name holds the
hash of the annotations and of the list of images: another content is another data set.
An image that cannot be read is left out and told; everything else that is wrong ends
with one message, before any training.

A tenth of the images, at least one, are for validation and a tenth for the test: those
whose pixels have the lowest hashes, so that equal images never lie in two splits.
"""

import functools
import hashlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds
import tqdm

from savedmodels.errors import UsageError
from trainers._catalog import OWN_PREFIXES
from trainers.datasets import _boxes, _coco, _own_images, _voc
from trainers.datasets._boxes import Annotated, Annotations
from trainers.datasets._package import DatasetError, say

FOLDER = "own_boxes"

_HELD_OUT = 0.1  # share of the images for validation, and again for the test


def is_own(name: str) -> bool:
    """Whether `name` is one of the user's own data sets."""
    return name.startswith(OWN_PREFIXES)


def check(name: str) -> None:
    """Accepts a name whose folder and file are there.

    Raises:
        UsageError: They are not.
    """
    kind, _, place = name.partition(":")
    folder, file = _places(name)
    if not place or (kind == "coco" and file is None):
        wanted = "coco:<folder of images>,<annotations.json>"
        raise UsageError(
            "The data set is not named in full. Expected "
            f"{wanted if kind == 'coco' else 'voc:<folder>'}. Received: `{name}`."
        )
    if not folder.is_dir():
        raise UsageError(
            f"There is no such folder of images. Expected one after `{kind}:`. "
            f"Received: {folder}."
        )
    if file is not None and not file.is_file():
        raise UsageError(
            "There is no such file of annotations. Expected a JSON file after the "
            f"comma. Received: {file}."
        )


def builder(name: str, root: pathlib.Path) -> "OwnBoxes":
    """Returns the builder of a data set, prepared or not.

    Raises:
        UsageError: Folder or file are not there.
        DatasetError: The annotations cannot be used.
    """
    check(name)
    annotations = _annotations(name)
    folder = root / FOLDER / _fingerprint(annotations)
    return OwnBoxes(name, annotations, data_dir=folder)


def facts(name: str, root: pathlib.Path) -> dict[str, Any]:
    """Returns what is known of a data set; see `_load.facts`."""
    opened = builder(name, root)
    prepared = (opened.data_path / "dataset_info.json").is_file()
    known = dict(opened.info.metadata or {})
    return {
        "name": name,
        "version": opened.data_dir_root.name,
        "summary": opened.info.description,
        "licence": "your own data",
        "source": " and ".join(str(p.resolve()) for p in _places(name) if p),
        "package": None,
        "sha256": opened.annotations.sha256,
        "splits": {s: part.num_examples for s, part in opened.info.splits.items()},
        "prepared": prepared,
        "images": len(opened.annotations.images),
        "left_out": known.get("left_out", []),
    }


class OwnBoxes(tfds.core.GeneratorBasedBuilder):
    """Builds `image` and `objects`; see `_boxes.features`."""

    VERSION = tfds.core.Version("1.0.0")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(skip_registration=True, **kwargs)

    def __init__(self, name: str, annotations: Annotations, **kwargs: Any) -> None:
        self.annotations = annotations
        self._named = name
        self._left_out: list[str] = []
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        annotations = self.annotations
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{len(annotations.images):,} images of your own, "
            f"{len(annotations.class_names)} classes.",
            features=_boxes.features(annotations.class_names),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(left_out=self._left_out),
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, Mapping[str, Any]]]]:
        del dl_manager  # nothing is downloaded
        for note in self.annotations.notes:
            say(note)
        hashes = self._checked()
        self.info.metadata["left_out"] = self._left_out
        splits = _split(list(hashes.values()))
        groups: dict[str, list[Annotated]] = {split: [] for split in splits}
        for image, digest in hashes.items():
            (split,) = (s for s, members in splits.items() if digest in members)
            groups[split].append(self.annotations.images[image])
        if not any(len(image.boxes) for image in groups["train"]):
            raise DatasetError(
                f"Data set `{self._named}` has no boxes to train on. Expected at least "
                f"one in its {len(groups['train']):,} training images. Received: none."
            )
        return {s: self._generate_examples(part) for s, part in groups.items()}

    def _generate_examples(
        self, images: Sequence[Annotated]
    ) -> Iterator[tuple[int, Mapping[str, Any]]]:
        for key, image in enumerate(images):
            encoded, size, scale = _own_images.stored(image.path)
            kept, boxes = _boxes.clip(image.boxes * scale, (0, 0, *size), least=0)
            yield key, _boxes.example(encoded, boxes, image.labels[kept], size)

    def _checked(self) -> dict[int, str]:
        """Position to hash of every image that can be read; tells of all others."""
        hashes, clipped, lost = {}, 0, 0
        images = tqdm.tqdm(
            self.annotations.images, "checking images", leave=False, disable=None
        )
        for position, image in enumerate(images):
            try:
                pixels = _own_images.decode(image.path)
            except _own_images.UnreadableError as error:
                self._left_out.append(f"{image.path.name}: {error}")
                continue
            frame = (0, 0, pixels.height, pixels.width)
            kept, inside = _boxes.clip(image.boxes, frame, least=0)
            lost += int((~kept).sum())
            clipped += int((inside != image.boxes[kept]).any(axis=1).sum())
            content = pixels.tobytes() + repr(pixels.size).encode()
            hashes[position] = hashlib.sha256(content).hexdigest()
        count = len(self.annotations.images)
        if self._left_out:
            say(
                f"Data set `{self._named}`: {len(self._left_out):,} of {count:,} "
                "images cannot be read and are left out: "
                f"{_boxes.listed(self._left_out)}."
            )
        if clipped or lost:
            say(
                f"Data set `{self._named}`: {clipped:,} boxes leave their image and "
                f"are clipped to it; {lost:,} lie outside or have no area and are left "
                "out."
            )
        if len(set(hashes.values())) < 3:
            raise DatasetError(
                f"Data set `{self._named}` is too small. Expected 3 different images "
                "or more, for train, validation and test. Received: "
                f"{len(set(hashes.values()))} that can be read, of {count:,}."
            )
        return hashes


def _places(name: str) -> tuple[pathlib.Path, pathlib.Path | None]:
    """The folder, and the file of annotations where there is one."""
    kind, _, place = name.partition(":")
    if kind == "voc":
        return pathlib.Path(place).expanduser(), None
    # A folder's name may hold a comma; the last one is ours.
    folder, comma, file = place.rpartition(",")
    if not comma or not file.strip():
        return pathlib.Path(folder or file).expanduser(), None
    return pathlib.Path(folder).expanduser(), pathlib.Path(file.strip()).expanduser()


@functools.lru_cache(maxsize=4)
def _annotations(name: str) -> Annotations:
    """Read once in a process: there may be a file for each image."""
    folder, file = _places(name)
    found = _voc.read(folder) if file is None else _coco.read(folder, file)
    if not any(len(image.boxes) for image in found.images):
        raise DatasetError(
            f"Data set `{name}` has no boxes. Expected at least one. Received: "
            f"{len(found.images):,} images without."
        )
    return found


def _fingerprint(annotations: Annotations) -> str:
    """16 hexadecimal digits that are equal for equal annotations and image files."""
    digest = hashlib.sha256(annotations.sha256.encode())
    for image in annotations.images:
        known = image.path.stat()
        digest.update(f"{image.path.name} {known.st_size} {known.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _split(hashes: Sequence[str]) -> dict[str, set[str]]:
    """The hashes of each split."""
    ordered = sorted(set(hashes))
    held_out = max(round(len(ordered) * _HELD_OUT), 1)
    return {
        "train": set(ordered[2 * held_out :]),
        "validation": set(ordered[held_out : 2 * held_out]),
        "test": set(ordered[:held_out]),
    }
