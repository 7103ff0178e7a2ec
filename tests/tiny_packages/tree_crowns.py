"""Discs on lawns, in the format of the package that holds the tree crowns."""

import functools
import io
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image

# As wide as need be for the column from which on one photo is held out.
SIZES = {
    "2019_YELL_2_528000_4978000_image_crop2": (820, 420),
    "2019_YELL_2_541000_4977000_image_crop": (450, 1249),
    "OSBS_029": (200, 200),
    "SOAP_061": (200, 210),
}
_TREES = 60  # in 400x400 pixels, before those that overlap are left out


@functools.cache
def photos() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns by name: pixels [height, width, 3] uint8, boxes [trees, 4] int."""
    randomness = np.random.default_rng(3)
    return {name: _draw(*size, randomness) for name, size in SIZES.items()}


def write(folder: Path) -> Path:
    """Writes the wheel that holds `photos`."""
    wheel = folder / "deepforest-2.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, (pixels, boxes) in photos().items():
            png = io.BytesIO()
            PIL.Image.fromarray(pixels).save(png, "png")
            archive.writestr(f"deepforest/data/{name}.png", png.getvalue())
            archive.writestr(f"deepforest/data/{name}.xml", _voc(name, boxes))
    return wheel


def _draw(
    height: int, width: int, randomness: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    pixels = randomness.normal([120, 150, 90], 12, [height, width, 3])
    rows, columns = np.mgrid[0:height, 0:width]
    boxes: list[list[int]] = []
    for _ in range(_TREES * height * width // 400**2):
        radius = int(randomness.integers(8, 25))
        y = int(randomness.integers(radius, height - radius))
        x = int(randomness.integers(radius, width - radius))
        box = [y - radius, x - radius, y + radius, x + radius]
        if all(box[0] >= b[2] or box[2] <= b[0] or box[1] >= b[3] or box[3] <= b[1]
               for b in boxes):  # fmt: skip
            disc = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
            pixels[disc] = randomness.normal([40, 80, 30], 12, [int(disc.sum()), 3])
            boxes.append(box)
    return np.clip(pixels, 0, 255).astype(np.uint8), np.array(boxes)


def _voc(name: str, boxes: np.ndarray) -> str:
    label = "Alive" if name.startswith("SOAP") else "Tree"
    objects = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin>"
        f"<xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>"
        for ymin, xmin, ymax, xmax in boxes
    )
    return f"<annotation><filename>{name}.png</filename>{objects}</annotation>"
