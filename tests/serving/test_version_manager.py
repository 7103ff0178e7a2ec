"""Versions come, take over, fail and go; on real folders, with stand-ins for graphs."""

import contextlib
import shutil
import threading
import time

import pytest

from serving import version_folders
from serving.errors import InvalidRequestError, ServableNotFoundError
from serving.version_manager import VersionManager
from serving.version_policy import ALL, Source, VersionPolicy
from serving.version_state import WatchOptions

OPTIONS = WatchOptions(file_system_poll_wait_seconds=0.02)


class Graph:
    """What a version is loaded as: the text of its file."""

    def __init__(self, path):
        self.text = (path / "saved_model.pb").read_text()
        self.closed = False
        if self.text == "broken":
            raise InvalidRequestError("it is broken")
        if self.text == "bug":
            raise KeyError("bug")

    def close(self):
        self.closed = True


def write(store, model, version, text="good"):
    """Publishes a version as an export does: in one rename."""
    staging = store / model / f".writing-{version}"
    staging.mkdir(parents=True)
    (staging / "saved_model.pb").write_text(text)
    staging.rename(store / model / str(version))


@contextlib.contextmanager
def watching(store, options=OPTIONS, load=Graph, sources=None, **kwargs):
    manager = VersionManager(
        sources or (lambda: version_folders.models_in(store)),
        lambda path, name, version: load(path),
        options,
        **kwargs,
    )
    manager.start()
    try:
        yield manager
    finally:
        manager.stop()


def soon(condition):
    """Waits until a condition holds."""
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "it did not come true within 5 seconds"
        time.sleep(0.005)


def states(manager, model):
    try:
        return {s.version: s.state for s in manager.status(model)}
    except ServableNotFoundError:
        return {}


def test_the_newest_version_of_each_model_is_loaded(tmp_path):
    for model, version in [("a", 1), ("a", "00000012"), ("a", 3), ("b", 7)]:
        write(tmp_path, model, version)
    (tmp_path / "a" / "not_a_version").mkdir()
    with watching(tmp_path) as manager:
        soon(manager.settled)
        assert manager.available() == {"a": [12], "b": [7]}
        with manager.lease("a") as (version, _):
            assert version == 12


def test_unknown_servables_are_refused_in_tf_servings_words(tmp_path):
    write(tmp_path, "a", 1)
    with watching(tmp_path) as manager:
        soon(manager.settled)
        for name, version, text in [
            ("b", None, "Servable not found for request: Latest(b)"),
            ("b", 2, "Servable not found for request: Specific(b, 2)"),
            ("a", 99, "Servable not found for request: Specific(a, 99)"),
        ]:
            with pytest.raises(ServableNotFoundError) as caught:
                with manager.lease(name, version):
                    pass
            assert str(caught.value) == text
        with pytest.raises(ServableNotFoundError) as caught:
            manager.status("b")
        assert str(caught.value) == "Could not find any versions of model b"
        with pytest.raises(ServableNotFoundError) as caught:
            manager.status("a", 99)
        assert str(caught.value) == "Could not find version 99 of model a"


def test_a_new_version_takes_over_and_the_old_one_goes_after_its_last_call(tmp_path):
    write(tmp_path, "a", 1)
    with watching(tmp_path) as manager:
        soon(manager.settled)
        with manager.lease("a") as (_, old):
            write(tmp_path, "a", 2)
            soon(lambda: states(manager, "a") == {2: "AVAILABLE", 1: "UNLOADING"})
            with manager.lease("a") as (version, _):
                assert version == 2
            with pytest.raises(ServableNotFoundError), manager.lease("a", 1):
                pass
            assert not old.closed
        soon(lambda: states(manager, "a") == {2: "AVAILABLE", 1: "END"})
        soon(lambda: old.closed)
        assert [status.version for status in manager.status("a")] == [2, 1]


