"""Public catalogue data sets: split as the packaged ones, or refused in one line."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from savedmodels.errors import UsageError
from trainers.datasets import _load, _tfds
from trainers.datasets._package import DatasetError
from trainers.datasets.mnist import Mnist


def write_catalogue(folder, monkeypatch, splits):
    """Prepares the catalogue's own `mnist` with generated examples, offline."""
    builder = tfds.builder("mnist", data_dir=folder / "tfds")

    def examples(n):
        for i in range(n):
            yield i, {"image": np.full((28, 28, 1), i, np.uint8), "label": i % 10}

    generators = {split: examples(n) for split, n in splits.items()}
    monkeypatch.setattr(type(builder), "_split_generators", lambda *_: generators)
    builder.download_and_prepare()


def read(split, folder):
    """Returns the first pixel of every image: which example it was."""
    dataset = _load.load("tfds:mnist", split, folder, like=Mnist)
    return [int(image[0, 0, 0]) for image, _ in dataset.as_numpy_iterator()]


def test_the_last_sixth_of_train_validates(tmp_path, monkeypatch):
    write_catalogue(tmp_path, monkeypatch, {"train": 60, "test": 10})
    train, validation = read("train", tmp_path), read("validation", tmp_path)
    assert (len(train), len(validation)) == (50, 10)
    assert sorted(train + validation) == list(range(60))
    assert len(read("test", tmp_path)) == 10


def test_facts_of_a_catalogue_data_set_come_from_its_builder(tmp_path, monkeypatch):
    write_catalogue(tmp_path, monkeypatch, {"train": 60, "test": 10})
    facts = _load.facts("tfds:mnist", tmp_path)
    assert facts["splits"] == {"train": 60, "test": 10}
    assert facts["prepared"]
    assert facts["sha256"] is None


def test_a_data_set_without_a_test_split_is_refused(tmp_path, monkeypatch):
    write_catalogue(tmp_path, monkeypatch, {"train": 60})
    with pytest.raises(UsageError, match="Expected the splits .* Received: train"):
        read("train", tmp_path)


def test_both_digits_data_sets_lie_side_by_side(tmp_path, monkeypatch, datasets_dir):
    write_catalogue(tmp_path, monkeypatch, {"train": 6, "test": 1})
    assert _load._builder("mnist", tmp_path).data_path == tmp_path / "mnist" / "1.0.0"
    assert not _load.facts("mnist", tmp_path)["prepared"]


def test_importing_our_data_sets_leaves_the_catalogue_its_names():
    assert tfds.builder_cls("mnist") is not Mnist


def test_a_failed_download_names_the_reason_and_the_packaged_data_set(tmp_path, capfd):
    # ImageNet has to be put there by hand, so it fails at once, without a network.
    with pytest.raises(DatasetError) as caught:
        _load.prepare("tfds:imagenet2012", tmp_path)
    message = str(caught.value)
    assert "`tfds:imagenet2012` could not be downloaded. Received: " in message
    assert "DATASET=mnist" in message
    assert "\n" not in message
    assert "a download starts" in capfd.readouterr().err


def test_what_a_killed_download_left_is_removed_by_the_next(tmp_path, monkeypatch):
    leftover = tmp_path / "downloads" / "mnist" / "train.gz.tmp.1234"
    leftover.mkdir(parents=True)
    failing = tfds.builder("mnist", data_dir=tmp_path)
    monkeypatch.setattr(type(failing), "_split_generators", lambda *_: 1 / 0)
    assert _tfds.main(["tfds:mnist", str(tmp_path)]) == 1
    assert not leftover.exists()


def test_an_error_text_is_cut_to_one_line():
    assert _tfds.first_line(ValueError("a\nb")) == "a"
    assert _tfds.first_line(ValueError("x" * 500), length=3) == "xxx..."
    assert _tfds.first_line(ValueError()) == "ValueError"
