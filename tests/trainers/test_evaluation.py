"""Metrics against figures worked out by hand, and pictures that can be drawn."""

import math

import numpy as np
import PIL.Image
import pytest

from trainers import _evaluation, _report

NAMES = ["cat", "dog", "owl"]
# Two cats, one of them taken for a dog; one dog, found; two owls, both missed.
LABELS = np.array([0, 0, 1, 2, 2])
SCORES = np.array(
    [
        [0.50, 0.25, 0.25],
        [0.25, 0.50, 0.25],
        [0.00, 1.00, 0.00],
        [0.75, 0.00, 0.25],
        [0.25, 0.625, 0.125],
    ],
    np.float32,
)
IMAGES = np.arange(5 * 4, dtype=np.uint8).reshape(5, 2, 2, 1)


@pytest.fixture
def evaluation():
    return _evaluation.classification(LABELS, SCORES, IMAGES, NAMES)


def test_accuracy_is_the_share_of_right_answers(evaluation):
    assert evaluation.metrics["accuracy"] == 2 / 5


def test_cross_entropy_is_the_mean_surprise_in_nats(evaluation):
    # Scores of the truth: 1/2, 1/4, 1, 1/4, 1/8; so 1 + 2 + 0 + 2 + 3 bits.
    assert evaluation.metrics["cross_entropy"] == pytest.approx(8 * math.log(2) / 5)


@pytest.mark.parametrize(("name", "recall"), [("cat", 0.5), ("dog", 1), ("owl", 0)])
def test_recall_is_the_share_of_a_class_that_was_found(evaluation, name, recall):
    assert evaluation.metrics[f"recall/{name}"] == recall


def test_a_class_without_examples_has_no_recall():
    only_cats = LABELS == 0
    result = _evaluation.classification(
        LABELS[only_cats], SCORES[only_cats], IMAGES[only_cats], NAMES
    )
    assert "recall/cat" in result.metrics
    assert "recall/owl" not in result.metrics


def test_a_score_of_zero_for_the_truth_stays_finite():
    scores = np.array([[0.0, 1.0, 0.0]], np.float32)
    result = _evaluation.classification(np.array([0]), scores, IMAGES[:1], NAMES)
    assert math.isfinite(result.metrics["cross_entropy"])


def test_the_text_is_the_confusion_matrix(evaluation):
    rows = [line.split() for line in evaluation.text.splitlines()]
    assert ["cat", "|", "1", "1", ".", "|", "50.00%"] in rows
    assert ["dog", "|", ".", "1", ".", "|100.00%"] in rows
    assert ["owl", "|", "1", "1", ".", "|", "0.00%"] in rows


@pytest.mark.parametrize(
    ("labels", "scores", "images"),
    [
        (LABELS[:4], SCORES, IMAGES),
        (LABELS, SCORES[:, :2], IMAGES),
        (LABELS, SCORES, IMAGES[:4]),
        (LABELS[:0], SCORES[:0], IMAGES[:0]),
    ],
    ids=["too few labels", "too few classes", "too few images", "no examples"],
)
def test_arrays_that_do_not_fit_are_refused(labels, scores, images):
    with pytest.raises(ValueError, match="Received: labels"):
        _evaluation.classification(labels, scores, images, NAMES)


@pytest.mark.parametrize("rows", [1, 2, 4, 5, 100])
def test_many_rows_are_asked_for_in_pieces_and_put_together(rows):
    sizes = []

    def double(inputs):
        sizes.append(len(inputs["x"]))
        return {"twice": 2 * inputs["x"]}

    answer = _evaluation.ask(double, {"x": np.arange(5)}, rows=rows)
    assert answer["twice"].tolist() == [0, 2, 4, 6, 8]
    assert max(sizes) == min(rows, 5)


@pytest.mark.parametrize(
    "inputs", [{}, {"x": np.zeros(0)}, {"x": np.zeros(2), "y": np.zeros(3)}]
)
def test_nothing_to_ask_is_refused(inputs):
    with pytest.raises(ValueError, match="same number of examples"):
        _evaluation.ask(lambda batch: batch, inputs)


def test_every_panel_becomes_a_picture(evaluation):
    assert set(evaluation.panels) >= {"confusion matrix", "worst mistakes"}
    for title, panel in evaluation.panels.items():
        image = _report.picture(title, panel)
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[-1] == 3
        assert image.min() < 128  # something is drawn on the white


def test_a_classifier_without_mistakes_can_be_drawn():
    perfect = np.eye(3, dtype=np.float32)
    result = _evaluation.classification(np.arange(3), perfect, IMAGES[:3], NAMES)
    for title, panel in result.panels.items():
        _report.picture(title, panel)


def test_worst_mistakes_come_first_and_say_what_is_true(evaluation):
    axes = _Recorded()
    evaluation.panels["worst mistakes"](axes)
    # Scores of the truth: 1/8 (an owl), 1/4 (a cat), 1/4 (an owl).
    assert axes.texts == [
        "says dog (62%)\nis owl (12.5%)",
        "says dog (50%)\nis cat (25.0%)",
        "says cat (75%)\nis owl (25.0%)",
    ]


class _Recorded:
    """Stands in for axes and keeps the texts."""

    def __init__(self):
        self.texts = []

    def text(self, x, y, text, **look):
        del x, y, look
        self.texts.append(text)

    def __getattr__(self, name):
        return lambda *arguments, **keywords: None


def test_the_report_is_one_picture_of_everything(evaluation, tmp_path):
    path = tmp_path / "report.png"
    history = {"loss": [2.0, 1.0], "val_loss": [2.5, 1.5], "learning_rate": [0.1, 0.0]}
    _report.write(path, "A title", history, evaluation)
    with PIL.Image.open(path) as image:
        assert image.format == "PNG"
        assert min(image.size) >= 1000
    assert list(tmp_path.iterdir()) == [path]