def test_a_slow_load_leaves_the_old_version_answering(tmp_path):
    gate = threading.Event()

    def load(path):
        if path.name == "2":
            gate.wait(5)
        return Graph(path)

    write(tmp_path, "a", 1)
    with watching(tmp_path, load=load) as manager:
        soon(manager.settled)
        write(tmp_path, "a", 2)
        soon(lambda: states(manager, "a") == {2: "LOADING", 1: "AVAILABLE"})
        assert not manager.settled()
        with manager.lease("a") as (version, _):
            assert version == 1
        write(tmp_path, "b", 1)  # nor does another model wait for it
        soon(lambda: states(manager, "b") == {1: "AVAILABLE"})
        gate.set()
        soon(lambda: states(manager, "a") == {2: "AVAILABLE", 1: "END"})


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("broken", "INVALID_ARGUMENT", "it is broken"),
        ("bug", "INTERNAL", "KeyError: 'bug'"),
    ],
)
def test_a_version_that_fails_says_why_and_the_old_one_still_answers(
    tmp_path, text, code, message
):
    write(tmp_path, "a", 1)
    with watching(tmp_path) as manager:
        soon(manager.settled)
        write(tmp_path, "a", 2, text)
        soon(lambda: states(manager, "a") == {2: "END", 1: "AVAILABLE"})
        status = manager.status("a", 2)[0]
        assert (status.error_code, status.error_message) == (code, message)
        with manager.lease("a") as (version, _):
            assert version == 1


def test_at_a_start_a_version_that_fails_is_passed_over(tmp_path):
    write(tmp_path, "a", 1)
    write(tmp_path, "a", 2, "broken")
    with watching(tmp_path) as manager:
        soon(lambda: states(manager, "a") == {2: "END", 1: "AVAILABLE"})


def test_a_repaired_version_is_loaded(tmp_path):
    write(tmp_path, "a", 1, "broken")
    with watching(tmp_path) as manager:
        soon(lambda: states(manager, "a") == {1: "END"})
        (tmp_path / "a/1/saved_model.pb").write_text("good again")
        soon(lambda: states(manager, "a") == {1: "AVAILABLE"})
        assert manager.status("a")[0].error_message == ""


def test_a_version_that_fails_is_tried_as_often_as_said(tmp_path):
    tries = []

    def load(path):
        tries.append(path)
        return Graph(path)

    options = WatchOptions(
        file_system_poll_wait_seconds=0.01,
        load_retry_interval_seconds=0.02,
        max_num_load_retries=2,
    )
    write(tmp_path, "a", 1, "broken")
    with watching(tmp_path, options, load=load) as manager:
        soon(lambda: len(tries) == 3)
        time.sleep(0.1)
        assert len(tries) == 3
        assert states(manager, "a") == {1: "END"}


def test_a_folder_without_saved_model_pb_is_not_ready_yet(tmp_path):
    write(tmp_path, "a", 1)
    (tmp_path / "a/2").mkdir()
    with watching(tmp_path) as manager:
        soon(manager.settled)
        assert states(manager, "a") == {1: "AVAILABLE"}
        (tmp_path / "a/2/saved_model.pb").write_text("good")
        soon(lambda: states(manager, "a") == {2: "AVAILABLE", 1: "END"})


def test_a_removed_version_gives_way_to_the_one_before(tmp_path):
    write(tmp_path, "a", 1)
    write(tmp_path, "a", 2)
    with watching(tmp_path) as manager:
        soon(lambda: states(manager, "a") == {2: "AVAILABLE", 1: "END"})
        shutil.rmtree(tmp_path / "a/2")
        soon(lambda: states(manager, "a") == {2: "END", 1: "AVAILABLE"})


def test_models_appear_and_vanish(tmp_path):
    with watching(tmp_path) as manager:
        soon(manager.settled)
        assert manager.available() == {}
        write(tmp_path, "a", 1)
        soon(lambda: manager.available() == {"a": [1]})
        shutil.rmtree(tmp_path / "a")
        soon(lambda: manager.available() == {})


def test_a_store_that_is_gone_for_a_moment_changes_nothing(tmp_path):
    write(tmp_path / "store", "a", 1)
    with watching(tmp_path / "store") as manager:
        soon(manager.settled)
        (tmp_path / "store").rename(tmp_path / "away")
        time.sleep(0.1)
        assert manager.available() == {"a": [1]}


