"""A graph with ops of tensorflow_text is checked and served without its Python."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text

from savedmodels import export

TEXTS = np.array([b"one two  three", b"", b"four"], object)
WORDS = [3, 0, 1]


@pytest.fixture(scope="module")
def counter(tmp_path_factory):
    """A version that counts words with an op that TensorFlow alone does not have."""
    tokenizer = tensorflow_text.WhitespaceTokenizer()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def count(text):
        words = tokenizer.tokenize(text)
        return {"words": words.row_lengths()}

    module = tf.Module()
    module.tokenizer = tokenizer
    return export.export(
        module,
        {"serving_default": count},
        tmp_path_factory.mktemp("store") / "counter",
        examples={"serving_default": {"text": TEXTS}},
        provenance={},
    )


def test_the_export_check_knows_the_ops_without_keras(counter):
    # The check's process refuses every import of Keras.
    assert counter.max_difference == {"serving_default": 0.0}


def test_a_server_loads_it_without_the_python_of_tensorflow_text(counter):
    program = f"""
        import pathlib, sys
        import numpy as np
        from serving import servable

        model = servable.load(pathlib.Path(sys.argv[1]), "counter", 1)
        texts = np.array({TEXTS.tolist()!r}, object)
        print(model.run("", {{"text": texts}})["words"].tolist())
        print("tensorflow_text" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(counter.path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [str(WORDS), "False"]
