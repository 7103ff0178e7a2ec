"""What is freed when versions go, and what the garbage collector no longer looks at."""

import gc
import subprocess
import sys
import threading
import weakref

import pytest

from serving import loaded_version, memory, servable, turns
from serving.loaded_version import EmbeddedOptions
from serving.servable import LoadOptions
from serving.server_metrics import ServerMetrics


class Ring:
    """Refers to itself, so that only the collector can free it."""

    def __init__(self):
        self.ring = self


@pytest.fixture
def without_graphs(monkeypatch):
    """As in a process that has not imported TensorFlow."""
    monkeypatch.setattr(memory, "_graphs", threading.Event())
    yield
    gc.unfreeze()  # what these tests hide


def test_few_new_objects_stay_in_sight_and_many_are_hidden(without_graphs):
    gc.freeze()
    few = [Ring() for _ in range(100)]
    before = gc.get_freeze_count()
    memory.tidy()
    # Fewer, where a thread of another test let go of something that was hidden.
    assert gc.get_freeze_count() <= before
    many = [Ring() for _ in range(2 * memory._MANY)]
    memory.tidy()
    assert gc.get_freeze_count() > before + memory._MANY
    assert len(few) + len(many) == 100 + 2 * memory._MANY


def test_what_a_server_imports_is_hidden_when_it_has_started():
    # Another process: this one has far more objects.
    script = (
        "import gc; from serving import memory, server; memory.tidy(); "
        "print(len(gc.get_objects()), gc.get_freeze_count())"
    )
    told = subprocess.check_output([sys.executable, "-c", script], text=True)
    seen, hidden = map(int, told.split())
    assert seen < 1_000
    assert hidden > 10_000


def test_modules_are_hidden_once_and_nothing_after_them(without_graphs):
    gc.unfreeze()
    memory.hide_modules()
    before = gc.get_freeze_count()
    assert before > 0
    many = [Ring() for _ in range(2 * memory._MANY)]
    memory.hide_modules()
    memory.tidy()
    assert gc.get_freeze_count() <= before
    left = weakref.ref(many.pop())
    memory.tidy()
    assert left() is None


def test_a_version_that_litert_runs_is_freed_by_its_last_reference(digits_litert):
    options = EmbeddedOptions(load=LoadOptions(cpu_engine="litert"))
    loaded = loaded_version.load(digits_litert, "d", 1, options, ServerMetrics())
    engine = loaded.servable._engines["serving_default"]
    left = [weakref.ref(part) for part in (loaded, loaded.servable, engine)]
    gc.disable()
    try:
        loaded.close()
        del loaded, engine
        assert [part() for part in left] == [None] * 3
    finally:
        gc.enable()


def test_a_graph_of_tensorflow_is_freed_when_its_version_goes(half_plus_two):
    loaded = servable.load(half_plus_two, "h", 1, LoadOptions(cpu_engine="tensorflow"))
    memory.tidy()
    graph = weakref.ref(loaded._engines["serving_default"]._model)
    assert graph() is not None
    loaded.close()
    memory.tidy()
    assert graph() is None


def test_turns_are_short_while_some_version_loads():
    usual = sys.getswitchinterval()
    begun, go_on = threading.Event(), threading.Event()

    def load():
        with turns.short():
            begun.set()
            go_on.wait(20)

    thread = threading.Thread(target=load)
    with turns.short():
        thread.start()
        assert begun.wait(20)
        assert sys.getswitchinterval() < usual
    assert sys.getswitchinterval() < usual
    go_on.set()
    thread.join()
    assert sys.getswitchinterval() == usual
