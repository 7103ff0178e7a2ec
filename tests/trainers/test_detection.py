"""Average precision against a second method, and against cases worked out by hand."""

import io

import numpy as np
import PIL.Image
import pytest

from savedmodels.errors import UsageError
from trainers import _detection, _report
from trainers._detection import Found
from trainers._scenes import Split

NAMES = ("ant", "bee", "cow")
SIZE = (100, 200)


def png(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, [*SIZE, 3], np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def split_of(boxes, labels):
    images = np.empty(len(boxes), object)
    images[:] = [png(seed) for seed in range(len(boxes))]
    return Split(
        images=images,
        sizes=np.tile(SIZE, [len(boxes), 1]),
        boxes=[np.array(b, np.float32).reshape(-1, 4) for b in boxes],
        labels=[np.array(one, np.int64) for one in labels],
    )


def answering(truth, found, names=NAMES):
    """An answer by what is known of each image, in room for ten detections."""
    place = {image: index for index, image in enumerate(truth.images)}

    def answer(inputs):
        parts = [found[place[image]] for image in inputs["image"]]
        room = {"detection_boxes": np.zeros([len(parts), 10, 4], np.float32),
                "detection_scores": np.zeros([len(parts), 10], np.float32),
                "detection_labels": np.full([len(parts), 10], b"", object)}  # fmt: skip
        for row, part in enumerate(parts):
            count = len(part.scores)
            room["detection_boxes"][row, :count] = part.boxes
            room["detection_scores"][row, :count] = part.scores
            room["detection_labels"][row, :count] = [
                names[i].encode() for i in part.labels
            ]
        counts = np.array([len(part.scores) for part in parts])
        return room | {"num_detections": counts}

    return answer


def random_case(seed):
    """Objects, and detections of which some are near to one of them."""
    randomness = np.random.default_rng(seed)

    def random_boxes(count):
        corners = randomness.uniform(0, 0.6, [count, 2])
        return np.hstack([corners, corners + randomness.uniform(0.1, 0.4, [count, 2])])

    boxes, labels, found = [], [], []
    for _ in range(12):
        count = randomness.integers(0, 6)
        own = random_boxes(count)
        classes = randomness.integers(0, 3, count)
        near = own + randomness.normal(0, 0.03, own.shape)
        told = np.vstack([near, random_boxes(3)])
        names = np.append(classes, randomness.integers(0, 3, 3))
        scores = randomness.permutation(np.linspace(0.1, 0.9, len(told)))
        order = np.argsort(-scores)
        boxes.append(own)
        labels.append(classes)
        found.append(Found(told[order], scores[order] + randomness.uniform(0, 0.01),
                           names[order]))  # fmt: skip
    return split_of(boxes, labels), found


def average_precision(truth, found, label, overlap):
    """By the book: sort, match, precision that never rises with recall, 101 recalls."""
    claims = sorted(
        (-score, image, place)
        for image, part in enumerate(found)
        for place, score in enumerate(part.scores)
        if part.labels[place] == label
    )
    objects = sum(int((labels == label).sum()) for labels in truth.labels)
    free = [set(np.flatnonzero(labels == label)) for labels in truth.labels]
    right = []
    for _, image, place in claims:
        shared = {
            index: iou(found[image].boxes[place], truth.boxes[image][index])
            for index in free[image]
        }
        best = max(shared, key=shared.get, default=None)
        hit = best is not None and shared[best] >= overlap
        if hit:
            free[image].remove(best)
        right.append(hit)
    hits = np.cumsum(right)
    precisions = hits / np.arange(1, len(hits) + 1)
    recalls = hits / objects
    reached = [
        max(precisions[recalls >= recall], default=0)
        for recall in np.linspace(0, 1, 101)
    ]
    return np.mean(reached)


def iou(a, b):
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(height, 0) * max(width, 0)
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return shared / (sum(areas) - shared)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_average_precision_agrees_with_a_second_method(seed):
    truth, found = random_case(seed)
    metrics = _detection.judge(answering(truth, found), truth, NAMES).metrics
    overlaps = np.linspace(0.5, 0.95, 10)
    second = np.array([
        [average_precision(truth, found, label, overlap) for label in range(3)]
        for overlap in overlaps
    ])  # fmt: skip
    assert metrics["ap"] == pytest.approx(second.mean(), abs=1e-6)
    assert metrics["ap50"] == pytest.approx(second[0].mean(), abs=1e-6)
    assert metrics["ap75"] == pytest.approx(second[5].mean(), abs=1e-6)
    for label, name in enumerate(NAMES):
        assert metrics[f"ap/{name}"] == pytest.approx(second[:, label].mean(), abs=1e-6)


BOX, AWAY = [0.2, 0.2, 0.6, 0.6], [0.7, 0.7, 0.9, 0.9]


def judged(boxes, labels, found):
    truth = split_of(boxes, labels)
    parts = [Found(np.array(b, float).reshape(-1, 4), np.array(s), np.array(c, int))
             for b, s, c in found]  # fmt: skip
    return _detection.judge(answering(truth, parts), truth, NAMES)


def test_what_is_found_exactly_has_an_average_precision_of_one():
    metrics = judged([[BOX]], [[1]], [([BOX], [0.9], [1])]).metrics
    wanted = dict.fromkeys(["ap", "ap50", "ap75", "ap/bee"], 1.0)
    assert metrics == pytest.approx(wanted)


def test_a_wrong_detection_before_the_right_one_halves_it():
    result = judged([[BOX]], [[0]], [([AWAY, BOX], [0.9, 0.5], [0, 0])])
    assert result.metrics["ap"] == pytest.approx(0.5)


def test_the_right_place_with_a_wrong_name_is_wrong():
    assert judged([[BOX]], [[0]], [([BOX], [0.9], [2])]).metrics["ap"] == 0


def test_an_overlap_of_064_counts_at_three_of_ten_thresholds():
    # 0.8 of the height and of the width: 0.64 of the area, and no more joint area.
    part = [0.2, 0.2, 0.52, 0.52]
    metrics = judged([[BOX]], [[0]], [([part], [0.9], [0])]).metrics
    assert metrics["ap50"] == pytest.approx(1)
    assert metrics["ap"] == pytest.approx(0.3)


def test_an_object_is_found_once():
    found = ([BOX, BOX], [0.9, 0.8], [0, 0])
    result = judged([[BOX], [BOX]], [[0], [0]], [found, ([], [], [])])
    # One of two objects, with full precision: recalls up to 0.5, 51 of 101.
    assert result.metrics["ap"] == pytest.approx(51 / 101)


def test_nothing_found_and_images_without_objects_are_judged():
    nothing = ([], [], [])
    result = judged([[BOX], []], [[0], []], [nothing, nothing])
    assert result.metrics["ap"] == 0
    assert "ant" in result.text
    result = judged([[BOX], []], [[0], []], [([BOX], [0.9], [0]), ([BOX], [0.95], [0])])
    assert result.metrics["ap"] == pytest.approx(0.5)


def test_a_box_that_is_no_number_finds_nothing():
    nowhere = [float("nan")] * 4
    assert judged([[BOX]], [[0]], [([nowhere], [0.9], [0])]).metrics["ap"] == 0


def test_classes_are_known_by_their_names():
    truth = split_of([[BOX]], [[1]])
    found = [Found(np.array([BOX]), np.array([0.9]), np.array([0]))]
    other = answering(truth, found, names=["bee", "ant"])
    assert _detection.judge(other, truth, NAMES).metrics["ap"] == pytest.approx(1)


def test_a_model_of_other_classes_is_told():
    truth = split_of([[BOX]], [[1]])
    found = [Found(np.array([BOX]), np.array([0.9]), np.array([0]))]
    with pytest.raises(UsageError, match="Received: `tree`"):
        _detection.judge(answering(truth, found, names=["tree"]), truth, NAMES)


def test_the_text_counts_what_is_found_and_what_is_made_up():
    found = [([BOX, AWAY], [0.9, 0.5], [0, 0]), ([AWAY], [0.1], [0])]
    text = judged([[BOX], [BOX]], [[0], [0]], found).text
    ant = next(line.split() for line in text.splitlines() if line.strip()[:3] == "ant")
    # 2 objects, half of them found, and one detection of nothing; 0.1 is too low.
    assert ant[3:] == ["2", "50.0%", "1"]


@pytest.mark.parametrize("images", [1, 12])
def test_every_panel_can_be_drawn(images):
    truth, found = random_case(4)
    truth = split_of(truth.boxes[:images], truth.labels[:images])
    result = _detection.judge(answering(truth, found), truth, NAMES)
    assert list(result.panels) == [
        "precision and recall", "worst images", "first images", "scores",
    ]  # fmt: skip
    for title, panel in result.panels.items():
        assert _report.picture(title, panel).min() < 128


def test_the_worst_image_is_the_one_with_the_most_mistakes():
    found = [([BOX], [0.9], [0]), ([AWAY, BOX], [0.9, 0.8], [0, 1]), ([], [], [])]
    truth = split_of([[BOX]] * 3, [[0]] * 3)
    parts = [Found(np.array(b, float).reshape(-1, 4), np.array(s), np.array(c, int))
             for b, s, c in found]  # fmt: skip
    result = _detection.judge(answering(truth, parts), truth, NAMES)
    drawn = result.panels["worst images"].args[0]
    # Two made up and one missed; one missed; the first image has none.
    assert [one.mistakes for one in drawn] == [3, 1]
    assert [one.image for one in drawn] == [truth.images[1], truth.images[2]]