def test_a_missing_base_path_touches_only_its_own_model(tmp_path):
    write(tmp_path, "a", 1)
    sources = {name: Source(tmp_path / name) for name in ("missing", "a")}
    with watching(tmp_path, sources=lambda: sources) as manager:
        soon(manager.settled)
        assert manager.available() == {"a": [1], "missing": []}
        with pytest.raises(ServableNotFoundError, match="Could not find base path"):
            manager.status("missing")
        write(tmp_path, "missing", 1)
        soon(lambda: manager.available() == {"a": [1], "missing": [1]})
        shutil.rmtree(tmp_path / "missing")
        time.sleep(0.1)
        assert manager.available() == {"a": [1], "missing": [1]}


def test_a_base_path_without_versions_says_so(tmp_path):
    write(tmp_path, "a", 1)
    (tmp_path / "b").mkdir()
    sources = {name: Source(tmp_path / name) for name in ("a", "b")}
    with watching(tmp_path, sources=lambda: sources) as manager:
        soon(manager.settled)
        with pytest.raises(ServableNotFoundError, match="leaf directory as a number"):
            manager.status("b")
        shutil.rmtree(tmp_path / "a/1")
        soon(lambda: states(manager, "a") == {1: "END"})


def test_looking_once_finds_what_is_there_and_nothing_later(tmp_path):
    write(tmp_path, "a", 1)
    options = WatchOptions(file_system_poll_wait_seconds=0)
    with watching(tmp_path, options) as manager:
        soon(lambda: states(manager, "a") == {1: "AVAILABLE"})
        write(tmp_path, "a", 2)
        time.sleep(0.1)
        assert states(manager, "a") == {1: "AVAILABLE"}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (VersionPolicy(2), [4, 3]),
        (ALL, [4, 3, 1]),
        (VersionPolicy(None, frozenset({1, 3, 9})), [3, 1]),
        (VersionPolicy(None, frozenset()), []),
    ],
)
def test_the_versions_that_the_policy_asks_for_are_loaded(tmp_path, policy, expected):
    for version in (1, 3, 4):
        write(tmp_path, "a", version)
    sources = {"a": Source(tmp_path / "a", policy)}
    with watching(tmp_path, sources=lambda: sources) as manager:
        soon(manager.settled)
        assert manager.available() == {"a": expected}


def test_another_policy_takes_effect_at_once_without_a_gap(tmp_path):
    for version in (1, 2):
        write(tmp_path, "a", version)
    sources = {"a": Source(tmp_path / "a")}
    options = WatchOptions(file_system_poll_wait_seconds=60)
    gate = threading.Event()

    def load(path):
        if path.name == "1":
            gate.wait(5)
        return Graph(path)

    with watching(tmp_path, options, load, sources=lambda: sources) as manager:
        soon(lambda: states(manager, "a") == {2: "AVAILABLE", 1: "END"})
        one = VersionPolicy(None, frozenset({1}))
        sources["a"] = Source(tmp_path / "a", one)
        manager.look_again().result(5)
        soon(lambda: states(manager, "a") == {2: "AVAILABLE", 1: "LOADING"})
        gate.set()
        soon(lambda: states(manager, "a") == {2: "END", 1: "AVAILABLE"})
        del sources["a"]
        manager.look_again().result(5)
        soon(lambda: manager.available() == {})


def test_of_several_that_nobody_wants_the_newest_answers_until_another_can(tmp_path):
    for version in (1, 2, 3):
        write(tmp_path, "a", version)
    policy = {"a": VersionPolicy(num_versions=None, specific=frozenset({1, 2}))}
    go_on = threading.Event()

    def load(path):
        if path.name == "3":
            assert go_on.wait(5)
        return Graph(path)

    def sources():
        return {"a": Source(tmp_path / "a", policy["a"])}

    with watching(tmp_path, load=load, sources=sources) as manager:
        soon(lambda: manager.available() == {"a": [2, 1]})
        policy["a"] = VersionPolicy(num_versions=None, specific=frozenset({3}))
        expected = {3: "LOADING", 2: "AVAILABLE", 1: "END"}
        soon(lambda: states(manager, "a") == expected)
        go_on.set()
        soon(lambda: manager.available() == {"a": [3]})


