"""What only the text classifier promises; test_every_trainer.py asks the rest."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from savedmodels.errors import UsageError
from trainers import _config, _labelled_texts, _words, lstm_text_classifier
from trainers.lstm_text_classifier import SMOKE, Config


@pytest.fixture(scope="module")
def smoke(datasets_dir):
    return dataclasses.replace(SMOKE, datasets_dir=str(datasets_dir))


@pytest.fixture(scope="module")
def model(smoke):
    return lstm_text_classifier.make_model(smoke)


@pytest.fixture(scope="module")
def predict(model, smoke):
    return lstm_text_classifier.make_signatures(model, smoke)["serving_default"]


def ask(predict, *texts):
    answer = predict(tf.constant(texts, tf.string))
    return {alias: output.numpy() for alias, output in answer.items()}


@pytest.mark.parametrize(
    ("network", "recurrent"),
    [
        ("rnn", (5 + 7 + 1) * 7),
        ("lstm", 4 * (5 + 7 + 1) * 7),  # four gates
        ("bilstm", 2 * 4 * (5 + 7 + 1) * 7),
        ("gru", 3 * (5 + 7 + 2) * 7),  # three, each with two biases
    ],
)
def test_has_the_parameters_of_its_layers(smoke, network, recurrent):
    config = dataclasses.replace(
        smoke, network=network, embedding_units=5, units=7, vocabulary_size=20
    )
    model = lstm_text_classifier.make_model(config)
    features = 2 * 7 * (2 if network == "bilstm" else 1)  # mean and maximum
    embedding = (20 + 2) * 5  # padding and unknown
    assert model.count_params() == embedding + recurrent + features * 2 + 2


@pytest.mark.parametrize("network", ["rnn", "lstm", "bilstm", "gru"])
def test_every_network_answers(smoke, network):
    config = dataclasses.replace(smoke, network=network)
    model = lstm_text_classifier.make_model(config)
    signatures = lstm_text_classifier.make_signatures(model, config)
    scores = ask(signatures["serving_default"], "a great film", "dull")["scores"]
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-6)


def test_can_learn_one_batch_by_heart(smoke):
    config = dataclasses.replace(smoke, dropout=0.0, word_dropout=0.0, tokens=12)
    token_ids, labels = next(iter(lstm_text_classifier.make_datasets(config)[0]))
    model = lstm_text_classifier.make_model(config)
    model.fit(token_ids, labels, epochs=25, verbose=0)
    scored = model.evaluate(token_ids, labels, verbose=0, return_dict=True)
    assert scored["accuracy"] == 1


def test_the_label_is_the_name_of_the_class_with_the_larger_score(predict):
    answer = ask(predict, "great fun", "an awful bore", "name")
    np.testing.assert_array_equal(answer["class_id"], answer["scores"].argmax(axis=1))
    names = np.array([b"negative", b"positive"], object)
    np.testing.assert_array_equal(answer["label"], names[answer["class_id"]])


def test_longer_texts_in_the_same_batch_change_nothing(predict):
    alone = ask(predict, "great")["scores"]
    beside = ask(predict, "great", "dull " * 200)["scores"][:1]
    np.testing.assert_allclose(alone, beside, atol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b" \t\n", id="blank"),
        pytest.param(b"\xff\xfe\x80", id="not UTF-8"),
        pytest.param(b"\x00great", id="a zero byte"),
        pytest.param("素晴らしい映画 🎬".encode(), id="no word known"),
        pytest.param(b"word " * 10_000, id="10,000 words"),
        pytest.param(b"a" * 1_000_000, id="one word of a megabyte"),
        pytest.param(b" " * 100_000 + b"great", id="after many spaces"),
    ],
)
def test_any_bytes_are_answered(predict, text):
    answer = ask(predict, text)
    assert np.isfinite(answer["scores"]).all()
    np.testing.assert_allclose(answer["scores"].sum(), 1, rtol=1e-6)


def test_words_beyond_the_first_tokens_are_not_read(predict, smoke):
    start = "great " * smoke.tokens
    np.testing.assert_array_equal(
        ask(predict, start)["scores"], ask(predict, start + "awful " * 99)["scores"]
    )


def test_classify_answers_as_serving_default_does(model, smoke):
    signatures = lstm_text_classifier.make_signatures(model, smoke)
    examples = lstm_text_classifier.make_examples(smoke)
    classified = signatures["classify"](
        tf.constant(examples["classify"]["inputs"], tf.string)
    )
    predicted = ask(signatures["serving_default"], *examples["serving_default"]["text"])
    np.testing.assert_allclose(classified["scores"], predicted["scores"], atol=1e-6)
    assert classified["classes"].numpy().tolist() == [[b"negative", b"positive"]] * 32


def test_the_vocabulary_comes_from_the_training_split_alone(smoke):
    # Each text of the tiny data set has three names that no other has.
    known = set(lstm_text_classifier._vocabulary(smoke))
    for split, wanted in (("train", True), ("validation", False), ("test", False)):
        texts, _ = _labelled_texts.read(smoke, split)
        words = _words.split(tf.constant(texts)).flat_values.numpy()
        names = {word.decode() for word in words if word.startswith(b"name")}
        assert names
        assert all((name in known) == wanted for name in names)


def test_training_hides_about_the_share_of_words_that_is_asked_and_no_padding():
    token_ids = tf.constant([[5] * 60 + [_words.PADDING] * 40] * 200)
    label = tf.zeros(200)
    seed = tf.constant([1, 2], tf.int64)
    hidden, same = lstm_text_classifier._hide_words(
        token_ids, label, seed=seed, share=0.2
    )
    words, padding = hidden[:, :60].numpy(), hidden[:, 60:].numpy()
    assert (words == _words.UNKNOWN).mean() == pytest.approx(0.2, abs=0.01)
    assert set(np.unique(words)) == {_words.UNKNOWN, 5}
    assert (padding == _words.PADDING).all()
    np.testing.assert_array_equal(same, label)


@pytest.mark.parametrize(
    "assignment",
    [
        "domain=films",
        "network=transformer",
        "tokens=0",
        "vocabulary_size=0",
        "dropout=1",
        "word_dropout=-0.1",
        "weight_decay=-1",
    ],
)
def test_values_that_make_no_network_are_refused(assignment):
    with pytest.raises(UsageError, match=assignment.partition("=")[0]):
        _config.override(Config(), [assignment])
