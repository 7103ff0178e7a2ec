"""What only the BERT classifier promises; test_every_trainer.py asks the rest."""

import dataclasses
import types

import numpy as np
import pytest
import tensorflow as tf

from savedmodels import provenance
from savedmodels.errors import UsageError
from tests.trainers import bert_numpy, bert_start
from tests.trainers.fitting import only_run
from trainers import (
    _checkpoints,
    _config,
    _fit,
    _labelled_texts,
    _wordpiece,
    bert_text_classifier,
    lstm_text_classifier,
)
from trainers.bert_text_classifier import SMOKE, Config
from trainers.datasets import review_snippets

TEXTS = [b"The film is great!", b"unlike the dullest film", b"good"]


@pytest.fixture(scope="module")
def smoke(datasets_dir):
    return dataclasses.replace(SMOKE, datasets_dir=str(datasets_dir))


@pytest.fixture(scope="module")
def signatures(smoke_fitted):
    return smoke_fitted("bert_text_classifier").signatures


@pytest.fixture(scope="module")
def started(smoke, tmp_path_factory):
    """Config, model and signatures of one that starts from a tiny folder."""
    folder = bert_start.write(tmp_path_factory.mktemp("bert"))
    config = dataclasses.replace(smoke, pretrained=str(folder))
    model = bert_text_classifier.make_model(config)
    return config, model, bert_text_classifier.make_signatures(model, config)


def ask(signature, *texts):
    answer = signature(tf.constant(texts, tf.string))
    return {alias: output.numpy() for alias, output in answer.items()}


