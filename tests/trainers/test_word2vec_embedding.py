"""What only word2vec promises; test_every_trainer.py asks the rest."""

import csv
import dataclasses
import shutil
import signal

import gensim
import numpy as np
import pytest
import tensorflow as tf
from gensim.test.utils import datapath
from tensorboard.plugins import projector

from savedmodels import export, provenance
from savedmodels.errors import UsageError
from trainers import (
    _config,
    _fit,
    _report,
    _skip_gram,
    _word_judgements,
    word2vec_embedding,
)
from trainers._errors import PreemptedError
from trainers._word_vectors import WordVectors
from trainers.word2vec_embedding import SMOKE, Config


@pytest.fixture(scope="module")
def smoke(datasets_dir):
    return dataclasses.replace(SMOKE, datasets_dir=str(datasets_dir))


@pytest.fixture(scope="module")
def fitted(smoke_fitted):
    return smoke_fitted("word2vec_embedding")


@pytest.fixture(scope="module")
def by_gensim(fitted):
    """What gensim itself saved after the last epoch."""
    *_, checkpoint = sorted(fitted.run.checkpoints.glob("epoch-*"))
    return gensim.models.Word2Vec.load(str(checkpoint / "word2vec")).wv


def strings(words):
    return tf.constant([word.encode() for word in words], tf.string)


def ask(fitted, words, k):
    answer = fitted.signatures["serving_default"](strings(words), tf.constant(k))
    return {alias: tensor.numpy() for alias, tensor in answer.items()}


def test_every_word_has_the_neighbours_that_gensim_gives(fitted, by_gensim):
    words = by_gensim.index_to_key
    assert len(words) > 90
    answer = ask(fitted, words, [10] * len(words))
    assert answer["known"].all()
    for word, near, cosines in zip(
        words, answer["words"], answer["cosines"], strict=True
    ):
        wanted = by_gensim.most_similar(word, topn=10)
        assert [name.decode() for name in near] == [name for name, _ in wanted]
        np.testing.assert_allclose(cosines, [c for _, c in wanted], atol=1e-6)


def test_analogies_are_those_that_gensim_gives(fitted, by_gensim):
    words = by_gensim.index_to_key
    a, b, c = (words[start : start + 50] for start in (0, 7, 19))
    answer = fitted.signatures["analogy"](*map(strings, (a, b, c)))
    for row in range(50):
        wanted = by_gensim.most_similar(
            positive=[b[row], c[row]], negative=[a[row]], topn=10
        )
        found = [name.decode() for name in answer["words"][row].numpy()]
        assert found == [name for name, _ in wanted]
        np.testing.assert_allclose(
            answer["cosines"][row], [cosine for _, cosine in wanted], atol=1e-6
        )


def test_embed_gives_the_vector_as_it_was_trained(fitted, by_gensim):
    answer = fitted.signatures["embed"](strings(["war", "WAR ", "unheardof"]))
    assert answer["known"].numpy().tolist() == [True, True, False]
    for row in (0, 1):
        np.testing.assert_array_equal(answer["vector"][row], by_gensim["war"])
    assert not answer["vector"][2].numpy().any()


def test_each_row_has_its_own_k_and_the_rest_stays_empty(fitted):
    answer = ask(fitted, ["war"] * 4, [3, 0, -5, 1])
    assert answer["words"].shape == (4, 3)
    assert (answer["words"] != b"").sum(axis=1).tolist() == [3, 0, 0, 1]
    assert (answer["cosines"] != 0).sum(axis=1).tolist() == [3, 0, 0, 1]


def test_a_k_beyond_the_vocabulary_gives_all_other_words(fitted, by_gensim):
    (words,) = ask(fitted, ["war"], [2**31 - 1])["words"]
    found = {word.decode() for word in words} | {"war"}
    assert found == set(by_gensim.index_to_key)
    assert len(words) == len(by_gensim) - 1


@pytest.mark.parametrize(
    "word",
    [
        b"unheardof",
        b"",
        b"\xff\xfe not UTF-8",
        "\u6226\u4e89".encode(),
        b"war " * 10_000,
    ],
)
def test_an_unknown_word_is_flagged_and_stops_no_other(fitted, word):
    words = tf.constant([word, b"war"])
    answer = fitted.signatures["serving_default"](words, tf.constant([5, 5]))
    assert answer["known"].numpy().tolist() == [False, True]
    assert set(answer["words"].numpy()[0]) == {b""}
    assert not answer["cosines"].numpy()[0].any()
    assert b"" not in answer["words"].numpy()[1]
    solved = fitted.signatures["analogy"](words, words[::-1], words)
    assert not solved["known"].numpy().any()


def test_no_rows_give_no_rows(fitted):
    answer = ask(fitted, [], np.zeros(0, np.int32))
    assert answer["words"].shape[0] == 0


