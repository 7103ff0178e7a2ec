"""Tree crowns: aerial photos of forests in the USA, with a box around each crown.

Examples  image [height, width, 3] uint8, tiles of about 400x400 pixels, 0.1 m each;
          objects: bbox [n, 4] float32, label [n] int64, always 0, `Tree`
Licence   MIT (the package); photos of the National Ecological Observatory Network
Source    Weinstein et al., DeepForest: the photos that its package brings along
Package   deepforest: four photos (PNG) with their boxes (PASCAL VOC's XML)

Each photo is cut into tiles that share no pixel. A tree that a cut divides belongs to
the tiles that show at least half of it. Held out are, for the test, the right-hand
strip of one photo, from column 849 on; and for validation the lowest tiles of another.
In one photo the trees are called `Alive` and `Dead`: all are `Tree` here.
"""

import io
import pathlib
import xml.etree.ElementTree
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds

from trainers.datasets import _boxes
from trainers.datasets._builder import About, PackagedBuilder
from trainers.datasets._package import DatasetError, Package, read_member

FOLDER = "deepforest/data"
PHOTOS = (
    "2019_YELL_2_528000_4978000_image_crop2",
    "2019_YELL_2_541000_4977000_image_crop",
    "OSBS_029",
    "SOAP_061",
)
TEST_PHOTO, TEST_COLUMN = PHOTOS[1], 849
VALIDATION_PHOTO = PHOTOS[0]

_TILE = 400  # pixels, about: photos are cut into equal parts


class TreeCrowns(PackagedBuilder):
    """Builds `image` and `objects`; see `_boxes.features`."""

    VERSION = tfds.core.Version("1.0.0")
    PACKAGE = Package(
        name="deepforest",
        version="2.1.0",
        filename="deepforest-2.1.0-py3-none-any.whl",
        sha256="8c2798d8e9be7f0004b194fe207b76c1d9fff6e711b3db67b9508dcd5d00ae54",
        megabytes=20.6,
    )
    ABOUT = About(
        summary="Aerial photos of forests in tiles of about 400x400, trees boxed.",
        licence="MIT",
        source="Weinstein et al., DeepForest; photos of the NEON observatory",
        splits={"train": 38, "validation": 6, "test": 3},
    )
    # From above a tree may be turned, and seen in a mirror.
    SYMMETRY: ClassVar[str] = "all"

    @classmethod
    def features(cls) -> tfds.features.FeaturesDict:
        """Returns the image and its objects."""
        return _boxes.features(["Tree"])

    def read(self, package: pathlib.Path) -> dict[str, Iterator[Mapping[str, Any]]]:
        """Returns the tiles by split.

        Raises:
            DatasetError: A photo or its boxes are missing or damaged.
        """
        tiles: dict[str, list[tuple[np.ndarray, np.ndarray]]]
        tiles = {split: [] for split in self.ABOUT.splits}
        for name in PHOTOS:
            photo, boxes = _read_photo(package, name)
            for split, frame in _frames(name, photo.shape):
                top, left, bottom, right = frame
                _, shown = _boxes.clip(boxes, frame)
                tiles[split].append((photo[top:bottom, left:right], shown))
        return {split: map(_example, parts) for split, parts in tiles.items()}


def _example(tile: tuple[np.ndarray, np.ndarray]) -> Mapping[str, Any]:
    pixels, boxes = tile
    encoded = _boxes.encode(pixels, "png")
    return _boxes.example(encoded, boxes, [0] * len(boxes), pixels.shape[:2])


def _frames(
    name: str, shape: tuple[int, ...]
) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    """The split and the place of each tile of a photo, [ymin, xmin, ymax, xmax]."""
    height, width = shape[:2]
    column = TEST_COLUMN if name == TEST_PHOTO else width
    for start, end in ((0, column), (column, width)):
        rows, columns = _cuts(0, height), _cuts(start, end)
        for top, bottom in rows:
            for left, right in columns:
                split = "train" if start == 0 else "test"
                if name == VALIDATION_PHOTO and bottom == height:
                    split = "validation"
                yield split, (top, left, bottom, right)


def _cuts(start: int, end: int) -> list[tuple[int, int]]:
    """Equal parts, of a size as near to that of a tile as it can be."""
    parts = max(round((end - start) / _TILE), 1) if end > start else 0
    edges = np.linspace(start, end, parts + 1).round().astype(int).tolist()
    return list(zip(edges[:-1], edges[1:], strict=True))


def _read_photo(package: pathlib.Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [height, width, 3] uint8, and boxes [trees, 4] float in pixels."""
    encoded = read_member(package, f"{FOLDER}/{name}.png")
    annotation = read_member(package, f"{FOLDER}/{name}.xml")
    try:
        photo = np.asarray(PIL.Image.open(io.BytesIO(encoded)).convert("RGB"))
        tree = xml.etree.ElementTree.fromstring(annotation)
        boxes = [
            [float(box.findtext(edge, "")) for edge in ("ymin", "xmin", "ymax", "xmax")]
            for box in tree.iter("bndbox")
        ]
    except (OSError, ValueError, SyntaxError) as error:
        raise DatasetError(
            f"`{name}` cannot be read. Expected a PNG and its boxes in an XML file. "
            f"Received: {error}."
        ) from error
    return photo, np.array(boxes, np.float64).reshape(-1, 4)
