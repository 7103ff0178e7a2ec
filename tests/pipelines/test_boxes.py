"""Objects that were found, as text and as a picture."""

import numpy as np
import PIL.Image
import pytest
from scoring_parts import info, signature

from pipelines import _answer_text, _boxes
from savedmodels.errors import MaaskitError, UsageError


def outputs_of(count, most=5, **more):
    boxes = np.zeros([most, 4], np.float32)
    boxes[:, 2:] = 0.5
    return {
        "detection_boxes": boxes,
        "detection_scores": np.array([0.9, 0.6, 0.25, 0.0, 0.0], np.float32)[:most],
        "detection_labels": np.array([b"cat", b"dog", b"cat", b"", b""], object)[:most],
        "num_detections": np.int32(count),
        **more,
    }


def giving(*outputs):
    return signature({}, dict.fromkeys(outputs, info("float32", None, 5)))


def test_as_many_objects_as_were_found_are_taken():
    found = _boxes.from_outputs(outputs_of(3))
    assert found.labels == ["cat", "dog", "cat"]
    assert found.scores == pytest.approx([0.9, 0.6, 0.25])
    assert _boxes.from_outputs(outputs_of(0)).labels == []


def test_numbers_of_classes_stand_for_labels_that_are_not_given():
    outputs = outputs_of(2, detection_classes=np.array([7, 3, 1, 0, 0]))
    del outputs["detection_labels"]
    assert _boxes.from_outputs(outputs).labels == ["7", "3"]


def test_without_a_count_those_with_a_score_are_taken():
    outputs = outputs_of(0)
    del outputs["num_detections"]
    assert len(_boxes.from_outputs(outputs)) == 3


def test_the_text_lists_sure_objects_and_counts_the_others():
    first, _, head, *rows, last = _answer_text.one("a.png", outputs_of(3)).splitlines()
    assert first == "a.png: 2 objects"
    assert head.split() == ["label", "score", "top", "left", "bottom", "right"]
    assert [row.split() for row in rows] == [
        ["cat", "0.9000", "0.000", "0.000", "0.500", "0.500"],
        ["dog", "0.6000", "0.000", "0.000", "0.500", "0.500"],
    ]
    assert last == "  1 with scores below 0.3 left out"


def test_many_images_take_a_line_each():
    line = _answer_text.line("a.png", outputs_of(3))
    assert line == "a.png  2 objects  cat 0.90  dog 0.60"
    assert _answer_text.line("b.png", outputs_of(0)) == "b.png  0 objects"


def test_boxes_are_drawn_where_the_objects_are():
    image = PIL.Image.new("RGB", (200, 100))
    boxes = np.array([[0.5, 0.5, 0.9, 0.75]])
    drawn = _boxes.draw(image, _boxes.Detections(boxes, np.array([0.9]), ["cat"]))
    pixels = np.asarray(drawn)
    scale = drawn.width / 200
    assert drawn.height == round(100 * scale)
    inside = pixels[
        int(55 * scale) : int(85 * scale), int(105 * scale) : int(145 * scale)
    ]
    assert (inside == 0).all()
    for row, column in ((70, 100), (70, 150), (90, 120)):
        near = pixels[
            int(row * scale) - 3 : int(row * scale) + 4,
            int(column * scale) - 3 : int(column * scale) + 4,
        ]
        assert near.max() > 100


def test_labels_have_colours_of_their_own_and_stay_in_the_picture():
    image = PIL.Image.new("RGB", (300, 300))
    boxes = np.array([[0, 0, 0.2, 0.2], [0, 0.95, 1, 1], [0.98, 0.98, 1, 1]])
    labels = ["a rather long label", "dog", "cow"]
    drawn = _boxes.draw(image, _boxes.Detections(boxes, np.ones(3), labels))
    assert drawn.size == (600, 600)
    colours = {_boxes._colour(label) for label in labels}
    assert len(colours) == 3
    shown = {tuple(pixel) for pixel in np.asarray(drawn).reshape(-1, 3).tolist()}
    assert colours <= shown


def test_a_picture_is_written_and_nothing_found_is_a_picture_too(tmp_path):
    nothing = _boxes.from_outputs(outputs_of(0))
    for name in ("a.png", "b.JPG"):
        _boxes.write(tmp_path / name, PIL.Image.new("RGB", (600, 400), "red"), nothing)
        with PIL.Image.open(tmp_path / name) as image:
            assert image.size == (600, 400)


def test_a_picture_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "a.png").mkdir()
    nothing = _boxes.from_outputs(outputs_of(0))
    with pytest.raises(MaaskitError, match="cannot be written"):
        _boxes.write(tmp_path / "a.png", PIL.Image.new("RGB", (8, 8)), nothing)


def test_a_picture_needs_boxes_an_ending_and_a_folder(tmp_path):
    boxes = giving("detection_boxes", "detection_scores")
    _boxes.check_output(tmp_path / "a.jpeg", boxes)
    with pytest.raises(UsageError, match="no boxes to draw.* Received: scores"):
        _boxes.check_output(tmp_path / "a.png", giving("scores"))
    with pytest.raises(UsageError, match="ending of the output"):
        _boxes.check_output(tmp_path / "a.gif", boxes)
    with pytest.raises(UsageError, match="mkdir -p"):
        _boxes.check_output(tmp_path / "none" / "a.png", boxes)