def test_vectors_are_judged_as_scipy_and_numpy_judge_them(fitted, by_gensim):
    from scipy.stats import spearmanr

    for name, file in _word_judgements.PAIRS.items():
        with open(datapath(file)) as lines:
            rows = list(csv.reader((x for x in lines if x[0] != "#"), delimiter="\t"))
        known = [
            (by_gensim.similarity(a.lower(), b.lower()), float(mean))
            for a, b, mean in rows
            if a.lower() in by_gensim and b.lower() in by_gensim
        ]
        assert len(known) > 9
        cosines, human = zip(*known, strict=True)
        metrics = fitted.metrics
        assert metrics[f"{name}_spearman"] == pytest.approx(
            spearmanr(cosines, human).statistic, abs=1e-5
        )
        unknown = 1 - len(known) / len(rows)
        assert metrics[f"out_of_vocabulary/{name}"] == pytest.approx(unknown)
    assert 0 <= fitted.metrics["analogies_accuracy"] <= 1


def test_validation_looks_at_nothing_that_the_test_alone_is_for(fitted, smoke):
    answer = _fit.answer_of(fitted.signatures)
    validation = word2vec_embedding.evaluate(answer, smoke, "validation")
    wanted = {"simlex999_spearman", "out_of_vocabulary/simlex999"}
    assert set(validation.metrics) == wanted


def test_vectors_of_words_that_nobody_judged_are_no_error(smoke):
    model = WordVectors(["\u6226\u4e89", "\u5e73\u548c"], np.eye(2, dtype=np.float32))
    answer = _fit.answer_of(word2vec_embedding.make_signatures(model, smoke))
    evaluation = word2vec_embedding.evaluate(answer, smoke)
    assert evaluation.metrics == {
        "out_of_vocabulary/wordsim353": 1.0,
        "out_of_vocabulary/simlex999": 1.0,
    }
    for title, panel in evaluation.panels.items():
        assert _report.picture(title, panel).size


def test_words_of_one_field_become_neighbours(fitted):
    near = ask(fitted, ["athens", "wheat"], [5, 5])["words"]
    assert {b"greece", b"berlin", b"germany", b"paris", b"rome"} & set(near[0])
    assert {b"corn", b"bread", b"farm", b"harvest", b"fruit"} & set(near[1])


def test_words_are_lower_case_and_split_at_all_but_inner_apostrophes(datasets_dir):
    found = _skip_gram.sentences("state_of_the_union", str(datasets_dir), False)
    assert len(found) == 12 * 80
    assert all(
        words[0] == "the" and words[-2:] == ("of", "congress") for words in found
    )
    text = "the nation's 3 \u201cna\u00efve\u201d half-truths'"
    words = ["the", "nation's", "na\u00efve", "half", "truths"]
    assert _skip_gram._WORD.findall(text) == words
    without = _skip_gram.sentences("state_of_the_union", str(datasets_dir), True)
    assert not any({"the", "of"} & set(words) for words in without)


