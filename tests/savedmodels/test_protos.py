"""The message classes come without TensorFlow, and are shared with it when it comes."""

import subprocess
import sys

import pytest


def run(code: str) -> str:
    """Runs `code` in a fresh interpreter, since an import happens only once."""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_messages_are_imported_without_tensorflow():
    code = """
import sys
from savedmodels import protos
request = protos.predict_pb2.PredictRequest()
request.inputs["x"].dtype = protos.types_pb2.DT_FLOAT
assert protos.prediction_service_pb2_grpc.PredictionServiceStub
assert protos.light()
print("tensorflow" in sys.modules, len(request.SerializeToString()) > 0)
"""
    assert run(code) == "False True"


@pytest.mark.parametrize("first", ["tensorflow", "protos"])
def test_tensorflow_shares_the_message_classes_whoever_comes_first(first):
    imports = ["import tensorflow as tf", "from savedmodels import protos"]
    if first == "protos":
        imports.reverse()
    code = (
        "\n".join(imports)
        + """
assert protos.import_tensorflow() is tf
assert not protos.light()
request = protos.predict_pb2.PredictRequest()
request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.5]))
print(tf.make_ndarray(request.inputs["x"]).tolist(), tf.reduce_sum([1, 2]).numpy())
"""
    )
    assert run(code) == "[1.5] 3"
