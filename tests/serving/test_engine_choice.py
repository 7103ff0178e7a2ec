"""What answers a version: LiteRT where it is right, TensorFlow where it must."""

import shutil

import numpy as np
import pytest
from litert_versions import add_litert

from savedmodels import convert, litert, prediction_log, store
from savedmodels.protos import saved_model_pb2
from serving import servable, warmup
from serving.errors import ServingError, UnavailableError
from serving.servable import LoadOptions

X = {"x": np.float32([1, 2, 5])}


def add_warmup(path, **inputs):
    file = path / store.WARMUP_REQUESTS
    file.parent.mkdir(exist_ok=True)
    log = prediction_log.predict("m", "serving_default", inputs, {})
    prediction_log.write(file, [log])


def forget_record(path):
    (path / store.PROVENANCE).unlink()


def load(path, cpu_engine="auto", **options):
    return servable.load(path, "m", 1, LoadOptions(cpu_engine=cpu_engine, **options))


@pytest.fixture
def foreign(tmp_path, digits_litert):
    """A version with `model.tflite` of which no export left a record."""
    path = shutil.copytree(digits_litert, tmp_path / "1")
    forget_record(path)
    return path


def test_a_version_with_the_record_of_its_export_is_answered_by_litert(digits_litert):
    assert load(digits_litert).engine() == "litert"


def test_a_foreign_version_is_compared_on_its_warm_up_requests_first(foreign, caplog):
    add_warmup(foreign, image=np.zeros((2, 28, 28, 1), np.uint8))
    assert load(foreign).engine() == "litert"
    assert not caplog.records


def test_a_foreign_version_without_warm_up_requests_stays_with_tensorflow(
    foreign, caplog
):
    assert load(foreign).engine() == "tensorflow"
    assert "no warm-up request tells" in caplog.text
    assert load(foreign, "litert").engine() == "litert"


@pytest.mark.parametrize(("off", "engine"), [(1.5e-6, "litert"), (1e-3, "tensorflow")])
def test_other_answers_than_tensorflows_keep_tensorflow(
    tmp_path, tf, write_linear, half_plus_two, caplog, off, engine
):
    # The largest answer is 50,002, so 0.05 is 1e-6 of the scale, and 500 is 1e-2.
    path = write_linear(tmp_path / "1", 0.5, 2.0)
    add_litert(tf, write_linear(tmp_path / "other", 0.5 * (1 + off), 2.0))
    shutil.copy(tmp_path / "other/model.tflite", path)
    add_warmup(path, x=np.float32([1e5, 0]))
    assert load(path).engine() == engine
    assert ("LiteRT answers otherwise: `y` differs by up to 50" in caplog.text) == (
        engine == "tensorflow"
    )


def test_another_file_than_the_recorded_one_is_foreign(tmp_path, tf, write_linear):
    path = write_linear(tmp_path / "1", 0.5, 2.0)
    add_litert(tf, path)
    other = write_linear(tmp_path / "other", 0.5, 3.0)
    add_litert(tf, other)
    shutil.copy(other / "model.tflite", path)
    assert load(path).engine() == "tensorflow"


@pytest.mark.parametrize("broken", [b"{", b"[]", b'{"check": {"litert": 1}}'])
def test_a_broken_record_is_none(foreign, broken):
    (foreign / store.PROVENANCE).write_bytes(broken)
    assert load(foreign).engine() == "tensorflow"


@pytest.mark.parametrize(
    "in_process", [True, pytest.param(False, marks=pytest.mark.slow)]
)
def test_a_version_without_model_tflite_is_converted_where_that_is_asked_for(
    tmp_path, half_plus_two, monkeypatch, in_process
):
    if in_process:  # a process of its own, as it should be, takes seconds
        monkeypatch.setattr(convert, "in_fresh_process", litert.convert_unchecked)
    path = shutil.copytree(half_plus_two, tmp_path / "1")
    add_warmup(path, **X)
    before = sorted(path.rglob("*"))
    assert load(path).engine() == "tensorflow"
    loaded = load(path, convert_on_load=True)
    assert loaded.engine() == "litert"
    np.testing.assert_array_equal(loaded.run("", X)["y"], np.float32([2.5, 3, 4.5]))
    assert sorted(path.rglob("*")) == before


def test_a_conversion_that_breaks_off_leaves_tensorflow(
    tmp_path, half_plus_two, monkeypatch
):
    path = shutil.copytree(half_plus_two, tmp_path / "1")
    add_warmup(path, **X)
    for found in (None, b"no model"):
        monkeypatch.setattr(convert, "in_fresh_process", lambda *_, f=found: f)
        assert load(path, convert_on_load=True).engine() == "tensorflow"


def test_what_does_not_convert_stays_with_tensorflow(tmp_path, echo):
    path = shutil.copytree(echo, tmp_path / "1")
    assert load(path, convert_on_load=True).engine() == "tensorflow"


def test_what_litert_lacks_is_deferred_only_where_tensorflow_is_not_there_yet(
    two_signatures, monkeypatch
):
    assert not load(two_signatures).is_deferred("shout")
    monkeypatch.setattr("savedmodels.protos.light", lambda: True)
    loaded = load(two_signatures)
    assert loaded.is_deferred("shout")
    assert loaded.engine("shout") == "tensorflow"
    text = {"text": np.array([b"hi"], object)}
    assert list(loaded.run("shout", text)["loud"]) == [b"HI"]
    assert not loaded.is_deferred("shout")


def test_a_foreign_version_is_loaded_whole(tmp_path, two_signatures, monkeypatch):
    monkeypatch.setattr("savedmodels.protos.light", lambda: True)
    path = shutil.copytree(two_signatures, tmp_path / "1")
    assert load(path).is_deferred("shout")
    forget_record(path)
    assert not load(path).is_deferred("shout")


def test_a_deferred_signature_that_cannot_be_loaded_says_so_at_each_call(
    tmp_path, two_signatures, monkeypatch
):
    monkeypatch.setattr("savedmodels.protos.light", lambda: True)
    path = shutil.copytree(two_signatures, tmp_path / "1")
    loaded = load(path)
    assert warmup.replay(loaded, path) == 2
    shutil.rmtree(path / "variables")
    for _ in range(2):
        with pytest.raises(ServingError, match="Cannot load"):
            loaded.run("shout", {"text": np.array([b"hi"], object)})
    np.testing.assert_array_equal(loaded.run("", X)["y"], 2 * X["x"])


def test_a_deferred_signature_is_not_loaded_once_its_version_is_gone(
    two_signatures, monkeypatch
):
    monkeypatch.setattr("savedmodels.protos.light", lambda: True)
    loaded = load(two_signatures)
    engine = loaded._engines["shout"]
    loaded.close()
    with pytest.raises(UnavailableError):
        engine.run("shout", {"text": np.array([b"hi"], object)})


def test_a_graph_with_other_tags_is_loaded_by_them(tmp_path, tf, half_plus_two):
    path = shutil.copytree(half_plus_two, tmp_path / "1")
    file = path / "saved_model.pb"
    proto = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    proto.meta_graphs[0].meta_info_def.tags[:] = ["serve", "tpu"]
    file.write_bytes(proto.SerializeToString())
    loaded = load(path, saved_model_tags=("tpu", "serve"))
    np.testing.assert_array_equal(loaded.run("", X)["y"], np.float32([2.5, 3, 4.5]))
    with pytest.raises(ServingError, match=r"Expected a graph with the tags \['serve'"):
        load(path)
