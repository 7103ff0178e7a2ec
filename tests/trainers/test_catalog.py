"""Names are found by file, and a wrong one is answered with the nearest right one."""

import subprocess
import sys

import pytest

from savedmodels.errors import UsageError
from trainers import _catalog


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A trainers folder with two models, two data sets and private files."""
    for name in ("_fit", "mnist_classifier", "bert_text_classifier", "__init__"):
        (tmp_path / f"{name}.py").touch()
    (tmp_path / "datasets").mkdir()
    for name in ("_load", "mnist", "orl_faces"):
        (tmp_path / "datasets" / f"{name}.py").touch()
    monkeypatch.setattr(_catalog, "_TRAINERS", tmp_path)


def test_every_file_without_an_underscore_is_a_model_or_a_data_set(files):
    assert _catalog.model_names() == ["bert_text_classifier", "mnist_classifier"]
    assert _catalog.dataset_names() == ["mnist", "orl_faces"]


def test_names_are_listed_without_tensorflow():
    code = (
        "import sys; from trainers import _catalog; _catalog.model_names();"
        "_catalog.check_dataset('mnist'); _catalog.check_dataset('tfds:mnist');"
        "sys.exit('tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# What only some of the models need.
HEAVY = "official tf_keras gensim tensorflow_text babel sacrebleu pycocotools".split()


@pytest.mark.parametrize(
    "code",
    [
        "import trainers",
        "from pipelines import models; models.main(['--store', 'nowhere'])",
        "from trainers import lstm_text_classifier",
        "from trainers import mnist_classifier, _fit",
    ],
)
def test_a_model_imports_no_library_of_another_one(code):
    ends = f"import sys; print([n for n in {HEAVY} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{ends}"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("mnist_clasifier", "mnist_classifier"), ("bert", "bert_text_classifier")],
)
def test_a_wrong_model_is_answered_with_the_nearest(files, wrong, nearest):
    with pytest.raises(UsageError, match=f"Did you mean `{nearest}`") as caught:
        _catalog.load_model(wrong)
    assert f"Received: `{wrong}`" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("mnst", "mnist"),
        ("tfds:fashion_mnst", "tfds:fashion_mnist"),
        ("tfds:emnist2/digits", "tfds:emnist"),
        ("mnist+orl_facs", "orl_faces"),
    ],
)
def test_a_wrong_data_set_is_answered_with_the_nearest(files, wrong, nearest):
    with pytest.raises(UsageError, match=f"Did you mean `{nearest}`"):
        _catalog.check_dataset(wrong)


def test_a_name_like_no_other_gets_the_list_and_no_guess(files):
    with pytest.raises(UsageError) as caught:
        _catalog.check_dataset("xyzzy")
    assert "`mnist`, `orl_faces`" in str(caught.value)
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "mnist",
        "tfds:mnist",
        "tfds:fashion_mnist",
        "tfds:emnist/digits:3.1.0",
        "mnist+tfds:mnist",
    ],
)
def test_right_data_sets_pass(name):
    _catalog.check_dataset(name)


@pytest.mark.parametrize(
    "name", ["_load", "../mnist", "", "tfds:", "trainers.mnist", "mnist+"]
)
def test_what_is_no_name_at_all_is_refused(name):
    with pytest.raises(UsageError):
        _catalog.check_dataset(name)
