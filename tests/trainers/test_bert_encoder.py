"""Weights of Hugging Face's layout give the states that they gave where they are from.

The second opinion is a forward pass in numpy, from the paper.
"""

import numpy as np
import pytest
import tensorflow as tf

from savedmodels.errors import UsageError
from tests.trainers import bert_numpy, bert_start
from trainers import _bert_encoder, _bert_start, _wordpiece

LAYERS, HEADS = 2, 3
# Three texts of different lengths; 0 is the padding.
TOKEN_IDS = np.array(
    [[3, 5, 7, 4, 0, 0], [3, 6, 8, 11, 12, 4], [3, 4, 0, 0, 0, 0]], np.int32
)
MASK = TOKEN_IDS != 0


def loaded(folder):
    start = _bert_start.open_start(str(folder), "unused")
    sentences = _bert_encoder.SentenceEncoder(start.sizes, 0, 0.1, name="sentences")
    sentences(tf.constant(TOKEN_IDS))
    _bert_encoder.load(sentences.encoder, start)
    return sentences


def states(sentences):
    inputs = {
        "input_word_ids": TOKEN_IDS,
        "input_mask": MASK.astype(np.int32),
        "input_type_ids": np.zeros_like(TOKEN_IDS),
    }
    inputs = {name: tf.constant(array) for name, array in inputs.items()}
    return sentences.encoder(inputs)["sequence_output"].numpy()


def expected(weights):
    return bert_numpy.forward(weights, TOKEN_IDS, MASK, layers=LAYERS, heads=HEADS)


def difference(a, b):
    """Between the states of tokens; those of padding mean nothing."""
    return np.abs(a - b)[MASK].max()


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    return loaded(bert_start.write(tmp_path_factory.mktemp("bert")))


def test_the_encoder_gives_what_numpy_gives(sentences):
    assert difference(states(sentences), expected(bert_start.tensors())) <= 1e-5


def test_a_query_kernel_left_untransposed_would_be_seen(sentences):
    wrong = bert_start.tensors()
    name = "encoder.layer.0.attention.self.query.weight"
    wrong[name] = wrong[name].T
    assert difference(states(sentences), expected(wrong)) > 1e-2


def test_a_sentence_is_the_mean_over_its_tokens(sentences):
    mean = np.stack(
        [
            own[mask].mean(axis=0)
            for own, mask in zip(expected(bert_start.tensors()), MASK, strict=True)
        ]
    )
    np.testing.assert_allclose(sentences(tf.constant(TOKEN_IDS)), mean, atol=1e-5)


@pytest.mark.parametrize(
    "renamed",
    [
        pytest.param(lambda name: f"bert.{name}", id="with bert. in front"),
        pytest.param(
            lambda name: name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ),
            id="with the names of TensorFlow 1",
        ),
    ],
)
def test_other_names_for_the_same_weights_are_known(tmp_path, renamed):
    weights = {renamed(name): value for name, value in bert_start.tensors().items()}
    sentences = loaded(bert_start.write(tmp_path, weights))
    assert difference(states(sentences), expected(bert_start.tensors())) <= 1e-5


def test_weights_in_half_precision_are_taken(tmp_path):
    half = {name: v.astype(np.float16) for name, v in bert_start.tensors().items()}
    sentences = loaded(bert_start.write(tmp_path, half))
    assert difference(states(sentences), expected(half)) <= 1e-5


def test_tanh_gelu_is_another_activation(tmp_path, sentences):
    tanh = loaded(bert_start.write(tmp_path, hidden_act="gelu_new"))
    assert 1e-5 < difference(states(tanh), states(sentences)) < 1e-2


def test_a_pooler_may_be_missing(tmp_path):
    weights = bert_start.tensors()
    del weights["pooler.dense.weight"], weights["pooler.dense.bias"]
    assert loaded(bert_start.write(tmp_path, weights))


def test_a_missing_tensor_is_named_and_changes_nothing(tmp_path):
    weights = bert_start.tensors()
    del weights["encoder.layer.1.output.dense.bias"]
    start = _bert_start.open_start(str(bert_start.write(tmp_path, weights)), "unused")
    sentences = _bert_encoder.SentenceEncoder(start.sizes, 0, 0.1, name="sentences")
    sentences(tf.constant(TOKEN_IDS))
    before = states(sentences)
    with pytest.raises(UsageError, match=r"`encoder\.layer\.1\.output\.dense\.bias`"):
        _bert_encoder.load(sentences.encoder, start)
    np.testing.assert_array_equal(states(sentences), before)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("embeddings.word_embeddings.weight", (9, 12)),
        ("encoder.layer.0.attention.self.key.weight", (12, 10)),
        ("encoder.layer.0.attention.self.key.bias", (11,)),
        ("encoder.layer.0.intermediate.dense.weight", (12, 20)),  # transposed
    ],
)
def test_a_wrong_shape_is_told_with_both_shapes(tmp_path, name, shape):
    right = bert_start.tensors()[name].shape
    weights = bert_start.tensors() | {name: np.zeros(shape, np.float32)}
    with pytest.raises(UsageError) as caught:
        loaded(bert_start.write(tmp_path, weights))
    for part in (name, str(list(right)), f"Received: {list(shape)}"):
        assert part in str(caught.value)


@pytest.mark.network
def test_minilm_finds_the_same_sentences_alike(tmp_path_factory):
    """The cosines that its authors' own library gives for these four."""
    folder = str(tmp_path_factory.mktemp("datasets"))
    start = _bert_start.open_start("minilm", folder)
    pieces = _wordpiece.WordPieces(start.vocabulary, lower_case=start.lower_case)
    texts = [
        "A man is eating food.",
        "A man is eating a piece of bread.",
        "The stock market fell sharply today.",
        "Shares dropped heavily on Wall Street.",
    ]
    token_ids = pieces.token_ids(tf.constant(texts), 48)
    sentences = _bert_encoder.SentenceEncoder(
        start.sizes, pieces.padding, 0.1, name="sentences"
    )
    sentences(token_ids)
    _bert_encoder.load(sentences.encoder, start)
    vectors = tf.math.l2_normalize(sentences(token_ids), axis=1).numpy()
    cosines = vectors @ vectors.T
    assert cosines[0, 1] == pytest.approx(0.755, abs=5e-4)
    assert cosines[2, 3] == pytest.approx(0.588, abs=5e-4)
    assert cosines[:2, 2:].max() <= 0.07

    mask = token_ids.numpy() != pieces.padding
    wanted = bert_numpy.forward(
        start.tensors(), token_ids.numpy(), mask, layers=6, heads=12
    )
    inputs = {
        "input_word_ids": token_ids,
        "input_mask": tf.constant(mask.astype(np.int32)),
        "input_type_ids": tf.zeros_like(token_ids),
    }
    found = sentences.encoder(inputs)["sequence_output"].numpy()
    assert np.abs(found - wanted)[mask].max() <= 1e-5
