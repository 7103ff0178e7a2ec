"""Of many boxes around an object one is answered, with the best name and place."""

import numpy as np
import pytest
import tensorflow as tf

from trainers._suppression import Boxes, one_for_each_object


def answered(boxes, scores, classes=None, most=10):
    classes = [0] * len(scores) if classes is None else classes
    found = Boxes(
        tf.constant(boxes, tf.float32, [len(scores), 4]),
        tf.constant(scores, tf.float32),
        tf.constant(classes, tf.int64),
    )
    return [part.numpy() for part in one_for_each_object(found, most)]


def test_the_answer_is_the_mean_of_what_is_much_alike_by_the_squares_of_scores():
    # Overlaps with the first: 9 / 11 = 0.82 votes; 7 / 13 = 0.54 is left out.
    boxes = [[0, 0, 0.1, 1], [0.01, 0, 0.11, 1], [0.03, 0, 0.13, 1]]
    found, scores, _ = answered(boxes, [0.9, 0.6, 0.5])
    wanted = 0.01 * 0.6**2 / (0.9**2 + 0.6**2)
    np.testing.assert_allclose(found, [[wanted, 0, 0.1 + wanted, 1]], atol=1e-6)
    assert scores == pytest.approx([0.9])


def test_half_an_overlap_leaves_two_objects():
    # 6 / 14 = 0.43.
    boxes = [[0, 0, 0.1, 1], [0.04, 0, 0.14, 1]]
    assert len(answered(boxes, [0.9, 0.8])[0]) == 2


def test_other_classes_neither_suppress_nor_vote():
    # 6 / 10 = 0.6: of one class they would be one object.
    boxes = [[0, 0, 0.1, 1], [0, 0, 0.06, 1]]
    found, _, classes = answered(boxes, [0.9, 0.8], [3, 7])
    np.testing.assert_allclose(found, boxes, atol=1e-6)
    assert classes.tolist() == [3, 7]


def test_the_same_place_has_one_name():
    boxes = [[0, 0, 0.5, 0.5]] * 3
    _, scores, classes = answered(boxes, [0.3, 0.9, 0.8], [1, 2, 3])
    assert classes.tolist() == [2]
    assert scores == pytest.approx([0.9])


@pytest.mark.parametrize(
    "box", [[0, 0, 0, 1], [1, 0, 1, 1], [0.5, 0.5, 0.2, 0.9], [float("nan")] * 4]
)
def test_what_has_no_area_in_the_image_is_no_answer(box):
    boxes = [box, [0, 0, 0.5, 0.5], box]
    found, scores, _ = answered(boxes, [0.9, 0.8, 0.7])
    np.testing.assert_allclose(found, [[0, 0, 0.5, 0.5]])
    assert scores == pytest.approx([0.8])


def test_the_smallest_boxes_of_the_last_of_a_thousand_classes_are_told_apart():
    boxes = np.array([[0, 0, 1, 1], [0, 2, 1, 3]]) * 1e-4
    found, _, classes = answered(boxes, [0.9, 0.8], [1202, 1202])
    np.testing.assert_allclose(found, boxes, rtol=1e-5)
    assert classes.tolist() == [1202, 1202]


def test_nothing_found_is_nothing_answered():
    found, scores, classes = answered([], [])
    assert (found.shape, scores.shape, classes.shape) == ((0, 4), (0,), (0,))


def test_no_more_are_answered_than_there_is_room_for():
    boxes = [[0, n / 10, 1, (n + 1) / 10] for n in range(10)]
    scores = np.linspace(0.1, 0.9, 10)
    assert answered(boxes, scores, most=3)[1] == pytest.approx(scores[:-4:-1])
