"""Tiles of photos share no pixel and no tree, and held-out ones are held out."""

import io
import zipfile

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from tests.tiny_packages import tree_crowns as tiny
from trainers.datasets import _load, tree_crowns
from trainers.datasets._package import DatasetError
from trainers.datasets.tree_crowns import TEST_COLUMN, TEST_PHOTO, TreeCrowns


@pytest.fixture(scope="module")
def frames():
    """(photo, split, frame) of every tile."""
    return [
        (name, split, frame)
        for name, size in tiny.SIZES.items()
        for split, frame in tree_crowns._frames(name, size)
    ]


def tiles_of(wheel, folder):
    parts = TreeCrowns(data_dir=folder).read(wheel)
    return {split: list(examples) for split, examples in parts.items()}


def test_every_pixel_lies_in_one_tile(frames):
    for name, size in tiny.SIZES.items():
        seen = np.zeros(size, int)
        for _, _, (top, left, bottom, right) in (f for f in frames if f[0] == name):
            seen[top:bottom, left:right] += 1
        assert (seen == 1).all()


def test_the_strip_from_the_column_on_and_nothing_else_is_for_the_test(frames):
    for name, split, (_, left, _, right) in frames:
        held_out = name == TEST_PHOTO and left >= TEST_COLUMN
        assert (split == "test") == held_out
        assert held_out or name != TEST_PHOTO or right <= TEST_COLUMN
    assert any(split == "validation" for _, split, _ in frames)


def test_a_tree_is_in_two_splits_only_if_the_cut_halves_it(frames):
    for name, (_, boxes) in tiny.photos().items():
        for top, left, bottom, right in boxes:
            splits = set()
            for _, split, frame in (f for f in frames if f[0] == name):
                height = min(bottom, frame[2]) - max(top, frame[0])
                width = min(right, frame[3]) - max(left, frame[1])
                share = max(height, 0) * max(width, 0)
                if share >= (bottom - top) * (right - left) / 2:
                    splits.add((split, share))
            whole = (bottom - top) * (right - left)
            assert len(splits) <= 1 or {s for _, s in splits} == {whole / 2}


def test_tiles_show_the_photo_and_its_trees(tiny_files, tmp_path, frames):
    tiles = tiles_of(tiny_files["tree_crowns"], tmp_path)
    photos = tiny.photos()
    for split, examples in tiles.items():
        places = [(name, frame) for name, s, frame in frames if s == split]
        assert len(places) == len(examples)
        for (name, frame), example in zip(places, examples, strict=True):
            top, left, bottom, right = frame
            pixels, boxes = photos[name]
            shown = np.asarray(PIL.Image.open(io.BytesIO(example["image"].getvalue())))
            np.testing.assert_array_equal(shown, pixels[top:bottom, left:right])
            inside = boxes[
                (boxes[:, 0] >= top) & (boxes[:, 1] >= left)
                & (boxes[:, 2] <= bottom) & (boxes[:, 3] <= right)
            ]  # fmt: skip
            size = np.tile([bottom - top, right - left], 2)
            found = [
                [o["bbox"].ymin, o["bbox"].xmin, o["bbox"].ymax, o["bbox"].xmax] * size
                for o in example["objects"]
            ]
            for box in inside - [top, left, top, left]:
                assert any(np.allclose(box, f, atol=1e-3) for f in found)
            assert all(o["label"] == 0 for o in example["objects"])


def test_a_damaged_photo_is_told(tiny_files, tmp_path):
    broken = tmp_path / tiny_files["tree_crowns"].name
    with (
        zipfile.ZipFile(tiny_files["tree_crowns"]) as whole,
        zipfile.ZipFile(broken, "w") as copy,
    ):
        for member in whole.namelist():
            content = whole.read(member)
            copy.writestr(member, content[: len(content) // 2])
    with pytest.raises(DatasetError, match="cannot be read"):
        tiles_of(broken, tmp_path)


@pytest.mark.network
@pytest.mark.slow
def test_the_published_photos_show_different_places(tmp_path):
    builder = _load.prepare("tree_crowns", tmp_path)
    splits = builder.info.splits
    sizes = {split: splits[split].num_examples for split in splits}
    assert sizes == TreeCrowns.ABOUT.splits
    images = {
        split: [
            x["image"].mean(axis=2) for x in tfds.as_numpy(builder.as_dataset(split))
        ]
        for split in ("train", "test")
    }
    # At any place of the training tiles, and at every sixteenth of the test's.
    assert not blocks(images["train"], 1) & blocks(images["test"], 16)


def blocks(images, step):
    """Hashes of 16x16 pixels."""
    return {
        hash(image[top : top + 16, left : left + 16].tobytes())
        for image in images
        for top in range(0, image.shape[0] - 15, step)
        for left in range(0, image.shape[1] - 15, step)
    }
