"""`make show` tells what a version is, quickly, whoever made it."""

import os
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf

from savedmodels import describe, provenance, stock_server, store
from savedmodels.errors import MaaskitError

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def version_path(tmp_path_factory):
    """A version with one convertible signature and one on strings."""
    module = tf.Module()
    module.weights = tf.Variable(tf.ones([3, 2]))
    features = tf.TensorSpec([None, 3], tf.float32, name="features")

    @tf.function(input_signature=[features])
    def predict(features):
        scores = features @ module.weights
        return {"scores": scores, "class_id": tf.argmax(scores, axis=-1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def shout(text):
        return {"text_bytes": tf.strings.upper(text)}

    path = tmp_path_factory.mktemp("store") / "judge" / "3"
    signatures = {"serving_default": predict, "shout": shout}
    tf.saved_model.save(module, str(path), signatures=signatures)
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(path), signature_keys=["serving_default"]
    )
    (path / store.LITERT_MODEL).write_bytes(converter.convert())
    record = {
        "metrics": {"accuracy": 0.75},
        "config": {"filters": [4, 8]},
        "check": {"ops_not_in_stock_server": ["MadeUpOp"]},
    }
    provenance.write(path, record)
    return path


def test_signatures_are_read_with_shapes_and_dtypes(version_path):
    described = describe.describe(version_path)
    assert described.signatures == {
        "serving_default": describe.Signature(
            inputs={"features": describe.Tensor("float32", (None, 3))},
            outputs={
                "class_id": describe.Tensor("int64", (None,)),
                "scores": describe.Tensor("float32", (None, 2)),
            },
        ),
        "shout": describe.Signature(
            inputs={"text": describe.Tensor("string", (None,))},
            outputs={"text_bytes": describe.Tensor("string", (None,))},
        ),
    }
    assert described.litert == ("serving_default",)


def test_ops_are_those_of_all_functions_and_no_function_is_an_op(version_path):
    ops = describe.describe(version_path).ops
    assert {"MatMul", "ArgMax", "StringUpper", "ReadVariableOp"} <= set(ops)
    assert [op for op in ops if "inference" in op] == []
    assert list(ops) == sorted(ops)


def test_sizes_are_those_on_the_disk(version_path):
    described = describe.describe(version_path)
    assert described.sizes["saved_model.pb"] == os.path.getsize(
        version_path / "saved_model.pb"
    )
    files = [file for file in version_path.rglob("*") if file.is_file()]
    assert sum(described.sizes.values()) == sum(map(os.path.getsize, files))


def test_the_text_has_what_a_reader_looks_for(version_path):
    text = describe.format(describe.describe(version_path))
    for line in [
        "judge version 3",
        "serving_default   (LiteRT on CPUs)",
        "  in  features  [batch, 3] float32",
        "  out scores    [batch, 2] float32",
        "  out class_id  [batch] int64",
        "shout   (TensorFlow)",
        "model.tflite",
        "lacks 1 of them: MadeUpOp",
        "    accuracy: 0.75",
        "    filters: 4, 8",
    ]:
        assert line in text
    assert max(map(len, text.splitlines()[1:])) <= 88


def test_a_version_of_our_own_is_described_without_tensorflow(version_path):
    code = f"""
import pathlib, sys
from savedmodels import describe
describe.format(describe.describe(pathlib.Path({str(version_path)!r})))
print("tensorflow" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "False\n"


def test_a_version_made_elsewhere_is_described_too(tmp_path):
    fn = tf.function(
        lambda x: {"y": x}, input_signature=[tf.TensorSpec(None, tf.bfloat16, "x")]
    )
    tf.saved_model.save(tf.Module(), str(tmp_path), signatures={"f": fn})
    described = describe.describe(tmp_path)
    assert described.provenance == {}
    assert described.litert == ()
    assert described.ops_not_in_stock_server == ()
    text = describe.format(described)
    assert "  in  x  [...] bfloat16" in text
    assert "The stock tensorflow_model_server has all of them." in text


@pytest.mark.parametrize("content", [None, b"", b"no protocol buffer"])
def test_what_is_no_saved_model_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(MaaskitError, match="saved_model.pb`"):
        describe.describe(tmp_path)


def test_the_stock_server_runs_no_python_and_knows_no_custom_op():
    ops = ["MatMul", "PyFunc", "EagerPyFunc", "MadeUpOp", "SimpleMLInferenceOp"]
    assert stock_server.lacks(ops) == ["EagerPyFunc", "MadeUpOp", "PyFunc"]
