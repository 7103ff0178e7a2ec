"""Large photos in tiles: every object once, where it is, whatever cuts it."""

import io

import numpy as np
import PIL.Image
import pytest
from scoring_parts import info, signature

from pipelines import _sources, _tiles
from pipelines._sources import Refusal
from serving.errors import InvalidRequestError

SIDE = 128
COLOURS = [(r, g, b) for r in (0, 120, 240) for g in (0, 120, 240) for b in (60, 180)]


class Finder:
    """Finds patches of known colours in the images it is asked about."""

    def __init__(self):
        self.asked = []

    def __call__(self, inputs):
        images = [np.asarray(PIL.Image.open(io.BytesIO(f))) for f in inputs["image"]]
        self.asked += [image.shape[:2] for image in images]
        if any(len(image) == 13 for image in images):
            raise InvalidRequestError("thirteen is too odd")
        return {key: np.stack(values) for key, values in _found(images).items()}


def _found(images):
    most = len(COLOURS)
    names = ("detection_boxes", "detection_scores", "detection_labels")
    found = {name: [] for name in (*names, "num_detections", "canvas_size")}
    for image in images:
        rows = []
        for label, colour in enumerate(COLOURS):
            y, x = np.nonzero((image == colour).all(axis=2))
            if len(y):
                # What is cut is found too, and with a higher score than what is whole.
                box = np.array([y.min(), x.min(), y.max() + 1, x.max() + 1])
                score = 1 / np.prod(box[2:] - box[:2])
                rows.append((box / np.tile(image.shape[:2], 2), score, b"%d" % label))
        room = most - len(rows)
        found["detection_boxes"].append(
            np.array([box for box, _, _ in rows] + [np.zeros(4)] * room)
        )
        found["detection_scores"].append(np.array([s for _, s, _ in rows] + [0] * room))
        found["detection_labels"].append(
            np.array([name for _, _, name in rows] + [b""] * room, object)
        )
        found["num_detections"].append(np.int32(len(rows)))
        found["canvas_size"].append(np.int32(SIDE))
    return found


SIGNATURE = signature(
    {"image": info("string", None)},
    {
        "detection_boxes": info("float32", None, 18, 4),
        "detection_scores": info("float32", None, 18),
    },
)