def test_embeds_with_the_weights_it_starts_from(started):
    _, model, signatures = started
    token_ids = model.word_pieces.token_ids(tf.constant(TEXTS), 48).numpy()
    mask = token_ids != 0
    states = bert_numpy.forward(
        bert_start.tensors(), token_ids, mask, layers=2, heads=3
    )
    mean = (states * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    wanted = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(
        ask(signatures["embed"], *TEXTS)["vector"], wanted, atol=1e-5
    )


def test_a_start_decides_the_sizes(started):
    config, model, _ = started
    hidden, inner = bert_start.CONFIG["hidden_size"], 20
    rows = bert_start.CONFIG["vocab_size"] + 50 + 2
    layer = 4 * (hidden + 1) * hidden + 4 * hidden
    layer += hidden * inner + inner + inner * hidden + hidden
    pooler, logits = (hidden + 1) * hidden, (hidden + 1) * 2
    wanted = rows * hidden + 2 * hidden + 2 * layer + pooler + logits
    assert model.count_params() == wanted
    # The pooler is loaded, and takes no part.
    trainable = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert trainable == wanted - pooler
    assert config.hidden_units != hidden


def test_a_version_tells_what_it_started_from(started, smoke, tmp_path):
    config, model, _ = started
    record = provenance.collect(
        config={},
        metrics={},
        dataset={},
        training_seconds=0,
        started_from=model.started_from,
    )
    provenance.write(tmp_path, record)
    told = provenance.read(tmp_path)["started_from"]
    assert told["name"] == config.pretrained
    assert len(told["sha256"]) == 64
    assert bert_text_classifier.make_model(smoke).started_from is None


def test_more_tokens_than_a_start_has_positions_are_refused(started):
    config = dataclasses.replace(started[0], tokens=51)
    with pytest.raises(UsageError, match="tokens"):
        bert_text_classifier.make_datasets(config)


def test_a_start_that_does_not_fit_is_told_before_training(smoke, tmp_path):
    weights = bert_start.tensors()
    del weights["encoder.layer.0.output.dense.weight"]
    folder = bert_start.write(tmp_path / "bert", weights)
    config = dataclasses.replace(smoke, pretrained=str(folder))
    with pytest.raises(UsageError, match="encoder.layer.0.output.dense.weight"):
        _fit.fit(bert_text_classifier, config, runs=tmp_path / "runs")
    nowhere = dataclasses.replace(smoke, pretrained=str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="no such folder"):
        bert_text_classifier.make_datasets(nowhere)


def test_reads_the_split_that_the_lstm_reads(smoke):
    lstm = dataclasses.replace(
        lstm_text_classifier.SMOKE, datasets_dir=smoke.datasets_dir
    )
    seen = {}
    for split in ("train", "validation", "test"):
        texts, labels = _labelled_texts.read(smoke, split)
        others, same = _labelled_texts.read(lstm, split)
        np.testing.assert_array_equal(texts, others)
        np.testing.assert_array_equal(labels, same)
        seen[split] = set(texts)
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["validation"]
    assert not seen["validation"] & seen["test"]


def test_the_pieces_come_from_the_training_split_alone(smoke):
    learnt = bert_text_classifier._start(smoke).vocabulary
    alone, _ = _labelled_texts.read(smoke, "train")
    assert learnt == _wordpiece.learn(alone, smoke.vocabulary_size)


def taught(config):
    """How the texts and words that a Config is trained on were rated."""
    ratings = [
        review_snippets.ratings(config.dataset, "train", config.datasets_dir, domain)
        for domain in (
            "all" if config.others else config.domain,
            *(["words"] if config.words else []),
        )
    ]
    return np.concatenate(ratings)


def test_words_and_other_domains_are_taught_where_they_are_asked_for(smoke):
    counts = []
    for fields in ({"others": True, "words": True}, {"others": True}, {}):
        config = dataclasses.replace(smoke, **fields)
        train, validation = bert_text_classifier.make_datasets(config)
        counts.append(sum(len(labels) for _, labels in train))
        assert counts[-1] == len(taught(config))
        # What is judged stays the same.
        judged = sum(len(labels) for _, labels in validation)
        assert judged == len(_labelled_texts.read(smoke, "validation")[0])
    assert counts == sorted(set(counts), reverse=True)


def test_training_batches_have_little_padding_and_hold_every_text(smoke):
    train, validation = bert_text_classifier.make_datasets(smoke)
    padding = bert_text_classifier._start(smoke).vocabulary.index("[PAD]")
    texts = 0
    for token_ids, labels in train:
        used = (token_ids.numpy() != padding).sum(axis=1)
        assert token_ids.shape[1] == used.max()
        texts += len(labels)
    assert texts == len(taught(smoke))
    counted = sum(len(labels) for _, labels in validation)
    assert counted == len(_labelled_texts.read(smoke, "validation")[0])


def test_training_learns_shares_of_ratings_and_validation_counts_labels(smoke):
    rated = taught(smoke)
    train, validation = bert_text_classifier.make_datasets(smoke)
    shares = np.concatenate([batch.numpy() for _, batch in train])
    wanted = np.exp(rated / 0.7) / (1 + np.exp(rated / 0.7))
    np.testing.assert_allclose(sorted(shares[:, 1]), sorted(wanted), rtol=1e-5)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    assert set(np.concatenate([s.numpy() for _, s in validation]).ravel()) == {0, 1}

    without = dataclasses.replace(smoke, rating_scale=0.0)
    train, _ = bert_text_classifier.make_datasets(without)
    assert set(np.concatenate([s.numpy() for _, s in train]).ravel()) == {0, 1}


def test_the_learning_rate_rises_and_falls_in_straight_lines(smoke):
    model = bert_text_classifier.make_model(smoke)
    rate = model.optimizer._learning_rate
    examples = len(taught(smoke))
    steps = smoke.epochs * -(-examples // smoke.global_batch_size)
    rising = int(0.1 * steps)
    for step, share in (
        (0, 0),
        (1, 1 / rising),
        (rising, 1),
        ((steps + 1 + rising) / 2, 1 / 2),
        (steps + 1, 0),
    ):
        wanted = share * smoke.learning_rate
        assert float(rate(step)) == pytest.approx(wanted, rel=1e-5, abs=1e-9)


def test_norms_and_biases_do_not_decay(smoke):
    model = bert_text_classifier.make_model(smoke)
    decays = {
        variable.name: model.optimizer._use_weight_decay(variable)
        for variable in model.trainable_variables
    }
    for name, decayed in decays.items():
        plain = name.endswith(("kernel:0", "embeddings:0"))
        assert decayed == plain, name
    assert any(decays.values())


@pytest.mark.slow
def test_a_resumed_run_ends_as_one_that_nothing_stopped(smoke, tmp_path):
    def fitted(runs, evaluate=bert_text_classifier.evaluate):
        changed = {**vars(bert_text_classifier), "evaluate": evaluate}
        changed["__name__"] = "trainers.mnist_classifier"  # where `only_run` looks
        return _fit.fit(types.SimpleNamespace(**changed), smoke, runs=runs)

    class Killed(BaseException):
        """As if the process had ended."""

    def kill(*_):
        raise Killed

    with pytest.raises(Killed):
        fitted(tmp_path / "killed", kill)
    assert _checkpoints.newest(only_run(tmp_path / "killed") / "checkpoints")
    resumed, whole = fitted(tmp_path / "killed"), fitted(tmp_path / "whole")
    assert resumed.run.resumed
    for a, b in zip(resumed.model.weights, whole.model.weights, strict=True):
        np.testing.assert_array_equal(a, b)


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
def test_any_bytes_are_answered_and_change_no_other_answer(signatures, text):
    for name, alias in (("serving_default", "scores"), ("embed", "vector")):
        alone = ask(signatures[name], text)[alias]
        usual = ask(signatures[name], *TEXTS)[alias]
        together = ask(signatures[name], TEXTS[0], text, *TEXTS[1:])[alias]
        assert np.isfinite(alone).all()
        np.testing.assert_allclose(together[1:2], alone, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(together[[0, 2, 3]], usual, rtol=1e-4, atol=1e-6)


def test_nothing_to_read_is_answered_as_an_empty_text(signatures):
    empty = ask(signatures["serving_default"], b"")["scores"]
    for text in (b" \n", b"\xff\xfe", b"\x07"):
        scores = ask(signatures["serving_default"], text)["scores"]
        np.testing.assert_array_equal(scores, empty)


def test_pieces_beyond_the_first_tokens_are_not_read(signatures, smoke):
    start = b"!" * (smoke.tokens - 2)
    for name, alias in (("serving_default", "scores"), ("embed", "vector")):
        short = ask(signatures[name], start)[alias]
        longer = ask(signatures[name], start + b" awful" * 99)[alias]
        np.testing.assert_array_equal(short, longer)


def test_vectors_have_length_1(signatures):
    vectors = ask(signatures["embed"], *TEXTS)["vector"]
    assert vectors.shape == (3, SMOKE.hidden_units)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_the_label_is_the_name_of_the_class_with_the_larger_score(signatures):
    answer = ask(signatures["serving_default"], b"great fun", b"an awful bore")
    np.testing.assert_array_equal(answer["class_id"], answer["scores"].argmax(axis=1))
    names = np.array([b"negative", b"positive"], object)
    np.testing.assert_array_equal(answer["label"], names[answer["class_id"]])


@pytest.mark.parametrize(
    "assignment",
    [
        "domain=films",
        "pretrained=",
        "tokens=2",
        "dropout=1",
        "weight_decay=-1",
        "rating_scale=-1",
        "vocabulary_size=0",
        "hidden_units=0",
        "layers=0",
        "heads=3",
    ],
)
def test_values_that_make_no_network_are_refused(assignment):
    with pytest.raises(UsageError, match=assignment.partition("=")[0]):
        _config.override(Config(), [assignment])
