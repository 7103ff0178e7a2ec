"""Vectors of words that were trained elsewhere, as the start of an embedding."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from savedmodels.errors import UsageError
from trainers import _word_start, _words, lstm_text_classifier

KNOWN = {"great": [3.0, 0.0, -1.0], "dull": [-2.0, 1.0, 4.0]}


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    """A version that knows two words."""
    path = tmp_path_factory.mktemp("store") / "vectors" / "7"
    words = tf.constant(list(KNOWN))
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(words, tf.range(2)), -1
    )
    module = tf.Module()
    module.table = table

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="word")])
    def embed(word):
        row = table.lookup(word)
        known = row >= 0
        vector = tf.gather(tf.constant(list(KNOWN.values())), tf.maximum(row, 0))
        return {"vector": vector * tf.cast(known[:, None], tf.float32), "known": known}

    tf.saved_model.save(module, str(path), signatures={"embed": embed})
    return path


@pytest.mark.parametrize("folder", ["version", "model"])
def test_a_version_or_its_model_tells_the_vectors_of_words(version, folder):
    source = version if folder == "version" else version.parent
    words = ["dull", "unheardof", "great"]
    vectors, known = _word_start.vectors_of(words, str(source))
    assert known.tolist() == [True, False, True]
    np.testing.assert_array_equal(vectors[[0, 2]], [KNOWN["dull"], KNOWN["great"]])


def test_vectors_keep_their_directions_and_get_the_spread_of_the_layer():
    random = np.random.default_rng(1).normal(0, 0.05, (5, 3)).astype(np.float32)
    embedding = random.copy()
    vectors = np.array([KNOWN["great"], [9.0, 9.0, 9.0], KNOWN["dull"]], np.float32)
    _word_start.put_into(embedding, vectors, np.array([True, False, True]))
    # Padding, unknown, and the word that the version does not know.
    np.testing.assert_array_equal(embedding[[0, 1, 3]], random[[0, 1, 3]])
    put = embedding[[2, 4]]
    np.testing.assert_allclose(put.std(), random.std(), rtol=1e-5)
    ratio = put / vectors[[0, 2]].clip(1e-9)
    assert np.ptp(ratio[vectors[[0, 2]] > 0]) < 1e-6


def test_no_known_word_changes_nothing():
    embedding = np.ones((3, 2), np.float32)
    _word_start.put_into(embedding, np.zeros((1, 2), np.float32), np.array([False]))
    np.testing.assert_array_equal(embedding, np.ones((3, 2)))


def test_the_text_classifier_begins_with_them(version, datasets_dir):
    smoke = dataclasses.replace(
        lstm_text_classifier.SMOKE, datasets_dir=str(datasets_dir)
    )
    config = dataclasses.replace(smoke, vectors=str(version))
    keras.utils.set_random_seed(1)
    model = lstm_text_classifier.make_model(config)
    rows = model.vocabulary.lookup(tf.constant(["great", "dull"])).numpy()
    assert (rows >= _words.FIRST_WORD).all()
    (layer,) = [x for x in model.layers if isinstance(x, keras.layers.Embedding)]
    found = layer.embeddings.numpy()[rows]
    wanted = np.array([KNOWN["great"], KNOWN["dull"]])
    cosines = np.sum(found * wanted, axis=1) / (
        np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    )
    np.testing.assert_allclose(cosines, 1, rtol=1e-6)
    assert "embed" not in lstm_text_classifier.make_signatures(model, config)


def test_what_is_no_version_is_one_clear_error(tmp_path, version):
    with pytest.raises(UsageError, match="make train MODEL=word2vec_embedding"):
        _word_start.vectors_of(["a"], str(tmp_path / "nowhere"))
    module = tf.Module()
    ones = tf.function(
        lambda x: {"y": x}, input_signature=[tf.TensorSpec([None], name="x")]
    )
    path = tmp_path / "other" / "1"
    tf.saved_model.save(module, str(path), signatures={"serving_default": ones})
    with pytest.raises(UsageError, match=r"signature `embed`.*serving_default"):
        _word_start.vectors_of(["a"], str(path))
