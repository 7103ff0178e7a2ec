"""What MultiInference promises whatever predictor runs its tasks."""

import asyncio

import pytest

from serving import multi_inference
from serving.classify_regress import CLASSIFY, REGRESS
from serving.errors import ServableNotFoundError
from serving.multi_inference import Task
from serving.predictor import Classification, ModelSpec, Regression
from serving.signatures import SignatureInfo


class Switching:
    """A predictor whose version 1 gives way to version 2 after the first question."""

    def __init__(self):
        self.version = 1

    async def signatures(self, spec):
        answered, self.version = spec.version or self.version, 2
        info = {"inputs": None}
        classify = SignatureInfo(info, {"scores": None}, "")
        regress = SignatureInfo(info, {"outputs": None}, "")
        return answered, {"classify": classify, "regress": regress}

    def _check(self, spec):
        if spec.version != self.version:
            raise ServableNotFoundError("it is gone")

    async def classify(self, spec, examples, *, timeout_s=None):
        self._check(spec)
        return Classification([[("", 0.5)]], spec.version, spec.signature_name)

    async def regress(self, spec, examples, *, timeout_s=None):
        self._check(spec)
        return Regression([1.0], spec.version, spec.signature_name)


def tasks(version=None, label=None):
    return [
        Task(ModelSpec("m", version, label, "regress"), REGRESS),
        Task(ModelSpec("m", signature_name="classify"), CLASSIFY),
    ]


@pytest.mark.parametrize("label", [None, "stable"])
def test_a_version_that_goes_between_two_steps_gives_way_to_the_next(label):
    answers = asyncio.run(
        multi_inference.run(Switching(), tasks(label=label), [b""], None)
    )
    assert [(type(a), a.version) for a in answers] == [
        (Regression, 2),
        (Classification, 2),
    ]


def test_a_version_that_was_asked_for_does_not_give_way_to_another():
    with pytest.raises(ServableNotFoundError, match="it is gone"):
        asyncio.run(multi_inference.run(Switching(), tasks(version=1), [b""], None))