def photo(width, height, patch=30, seed=1):
    """A photo with patches that lie apart; and their boxes."""
    randomness = np.random.default_rng(seed)
    pixels = np.full([height, width, 3], 30, np.uint8)
    boxes = {}
    cells = [(y, x) for y in range(height // 40) for x in range(width // 40)]
    chosen = randomness.permutation(len(cells))[: len(COLOURS)]
    for label, cell in enumerate(chosen):
        y, x = (place * 40 + 5 for place in cells[cell])
        pixels[y : y + patch, x : x + patch] = COLOURS[label]
        boxes[str(label)] = [y, x, y + patch, x + patch]
    return PIL.Image.fromarray(pixels), boxes


@pytest.fixture
def told():
    return []


def ask(folder, tile=None, told=None, finder=None):
    finder = finder or Finder()
    notes = [] if told is None else told

    def note(about, message):
        notes.append(message)

    detector = _tiles.Detector(finder, SIGNATURE, tile, note)
    return list(detector.answers(_sources.find(str(folder)))), finder


@pytest.mark.parametrize("size", [(1000, 700), (300, 2000), (257, 90)])
def test_every_object_of_a_large_photo_is_found_once(tmp_path, size, told):
    image, boxes = photo(*size)
    image.save(tmp_path / "large.png")
    ((row, outputs, shown),), finder = ask(tmp_path, told=told)
    assert (row.key, shown.size) == ("large.png", size)
    labels = [label if isinstance(label, str) else label.decode()
              for label in outputs["detection_labels"].tolist()]  # fmt: skip
    assert sorted(labels) == sorted(boxes)
    assert outputs["num_detections"] == len(boxes)
    pixels = outputs["detection_boxes"] * np.tile([size[1], size[0]], 2)
    for label, box in zip(labels, pixels, strict=True):
        np.testing.assert_allclose(box, boxes[label], atol=1e-3)
    assert (np.diff(outputs["detection_scores"]) <= 0).all()
    assert finder.asked[0] == (size[1], size[0])  # the whole told the square's size
    assert all(max(shape) <= SIDE for shape in finder.asked[1:])
    (message,) = told
    count = len(finder.asked) - 1
    assert f"{size[0]}x{size[1]} pixels: asked about in {count} tiles" in message


@pytest.mark.parametrize("size", [(128, 128), (256, 100), (13, 40)])
def test_a_photo_of_up_to_twice_the_square_is_asked_about_whole(tmp_path, size, told):
    image, _ = photo(*size)
    image.save(tmp_path / "small.png")
    _, finder = ask(tmp_path, told=told)
    assert finder.asked == [(size[1], size[0])]
    assert not told


def test_the_size_of_tiles_may_be_chosen(tmp_path):
    image, boxes = photo(1000, 700)
    image.save(tmp_path / "large.png")
    _, whole = ask(tmp_path, tile=0)
    assert whole.asked == [(700, 1000)]
    ((_, outputs, _),), finder = ask(tmp_path, tile=600)
    assert set(finder.asked) == {(600, 600)}
    assert outputs["num_detections"] == len(boxes)


def test_tiles_cover_the_photo_and_overlap_by_two_fifths():
    for height, width, side in ((700, 1000, 128), (129, 128, 128), (50, 999, 100)):
        places = _tiles.frames(height, width, side)
        seen = np.zeros([height, width], int)
        for top, left, bottom, right in places:
            assert (bottom - top, right - left) == (min(side, height), min(side, width))
            seen[top:bottom, left:right] += 1
        assert seen.min() >= 1
        for edges in ({p[0] for p in places}, {p[1] for p in places}):
            assert all(np.diff(sorted(edges)) <= 0.6 * side + 1)


def test_one_object_that_two_tiles_call_by_two_names_is_one():
    places = [(0, 0, 100, 100), (0, 50, 100, 150)]
    parts = [one_box([0.2, 0.6, 0.4, 0.8], 0.7, b"cat"),
             one_box([0.2, 0.1, 0.4, 0.3], 0.9, b"dog")]  # fmt: skip
    merged = _tiles.merge(parts, places, (100, 150))
    assert merged["detection_labels"].tolist() == ["dog"]
    np.testing.assert_allclose(
        merged["detection_boxes"], [[0.2, 60 / 150, 0.4, 80 / 150]]
    )


def test_neighbours_are_not_merged():
    places = [(0, 0, 100, 100), (0, 50, 100, 150)]
    parts = [one_box([0.2, 0.6, 0.4, 0.8], 0.7, b"cat"),
             one_box([0.2, 0.3, 0.4, 0.5], 0.9, b"cat")]  # fmt: skip
    assert _tiles.merge(parts, places, (100, 150))["num_detections"] == 2


def test_an_object_larger_than_the_overlap_is_still_told():
    places = [(0, 0, 100, 100), (0, 75, 100, 175)]
    parts = [one_box([0.2, 0.5, 0.4, 1.0], 0.7, b"cat"),
             one_box([0.2, 0.0, 0.4, 0.6], 0.9, b"cat")]  # fmt: skip
    assert _tiles.merge(parts, places, (100, 175))["num_detections"] >= 1


def one_box(box, score, label):
    return {
        "detection_boxes": np.array([box]),
        "detection_scores": np.array([score]),
        "detection_labels": np.array([label], object),
        "num_detections": np.int32(1),
    }


def test_a_photo_that_lies_on_its_side_is_turned_before_it_is_asked_about(tmp_path):
    image, _ = photo(100, 60)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned by a right angle
    image.save(tmp_path / "turned.png", exif=exif)
    ((_, _, shown),), finder = ask(tmp_path)
    assert shown.size == (60, 100)
    assert finder.asked == [(100, 60)]


def test_what_cannot_be_asked_about_is_refused_and_the_others_answered(tmp_path):
    photo(100, 60)[0].save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    photo(40, 13)[0].save(tmp_path / "c.png")
    photo(100, 60)[0].save(tmp_path / "d.png")
    answers, _ = ask(tmp_path)
    refused = {a.file: a.reason for a in answers if isinstance(a, Refusal)}
    assert set(refused) == {"b.png", "c.png"}
    assert "cannot be decoded" in refused["b.png"]
    assert "The model refused it: thirteen is too odd" in refused["c.png"]
    assert [a[0].file for a in answers if not isinstance(a, Refusal)] == [
        "a.png",
        "d.png",
    ]
