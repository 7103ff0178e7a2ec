"""What TensorFlow is told before it is imported."""

import os
import pathlib
import subprocess
import sys

import pytest

from trainers import _speed

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(("given", "wanted"), [(None, "1"), ("0", "0")])
def test_onednn_computes_unless_the_user_said_otherwise(monkeypatch, given, wanted):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", given or "")
    if given is None:
        monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    _speed.prepare()
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == wanted


@pytest.mark.parametrize(
    ("strategy", "devices", "cluster"),
    [("mirrored", "auto", None), ("auto", "cpu:4", None), ("auto", "auto", "{}")],
)
def test_onednn_stays_away_where_a_replica_may_have_no_examples(
    monkeypatch, strategy, devices, cluster
):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
    if cluster:
        monkeypatch.setenv("TF_CONFIG", cluster)
    _speed.prepare(strategy, devices)
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "0"


def test_the_command_says_so_before_tensorflow_is_imported():
    code = (
        "import os, sys\n"
        "from pipelines import train\n"
        "assert not hasattr(sys.modules.get('tensorflow'), 'Variable')\n"
        "train.main(['no_such_model'])\n"
        "print(os.environ['TF_ENABLE_ONEDNN_OPTS'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "1\n", done.stderr