def test_a_killed_run_ends_as_one_that_was_never_killed(
    smoke, fitted, tmp_path, monkeypatch
):
    class KilledError(Exception):
        pass

    whole, epochs = _skip_gram.SkipGram.epoch, []

    def dies_in_the_second(self, epoch):
        epochs.append(epoch)
        result = whole(self, epoch)
        if len(epochs) == 2:
            raise KilledError
        return result

    monkeypatch.setattr(_skip_gram.SkipGram, "epoch", dies_in_the_second)
    with pytest.raises(KilledError):
        _fit.fit(word2vec_embedding, smoke, runs=tmp_path)
    resumed = _fit.fit(word2vec_embedding, smoke, runs=tmp_path)
    assert resumed.run.resumed
    assert epochs == [0, 1, 1, 2]
    assert resumed.history["loss"] == fitted.history["loss"]
    for a, b in zip(fitted.model.variables, resumed.model.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    smoke, fitted, tmp_path, capsys
):
    shutil.copytree(fitted.run.path.parents[1], tmp_path, dirs_exist_ok=True)
    (run,) = (tmp_path / "word2vec_embedding").iterdir()
    before, last = sorted((run / "checkpoints").glob("epoch-*"))
    (last / "word2vec").write_bytes(b"no pickle")
    resumed = _fit.fit(word2vec_embedding, smoke, runs=tmp_path)
    told = capsys.readouterr().out
    assert f"Damaged in {run / 'checkpoints'}: {last.name}" in told
    assert "after epoch 2" in told
    assert resumed.run.path == run
    assert resumed.history["loss"] == fitted.history["loss"]
    for a, b in zip(fitted.model.variables, resumed.model.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_sigterm_waits_for_the_end_of_the_epoch(smoke, tmp_path, monkeypatch):
    whole = _skip_gram.SkipGram.epoch

    def told_to_end(self, epoch):
        signal.raise_signal(signal.SIGTERM)
        return whole(self, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(_skip_gram.SkipGram, "epoch", told_to_end)
        with pytest.raises(PreemptedError, match="after epoch 1, which is kept"):
            _fit.fit(word2vec_embedding, smoke, runs=tmp_path)
    (run,) = (tmp_path / "word2vec_embedding").iterdir()
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["epoch-0001"]


def test_a_damaged_checkpoint_is_begun_anew(smoke, tmp_path, capsys):
    one = dataclasses.replace(smoke, epochs=1)
    first = _fit.fit(word2vec_embedding, one, runs=tmp_path)
    first.run.close()  # trained, but not exported: to be gone on with
    (checkpoint,) = first.run.checkpoints.glob("epoch-*")
    (checkpoint / "word2vec").write_bytes(b"no pickle")
    second = _fit.fit(word2vec_embedding, one, runs=tmp_path)
    assert second.run.path != first.run.path
    assert "has a damaged checkpoint" in capsys.readouterr().out


def test_the_learning_rate_falls_in_one_straight_line(fitted):
    # gensim's own: from 0.025 to 0.0001 over all epochs; here from 0.05.
    wanted = 0.05 - (0.05 - 0.0002) * np.arange(1, 4) / 3
    np.testing.assert_allclose(fitted.history["learning_rate"], wanted)


def test_the_loss_is_counted_in_nats_per_word_from_chance_on(smoke):
    slow = dataclasses.replace(smoke, learning_rate=1e-9)
    curves, examples = word2vec_embedding.make_learner(slow).epoch(0)
    assert examples == 12 * 80 * 9
    # Context vectors begin at 0, so the context and its 10 negatives are told apart by
    # chance, ln 2 each (a negative that happens to be the context is left out). The
    # window is 1 to 10 words to either side, evenly: in 9 words a pair at distance d
    # counts in (11 - d) / 10 of the cases.
    contexts = sum(2 * (9 - d) * (11 - d) / 10 for d in range(1, 9)) / 9
    assert curves["loss"] == pytest.approx(11 * np.log(2) * contexts, rel=0.06)


def test_tensorboard_gets_the_vectors_with_their_words(fitted, by_gensim):
    logs = fitted.run.logs / "train"
    config = projector.ProjectorConfig()
    from google.protobuf import text_format

    text_format.Parse((logs / "projector_config.pbtxt").read_text(), config)
    (embedding,) = config.embeddings
    raw = np.fromfile(logs / embedding.tensor_path, np.float32)
    vectors = raw.reshape(*embedding.tensor_shape)
    np.testing.assert_array_equal(vectors, by_gensim.vectors)
    labels = (logs / embedding.metadata_path).read_text().splitlines()
    assert labels == by_gensim.index_to_key
    assert list(logs.glob("events.*"))  # where TensorBoard looks for a projector too


@pytest.mark.slow
def test_the_exported_version_holds_the_words_and_needs_no_gensim(
    fitted, smoke, tmp_path
):
    exported = export.export(
        fitted.model,
        fitted.signatures,
        tmp_path / "word2vec_embedding",
        examples=word2vec_embedding.make_examples(smoke),
        provenance=provenance.collect(
            config=_config.as_dict(smoke),
            metrics=fitted.metrics,
            dataset={},
            training_seconds=1.0,
        ),
    )
    loaded = tf.saved_model.load(str(exported.path)).signatures["serving_default"]
    answer = loaded(word=strings(["war", "nix"]), k=tf.constant([4, 4]))
    wanted = ask(fitted, ["war", "nix"], [4, 4])
    assert (answer["words"].numpy() == wanted["words"]).all()
    assert answer["known"].numpy().tolist() == [True, False]


def test_cbow_trains_too(smoke):
    learner = word2vec_embedding.make_learner(dataclasses.replace(smoke, sg=False))
    losses = [learner.epoch(epoch)[0]["loss"] for epoch in range(3)]
    assert losses[-1] < losses[0]


def test_two_words_are_enough_for_every_signature():
    model = WordVectors(["left", "right"], np.eye(2, dtype=np.float32))
    signatures = word2vec_embedding.make_signatures(model, Config())
    near = signatures["serving_default"](strings(["left"]), tf.constant([5]))
    assert near["words"].numpy().tolist() == [[b"right"]]


def test_text_without_frequent_words_is_one_clear_error(smoke):
    with pytest.raises(UsageError, match="nothing to train on"):
        word2vec_embedding.make_learner(dataclasses.replace(smoke, min_count=10**6))


def test_joined_data_sets_are_read_one_after_the_other(datasets_dir):
    def read(name):
        return _skip_gram.sentences(name, str(datasets_dir), False)

    speeches, reviews = read("state_of_the_union"), read("review_snippets")
    assert len(speeches) > 0
    assert len(reviews) > 0
    assert read("state_of_the_union+review_snippets") == speeches + reviews
    # Of translations, the originals.
    verses = read("bible_verses")
    assert verses
    assert read("bible_verses+state_of_the_union") == verses + speeches


def test_a_data_set_without_text_is_one_clear_error(smoke):
    with pytest.raises(UsageError, match="Expected `text`"):
        word2vec_embedding.make_learner(dataclasses.replace(smoke, dataset="mnist"))


@pytest.mark.parametrize(
    "assignment",
    ["dimensions=0", "window=0", "negatives=0", "sample=1", "min_count=0", "workers=0"]
    + ["global_batch_size=10001", "early_stopping_epochs=2", "xla=on"],
)
def test_values_that_train_nothing_are_refused(assignment):
    with pytest.raises(UsageError, match=assignment.partition("=")[0]):
        _config.override(Config(), [assignment])
