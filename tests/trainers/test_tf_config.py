"""What TF_CONFIG says of a cluster, and what is wrong with it."""

import json

import pytest

from savedmodels.errors import UsageError
from trainers import _tf_config

WORKERS = ["10.0.0.1:2222", "10.0.0.2:2222"]


def read(cluster, job="worker", index=0):
    content = {"cluster": cluster, "task": {"type": job, "index": index}}
    return _tf_config.read({"TF_CONFIG": json.dumps(content)})


@pytest.mark.parametrize(("place", "is_chief"), [(0, True), (1, False)])
def test_without_a_chief_the_first_worker_is_the_chief(place, is_chief):
    cluster = _tf_config.read({"TF_CONFIG": _tf_config.written(WORKERS, place)})
    assert cluster.addresses == tuple(WORKERS)
    assert (cluster.job, cluster.index) == ("worker", place)
    assert cluster.is_chief is is_chief


def test_a_chief_is_a_worker_too_and_the_first():
    jobs = {"worker": WORKERS, "chief": ["10.0.0.9:2222"]}
    worker = read(jobs, index=0)
    assert worker.addresses == ("10.0.0.9:2222", *WORKERS)
    assert (worker.place, worker.is_chief) == (1, False)
    assert read(jobs, "chief").is_chief


def test_a_number_may_be_written_as_text_which_operators_do():
    assert read({"worker": WORKERS}, index="1").place == 1


@pytest.mark.parametrize("text", ["", " ", "{}", '{"cluster": {}}'])
def test_what_names_no_worker_is_no_cluster(text):
    assert _tf_config.read({"TF_CONFIG": text}) is None
    assert _tf_config.read({}) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("worker:0", "no JSON"),
        ("[]", "no object"),
        ('{"cluster": ["a:1"]}', "no object"),
        ('{"cluster": {"worker": ["a:1"]}}', "`task` does not name"),
    ],
)
def test_what_is_no_cluster_is_one_clear_message(text, why):
    with pytest.raises(UsageError, match=why) as refused:
        _tf_config.read({"TF_CONFIG": text})
    assert 'Expected {"cluster": {"worker"' in str(refused.value)
    assert str(refused.value).endswith(f"Received: {text}.")


@pytest.mark.parametrize(
    ("cluster", "job", "index", "why"),
    [
        ({"worker": WORKERS}, "chief", 0, "`task` does not name a job"),
        ({"worker": WORKERS}, "worker", 2, "is not in its job"),
        ({"worker": WORKERS}, "worker", -1, "is not in its job"),
        ({"worker": WORKERS}, "worker", "first", "is no number"),
        ({"worker": WORKERS}, "worker", None, "is no number"),
        ({"worker": WORKERS, "ps": ["a:1"]}, "ps", 0, "no such job trains here: ps"),
        ({"worker": "a:1"}, "worker", 0, "no list of host:port"),
        ({"worker": ["a"]}, "worker", 0, "no list of host:port"),
        ({"worker": ["a:70000"]}, "worker", 0, "no list of host:port"),
        ({"worker": ["a:1", "a:1"]}, "worker", 0, "the same address"),
        ({"chief": WORKERS, "worker": ["a:1"]}, "worker", 0, "more than one chief"),
    ],
)
def test_what_does_not_fit_together_says_why(cluster, job, index, why):
    with pytest.raises(UsageError, match=why):
        read(cluster, job, index)
