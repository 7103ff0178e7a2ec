"""SavedModels of TensorFlow 1: sessions, tables, assets, and ops that run at a load."""

import numpy as np
import pytest
from server_process import soon

from serving import loaded_version, servable
from serving.errors import ResourceExhaustedError
from serving.loaded_version import EmbeddedOptions
from serving.server_metrics import ServerMetrics
from serving.version_manager import VersionManager
from serving.version_policy import Source
from serving.version_state import WatchOptions

WORDS = ["nought", "one", "two"]


def write(tf, path, make):
    """Writes what `make(graph)` returns: signature inputs, outputs and a main op."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        inputs, outputs, main_op = make(v1)
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        builder = v1.saved_model.Builder(str(path))
        signature = v1.saved_model.predict_signature_def(inputs, outputs)
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {"serving_default": signature},
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            main_op=main_op,
        )
        builder.save()
    return path


@pytest.fixture(scope="module")
def numbers(tmp_path_factory, tf):
    """Version folder: `word` string [batch] -> its number, times ten, int64."""
    folder = tmp_path_factory.mktemp("numbers")
    words = folder / "words.txt"
    words.write_text("\n".join(WORDS) + "\n")

    def make(v1):
        word = v1.placeholder(tf.string, [None], "word")
        ten = v1.get_variable("ten", initializer=10, dtype=tf.int32, use_resource=False)
        asset = tf.constant(str(words))
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, asset)
        table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                asset,
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            ),
            -1,
        )
        number = table.lookup(word) * tf.cast(ten, tf.int64)
        return {"word": word}, {"number": number}, v1.tables_initializer()

    path = write(tf, folder / "1", make)
    words.unlink()  # the version has its own, and no other is read
    return path


@pytest.fixture(scope="module")
def greedy(tmp_path_factory, tf):
    """Version folder: what runs at its load wants four terabytes."""

    def make(v1):
        x = v1.placeholder(tf.float32, [None], "x")
        one = v1.get_variable("one", initializer=1.0)
        many = tf.random.uniform([1 << 40])
        main_op = tf.group(v1.assign(one, tf.reduce_max(many)))
        return {"x": x}, {"y": x * one}, main_op

    return write(tf, tmp_path_factory.mktemp("greedy") / "2", make)


def test_tables_assets_and_variables_of_a_session_answer(numbers):
    loaded = servable.load(numbers, "numbers", 1)
    assert loaded.engine() == "tensorflow"
    words = np.array([b"two", b"one", b"three"], np.object_)
    np.testing.assert_array_equal(
        loaded.run("", {"word": words})["number"], [20, 10, -10]
    )
    signature = loaded.signatures["serving_default"]
    assert signature.inputs["word"].shape == (None,)
    assert signature.outputs["number"].dtype == np.int64


def test_a_load_that_runs_out_of_memory_ends_with_its_reason_beside_the_old_version(
    tmp_path, numbers, greedy
):
    base_path = tmp_path / "m"
    base_path.mkdir()
    (base_path / "1").symlink_to(numbers)
    options = EmbeddedOptions()

    def load(path, name, version):
        return loaded_version.load(path, name, version, options, ServerMetrics())

    watch = WatchOptions(file_system_poll_wait_seconds=0.05)
    manager = VersionManager(lambda: {"m": Source(base_path)}, load, watch)
    manager.start()
    try:
        soon(manager.settled)
        (base_path / "2").symlink_to(greedy)
        soon(lambda: len(manager.status("m")) == 2 and manager.settled())
        new, old = manager.status("m")
        assert (new.version, new.state) == (2, "END")
        assert new.error_code == "RESOURCE_EXHAUSTED"
        assert "OOM" in new.error_message
        assert (old.version, old.state) == (1, "AVAILABLE")
    finally:
        manager.stop()


def test_python_that_runs_out_of_memory_is_told_likewise(tmp_path, numbers):
    base_path = tmp_path / "m"
    base_path.mkdir()
    (base_path / "1").symlink_to(numbers)

    def load(path, name, version):
        raise MemoryError

    manager = VersionManager(lambda: {"m": Source(base_path)}, load, WatchOptions())
    manager.start()
    try:
        soon(manager.settled)
        (status,) = manager.status("m")
        assert (status.state, status.error_code) == ("END", "RESOURCE_EXHAUSTED")
        assert status.error_message == "There is not enough memory to load m/1."
    finally:
        manager.stop()


def test_a_refused_load_has_the_status_of_its_reason(greedy):
    with pytest.raises(ResourceExhaustedError, match="OOM"):
        servable.load(greedy, "greedy", 2)