def test_specific_versions_that_are_missing_are_told_once(tmp_path, caplog):
    write(tmp_path, "a", 1)
    sources = {"a": Source(tmp_path / "a", VersionPolicy(None, frozenset({1, 7})))}
    with watching(tmp_path, sources=lambda: sources) as manager:
        soon(manager.settled)
        for _ in range(3):
            manager.look_again().result(5)
    assert caplog.text.count("Versions [7] of servable a") == 1


def test_folders_of_the_same_version_are_told_and_the_plain_one_counts(
    tmp_path, caplog
):
    write(tmp_path, "a", "001", "broken")
    write(tmp_path, "a", 1)
    with watching(tmp_path) as manager:
        soon(lambda: manager.available() == {"a": [1]})
        manager.look_again().result(5)
    assert caplog.text.count("Duplicate version directories detected") == 1
    assert "are ignored: 001." in caplog.text


def test_what_keeps_a_model_from_being_available_is_known(tmp_path):
    gate = threading.Event()

    def load(path):
        gate.wait(5)
        return Graph(path)

    write(tmp_path, "bad", 1, "broken")
    write(tmp_path, "good", 1)
    sources = {name: Source(tmp_path / name) for name in ("bad", "good", "missing")}
    with watching(tmp_path, load=load, sources=lambda: sources) as manager:
        manager.look_again().result(5)
        assert manager.failures("bad") is None
        gate.set()
        soon(manager.settled)
        assert [f.error_message for f in manager.failures("bad")] == ["it is broken"]
        assert manager.failures("good") == []
        assert manager.failures("missing") is None


def test_who_asks_for_a_look_may_leave_before_it(tmp_path):
    write(tmp_path, "a", 1)
    sources = {}
    gate = threading.Event()
    inside = threading.Event()

    def find():
        inside.set()
        gate.wait(5)
        return sources

    options = WatchOptions(file_system_poll_wait_seconds=0)
    with watching(tmp_path, options, sources=find) as manager:
        assert inside.wait(5)
        assert manager.look_again().cancel()
        sources["a"] = Source(tmp_path / "a")
        gate.set()
        manager.look_again().result(5)
        soon(lambda: manager.available() == {"a": [1]})


def test_a_model_that_moves_is_tried_again_in_its_new_place(tmp_path):
    write(tmp_path / "old", "a", 1, "broken")
    write(tmp_path / "new", "a", 1)
    sources = {"a": Source(tmp_path / "old/a")}
    options = WatchOptions(file_system_poll_wait_seconds=0)
    with watching(tmp_path, options, sources=lambda: sources) as manager:
        soon(lambda: manager.failures("a"))
        sources["a"] = Source(tmp_path / "new/a")
        manager.look_again().result(5)
        soon(lambda: manager.available() == {"a": [1]})


def test_folders_are_never_looked_at_where_the_wait_is_negative(tmp_path):
    write(tmp_path, "a", 1)
    options = WatchOptions(file_system_poll_wait_seconds=-1)
    with watching(tmp_path, options) as manager:
        soon(manager.settled)
        manager.look_again().result(5)
        assert manager.available() == {}


def test_changes_are_told(tmp_path):
    told = []
    with watching(tmp_path, on_change=lambda: told.append(1)) as manager:
        soon(lambda: told)  # the first look, though it found nothing
        soon(manager.settled)
        before = len(told)
        write(tmp_path, "a", 1)
        soon(lambda: len(told) > before)


def test_stopping_frees_what_is_loaded(tmp_path):
    write(tmp_path, "a", 1)
    with watching(tmp_path) as manager:
        soon(lambda: manager.available() == {"a": [1]})
        with manager.lease("a") as (_, graph):
            pass
    assert graph.closed
