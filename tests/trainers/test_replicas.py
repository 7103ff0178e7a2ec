"""A model is the same, whatever the number of replicas that trained it."""

import numpy as np
import pytest

from tests.trainers import small_models, splitting
from trainers import _catalog

TOLERANCE = 1e-4
# Of a deep network the first steps are the same to the last digit but one; then Adam
# makes much of it.
TOLERANCES = {"retinanet_detector": 2e-2, "half": 5e-3}
QUICK = ("mnist_classifier", "in parts")  # the others take minutes
MODELS = [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)
    for name in _catalog.model_names()
    if name != "word2vec_embedding"  # has no such step: gensim trains it
]


def assert_alike(found, wanted, tolerance=TOLERANCE):
    """The same curves and weights, but for the order of sums."""
    for step, (a, b) in enumerate(zip(found["steps"], wanted["steps"], strict=True)):
        assert a == pytest.approx(b, rel=tolerance, abs=1e-6), f"step {step}"
    for name, curve in wanted["history"].items():
        assert found["history"][name] == pytest.approx(curve, rel=tolerance), name
    for a, b in zip(found["weights"], wanted["weights"], strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.fixture(scope="module")
def trained(datasets_dir, tmp_path_factory):
    done = {}

    def trained(name):
        if not done:  # all quick ones at once: TensorFlow is imported once for them
            folder = tmp_path_factory.mktemp("quick")
            done.update(
                dict.fromkeys(QUICK, splitting.run(folder, datasets_dir, *QUICK))
            )
        if name not in done:
            folder = tmp_path_factory.mktemp(name)
            done[name] = splitting.run(folder, datasets_dir, name)
        return done[name]

    return trained


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[] if case in QUICK else pytest.mark.slow)
        for case in small_models.CASES
    ],
)
def test_replicas_take_the_same_steps_as_one_device(trained, case):
    runs = trained(case)
    for flavour in small_models.FLAVOURS:
        for replicas in small_models.CASES[case][0][1:]:
            found, wanted = (
                runs[f"{case} {flavour} on {count}"] for count in (replicas, 1)
            )
            assert_alike(found, wanted, TOLERANCES.get(case, TOLERANCE))


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_the_same_on_two_and_four_replicas(trained, name):
    runs = trained(name)
    for replicas in (2, 4):
        found, wanted = (runs[f"{name} on {count}"] for count in (replicas, 1))
        assert_alike(found, wanted, TOLERANCES.get(name, TOLERANCE))
        assert found["steps"][0] == pytest.approx(wanted["steps"][0], rel=TOLERANCE)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_answers_exported_as_it_did_trained_on_replicas(trained, name):
    for replicas in (2, 4):
        assert trained(name)[f"{name} on {replicas}"]["difference"] < 1e-5
