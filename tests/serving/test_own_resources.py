"""Versions in one process do not share what TensorFlow keeps by name."""

import functools
import io
import uuid

import numpy as np
import pytest
import sentencepiece
import tensorflow_text
from tensorflow.python.framework import ops

from serving import servable

TEXT = {"text": np.array([b"the king of the sea"], np.object_)}


def vocabulary(word):
    """SentencePiece's model of a few texts."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(f"the {word} of ruled {n}" for n in range(60)),
        model_writer=model,
        model_type="bpe",
        vocab_size=40,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def write_tokenizers(tf, path, words):
    """Writes a version: `text` string [batch] -> ids by the vocabulary of each word.

    Returns:
        What it answers to `TEXT` before it is loaded.
    """
    module = tf.Module()
    module.tokenizers = [
        tensorflow_text.SentencepieceTokenizer(vocabulary(word)) for word in words
    ]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def ids(text):
        return {
            word: tokenizer.tokenize(text).to_tensor()
            for word, tokenizer in zip(words, module.tokenizers, strict=True)
        }

    tf.saved_model.save(module, str(path), {"serving_default": ids})
    return {word: found.numpy() for word, found in ids(TEXT["text"]).items()}


def write_table(tf, path, value, kind):
    """Writes a version that answers `TEXT` with `value`, by a table of a usual name."""
    module = tf.Module()
    keys, values = tf.constant(TEXT["text"]), tf.constant([value], tf.int64)
    with pytest.MonkeyPatch.context() as patch:
        # As in two processes, each of which makes its first table; and as in a version
        # that was copied, and its vocabulary changed by hand.
        patch.setattr(ops, "uid", lambda: 1)
        patch.setattr(uuid, "uuid4", lambda: "the same")
        if kind == "mutable":
            module.table = tf.lookup.experimental.MutableHashTable(
                tf.string, tf.int64, -1
            )
        else:
            initial = tf.lookup.KeyValueTensorInitializer(keys, values)
            module.table = tf.lookup.StaticHashTable(initial, -1)
    if kind == "mutable":
        module.table.insert(keys, values)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def look_up(text):
        return {"value": module.table.lookup(text)}

    tf.saved_model.save(module, str(path), {"serving_default": look_up})
    # The next one is made as if this had never been.
    tf.raw_ops.DestroyResourceOp(resource=module.table.resource_handle)
    return {"value": np.array([value])}


@pytest.mark.parametrize("kind", ["vocabularies", "mutable", "static"])
def test_versions_that_give_a_resource_one_name_have_their_own(tf, tmp_path, kind):
    expected = []
    for version, words in enumerate((["king"], ["water"], ["sea", "ship"])):
        path = tmp_path / str(version)
        if kind == "vocabularies":
            expected.append(write_tokenizers(tf, path, words))
        else:
            expected.append(write_table(tf, path, version, kind))
    loaded = [servable.load(tmp_path / str(n), "m", n) for n in range(len(expected))]
    for version, answers in zip(loaded, expected, strict=True):
        found = version.run("", TEXT)
        assert found.keys() == answers.keys()
        for alias, values in answers.items():
            np.testing.assert_array_equal(found[alias], values)
    # One that goes takes nothing with it that another has.
    loaded.pop(0).close()
    for version, answers in zip(loaded, expected[1:], strict=True):
        for alias, values in answers.items():
            np.testing.assert_array_equal(version.run("", TEXT)[alias], values)
    for version in loaded:
        version.close()


@pytest.mark.parametrize("kind", ["mutable", "static"])
def test_what_was_made_for_a_load_is_gone_with_it(tf, tmp_path, monkeypatch, kind):
    write_table(tf, tmp_path / "1", 5, kind)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    version = servable.load(tmp_path / "1", "m", 1)
    assert version.run("", TEXT)["value"] == [5]
    assert len(list(temporary.iterdir())) == 1
    model = version._engines["serving_default"]._model
    parts = tf.train.TrackableView(model).descendants()
    (table,) = (part for part in parts if hasattr(part, "resource_handle"))
    size = functools.partial(
        tf.raw_ops.LookupTableSizeV2, table_handle=table.resource_handle
    )
    assert size() == 1
    version.close()
    assert not list(temporary.iterdir())
    with pytest.raises(tf.errors.NotFoundError):
        size()
