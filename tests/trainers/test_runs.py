"""Run folders: found again after a kill, shared by nobody, ended once."""

import datetime
import json
import multiprocessing
import pathlib

import pytest

from trainers import _runs
from trainers._config import TrainConfig
from trainers._errors import TrainingError

CONFIG = TrainConfig(dataset="mnist", epochs=2, learning_rate=0.1)
OTHER = TrainConfig(dataset="mnist", epochs=3, learning_rate=0.1)


def open_and_close(runs, config=CONFIG):
    run = _runs.open_run(runs, "digits", config)
    run.close()
    return run


def test_a_new_run_is_named_after_the_moment_it_began(tmp_path):
    before = datetime.datetime.now().replace(microsecond=0)
    run = open_and_close(tmp_path)
    began = datetime.datetime.strptime(run.path.name, "%Y%m%d-%H%M%S")
    assert before <= began <= datetime.datetime.now()
    assert run.path.parent == tmp_path / "digits"
    assert not run.resumed


def test_a_new_run_says_what_it_trains(tmp_path):
    content = json.loads((open_and_close(tmp_path).path / "config.json").read_text())
    assert content["config"]["epochs"] == 2


def test_an_unfinished_run_goes_on(tmp_path):
    first = open_and_close(tmp_path)
    second = open_and_close(tmp_path)
    assert second.path == first.path
    assert second.resumed


def test_a_run_of_another_configuration_is_left_alone(tmp_path):
    first = open_and_close(tmp_path)
    second = open_and_close(tmp_path, OTHER)
    assert second.path != first.path
    assert not second.resumed


def test_the_newest_of_two_unfinished_runs_goes_on(tmp_path):
    older = _runs.open_run(tmp_path, "digits", CONFIG)
    newer = open_and_close(tmp_path)  # the older one is held, so this is another
    older.close()
    assert newer.path.name > older.path.name
    assert open_and_close(tmp_path).path == newer.path


@pytest.mark.parametrize("end", ["finish", "fail"])
def test_an_ended_run_does_not_go_on(tmp_path, end):
    first = _runs.open_run(tmp_path, "digits", CONFIG)
    if end == "finish":
        first.finish(tmp_path / "models" / "digits" / "1")
    else:
        first.fail("the loss is nan")
    assert open_and_close(tmp_path).path != first.path


def test_a_finished_run_names_its_version(tmp_path):
    run = _runs.open_run(tmp_path, "digits", CONFIG)
    run.finish(pathlib.Path("models/digits/7"))
    ended = json.loads((run.path / "ended.json").read_text())
    assert ended == {"exported": "models/digits/7"}


def _open_in_child(runs, paths):
    paths.put(_runs.open_run(runs, "digits", CONFIG).path)


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    held = _runs.open_run(tmp_path, "digits", CONFIG)
    context = multiprocessing.get_context("fork")
    paths = context.SimpleQueue()
    child = context.Process(target=_open_in_child, args=(tmp_path, paths))
    child.start()
    path = paths.get()
    child.join(10)
    held.close()
    assert path != held.path


def test_folders_that_are_no_runs_are_passed_over(tmp_path):
    parent = tmp_path / "digits"
    (parent / "99999999-empty").mkdir(parents=True)
    (parent / "99999999-torn").mkdir()
    (parent / "99999999-torn" / "config.json").write_text('{"fingerpr')
    (parent / "notes.txt").write_text("not a folder")
    assert not open_and_close(tmp_path).resumed


def test_a_folder_that_cannot_be_written_is_one_clear_message(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrainingError, match="cannot be written.*--runs"):
        _runs.open_run(tmp_path / "file", "digits", CONFIG)


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "metrics.json"
    _runs.write_json(path, {"accuracy": 0.5})
    with pytest.raises(TypeError):
        _runs.write_json(path, {"accuracy": object()})
    assert json.loads(path.read_text()) == {"accuracy": 0.5}
    assert list(tmp_path.iterdir()) == [path]
