"""What is freed when versions go, and what the garbage collector no longer looks at."""

import gc
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


@pytest.fixture(autouse=True)
def seen_again():
    """What these tests hide is seen again afterwards."""
    yield
    gc.unfreeze()


def test_what_was_hidden_is_freed_once_it_is_known_to_have_left_cycles():
    ring = Ring()
    left = weakref.ref(ring)
    memory.note_cycles()
    memory.tidy()
    del ring
    memory.tidy()
    assert left() is not None
    memory.note_cycles()
    memory.tidy()
    assert left() is None


def test_few_new_objects_stay_in_sight_and_many_are_hidden():
    memory.note_cycles()
    memory.tidy()
    few = [Ring() for _ in range(100)]
    before = gc.get_freeze_count()
    memory.tidy()
    # Fewer, where a thread of another test let go of something that was hidden.
    assert gc.get_freeze_count() <= before
    many = [Ring() for _ in range(2 * memory._MANY)]
    memory.tidy()
    assert gc.get_freeze_count() > before + memory._MANY
    assert len(few) + len(many) == 100 + 2 * memory._MANY


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


def test_a_version_that_tensorflow_ran_leaves_cycles(half_plus_two):
    loaded = servable.load(half_plus_two, "h", 1, LoadOptions(cpu_engine="tensorflow"))
    memory.tidy()
    assert not memory._cycles.is_set()
    loaded.close()
    assert memory._cycles.is_set()


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
