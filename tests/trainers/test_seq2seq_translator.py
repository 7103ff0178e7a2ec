"""What only the translator promises; test_every_trainer.py asks the rest."""

import dataclasses
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from savedmodels.errors import UsageError
from trainers import (
    _attention,
    _beam_search,
    _config,
    _fit,
    _report,
    _token_ids,
    seq2seq_translator,
)
from trainers.seq2seq_translator import SMOKE, Config

VOCABULARY = 9
TOKENS = 7


@pytest.fixture(scope="module")
def smoke(datasets_dir):
    return dataclasses.replace(SMOKE, datasets_dir=str(datasets_dir))


@pytest.fixture(scope="module")
def model(smoke):
    return seq2seq_translator.make_model(smoke)


@pytest.fixture(scope="module")
def signatures(model, smoke):
    return seq2seq_translator.make_signatures(model, smoke)


def ask(signatures, *texts, name="serving_default"):
    answer = signatures[name](tf.constant(texts, tf.string))
    return {alias: output.numpy() for alias, output in answer.items()}


def sure_decoder(*, tied):
    """A small decoder that is sure of what it says, so that beams differ."""
    keras.utils.set_random_seed(3)
    decoder = _attention.AttentionDecoder(VOCABULARY, 4, 6, 5, 0.0, 1, tied=tied)
    decoder.build([(None, None), (None, None, 8), (None, None)])
    for weight in decoder.weights:
        weight.assign(2.0 * weight + 0.3 * keras.random.normal(weight.shape))
    return decoder


@pytest.fixture(scope="module")
def decoder():
    return sure_decoder(tied=False)


@pytest.fixture(scope="module")
def source(decoder):
    randomness = np.random.default_rng(4)
    memory = tf.constant(randomness.normal(size=[12, 5, 8]), tf.float32)
    source_ids = np.full([12, 5], 7)
    for row in range(12):
        source_ids[row, 1 + row % 5 :] = _token_ids.PADDING
    return decoder.source(memory, tf.constant(source_ids)), memory, source_ids


def test_has_the_parameters_of_its_layers(smoke):
    config = dataclasses.replace(
        smoke, embedding_units=5, units=6, attention_units=7, beam_width=1
    )
    model = seq2seq_translator.make_model(config)
    source, target = model.source_vocabulary.size, model.target_vocabulary.size
    encoder = source * 5 + 2 * 4 * (5 + 3 + 1) * 3  # four gates, two ways
    first_state = (6 + 1) * 12
    attention = (6 + 1) * 7 + 6 * 7 + 7
    cell = 4 * (5 + 6 + 6 + 1) * 6
    readout = (6 + 6 + 5 + 1) * 6 + (6 + 1) * target
    decoder = target * 5 + first_state + attention + cell + readout
    assert model.count_params() == encoder + decoder

    tied = dataclasses.replace(config, tied_embeddings=True)
    readout = (6 + 6 + 5 + 1) * 5
    decoder = target * 5 + first_state + attention + cell + readout
    model = seq2seq_translator.make_model(tied)
    assert model.count_params() == encoder + decoder


def test_attention_is_that_of_the_paper(decoder, source):
    looked_at, memory, source_ids = source
    state = np.random.default_rng(5).normal(size=[12, 6]).astype(np.float32)
    embedded = tf.zeros([12, 4])
    states = [tf.constant(state), tf.zeros_like(state)]
    _, context, attention = decoder.step(embedded, states, looked_at)
    w, u = decoder.query.kernel.numpy(), decoder.key.kernel.numpy()
    bias = decoder.key.bias.numpy()
    v = decoder.energy.kernel.numpy()[:, 0]
    for row in range(12):
        places = np.flatnonzero(source_ids[row])
        energies = [
            math.fsum(v * np.tanh(state[row] @ w + memory[row, j].numpy() @ u + bias))
            for j in places
        ]
        shares = np.exp(energies) / np.exp(energies).sum()
        np.testing.assert_allclose(attention[row, : len(places)], shares, rtol=1e-4)
        np.testing.assert_array_equal(attention[row, len(places) :], 0)
        wanted = sum(
            s * memory[row, j].numpy() for s, j in zip(shares, places, strict=True)
        )
        np.testing.assert_allclose(context[row], wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("tied", [False, True])
def test_a_token_at_a_time_gives_the_logits_of_teacher_forcing(source, tied):
    decoder = sure_decoder(tied=tied)
    _, memory, source_ids = source
    looked_at = decoder.source(memory, tf.constant(source_ids))
    randomness = np.random.default_rng(6)
    target_ids = tf.constant(randomness.integers(1, VOCABULARY, [12, TOKENS]), tf.int32)
    taught = decoder((target_ids, memory, tf.constant(source_ids)))
    states = decoder.start(looked_at)
    for place in range(TOKENS):
        logits, states = decoder.next_logits(target_ids[:, place], states, looked_at)
        np.testing.assert_allclose(logits, taught[:, place], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("width", "power"), [(1, 1), (2, 1), (4, 1), (12, 1), (4, 0), (4, 1.5), (12, 3)]
)
def test_the_search_finds_what_a_plain_one_finds(decoder, source, width, power):
    looked_at = source[0]
    search = tf.function(_beam_search.search)
    target_ids, means = search(decoder, looked_at, width, TOKENS, power)
    for row in range(5):
        own = _attention.Source(*(tensor[row : row + 1] for tensor in looked_at))
        tokens, mean = _plain_search(decoder, own, width, power)
        assert [int(t) for t in target_ids[row] if t] == tokens
        assert float(means[row]) == pytest.approx(mean, abs=1e-4)


def _plain_search(decoder, source, width, power):
    """Beam search over lists: its tokens and their mean log-probability."""
    kept = [([], 0.0, decoder.start(source))]
    for place in range(TOKENS):
        candidates = []
        for tokens, total, states in kept:
            if tokens[-1:] == [_token_ids.END]:
                candidates.append((tokens, total, states))
                continue
            last = tokens[-1] if tokens else _token_ids.START
            logits, after = decoder.next_logits(tf.constant([last]), states, source)
            logits = logits.numpy()[0].astype(np.float64)
            allowed = [_token_ids.END, *range(_token_ids.FIRST, VOCABULARY)]
            norm = np.log(np.exp(logits[allowed]).sum())
            for token in allowed if place < TOKENS - 1 else [_token_ids.END]:
                gain = logits[token] - norm
                candidates.append(([*tokens, token], total + gain, after))
        candidates.sort(key=lambda c: -c[1] / len(c[0]) ** power)
        kept = candidates[:width]
    tokens, total, _ = kept[0]
    return tokens, total / len(tokens)


def test_width_one_takes_the_likeliest_token_each_time(decoder, source):
    looked_at = source[0]
    target_ids = _beam_search.search(decoder, looked_at, 1, TOKENS)[0].numpy()
    for row in range(12):
        own = _attention.Source(*(tensor[row : row + 1] for tensor in looked_at))
        states, last, greedy = decoder.start(own), _token_ids.START, []
        while last != _token_ids.END and len(greedy) < TOKENS:
            logits, states = decoder.next_logits(tf.constant([last]), states, own)
            allowed = logits.numpy()[0]
            allowed[[_token_ids.PADDING, _token_ids.START, _token_ids.UNKNOWN]] = -1e9
            is_last = len(greedy) == TOKENS - 1
            last = _token_ids.END if is_last else int(allowed.argmax())
            greedy.append(last)
        assert [t for t in target_ids[row].tolist() if t] == greedy


def test_the_score_is_the_mean_probability_of_the_answer(model, signatures, smoke):
    texts = seq2seq_translator.make_examples(smoke)["serving_default"]["source_text"]
    answer = ask(signatures, *texts)
    source_ids = model.source_vocabulary.encode(tf.constant(texts), smoke.source_tokens)
    answered = model.target_vocabulary.encode(
        tf.constant(answer["target_text"]), smoke.target_tokens + 1
    )
    framed = _token_ids.for_training(answered.numpy())
    inputs = {"source_ids": source_ids, "target_ids": tf.constant(framed[:, :-1])}
    logits = model(inputs).numpy()
    never = [_token_ids.PADDING, _token_ids.START, _token_ids.UNKNOWN]
    logits[..., never] = -np.inf
    probabilities = tf.nn.softmax(logits).numpy()
    for row in range(len(texts)):
        ids = [int(i) for i in framed[row, 1:] if i]
        assert ids[-1] == _token_ids.END
        chosen = [probabilities[row, place, i] for place, i in enumerate(ids)]
        mean = np.prod(np.array(chosen, np.float64)) ** (1 / len(chosen))
        assert answer["score"][row] == pytest.approx(mean, rel=1e-3)


def test_attention_names_what_was_read_and_what_was_answered(signatures, smoke):
    texts = ("4 juli 1776", "2024年3月4日", "")
    seen = ask(signatures, *texts, name="attention")
    answers = ask(signatures, *texts)["target_text"]
    shape = (3, smoke.target_tokens, smoke.source_tokens)
    assert seen["attention"].shape == shape
    for row, text in enumerate(texts):
        source = b"".join(seen["source_tokens"][row]).decode()
        # What the tiny training split lacks has no name.
        assert len(source) == len(text)
        assert all(a in (b, "?") for a, b in zip(source, text, strict=True))
        assert b"".join(seen["target_tokens"][row]) == answers[row]
        read, written = len(text), len(answers[row])
        attention = seen["attention"][row]
        np.testing.assert_allclose(attention[:written, :read].sum(axis=1), 1, rtol=1e-5)
        assert attention.sum() == pytest.approx(written, rel=1e-4)


@pytest.mark.parametrize("blank", [b"", b" \t\n", "\u200f\u00a0".encode()])
def test_no_text_is_answered_with_no_text(signatures, blank):
    answer = ask(signatures, "4 July 1776", blank)
    assert answer["target_text"][1] == b""
    assert answer["score"][1] == 0
    assert 0 < answer["score"][0] <= 1


ODD_TEXTS = [
    pytest.param(b"\xff\xfe\x80 4 July", id="not UTF-8"),
    pytest.param(b"\x00 4 July 1776", id="a zero byte"),
    pytest.param("🎬 ᚠᚢᚦ".encode(), id="no character known"),
    pytest.param(b"4 July 1776 " * 1_000, id="10,000 characters"),
    pytest.param("四".encode() * 400_000, id="a megabyte without blanks"),
]


@pytest.mark.parametrize("text", ODD_TEXTS)
@pytest.mark.parametrize("name", ["serving_default", "attention"])
def test_any_bytes_are_answered_alike_alone_and_in_a_batch(signatures, text, name):
    alone = ask(signatures, text, name=name)
    beside = ask(signatures, "4 July 1776", text, b"", name=name)
    for alias, output in alone.items():
        wanted = beside[alias][1:2]
        if output.dtype == object:
            np.testing.assert_array_equal(output, wanted)
        else:
            assert np.isfinite(output).all()
            np.testing.assert_allclose(output, wanted, atol=1e-5)


def test_no_rows_are_answered_with_none(signatures):
    for name in signatures:
        empty = signatures[name](tf.constant([], tf.string))
        assert all(output.shape[0] == 0 for output in empty.values())


def test_what_comes_after_the_tokens_is_not_read(signatures, smoke):
    start = "4 July 1776 AD ".ljust(smoke.source_tokens, "x")
    first, second = (ask(signatures, start + end) for end in ("1", "2"))
    assert first == second


def test_characters_that_mean_the_same_are_read_alike(signatures):
    texts = (
        "4 MARCH 2024",
        "4 march 2024",
        "٤ march ２０２４",
        " 4\u202fmarch  2024\u200f",
    )
    answer = ask(signatures, *texts)
    assert len(set(answer["target_text"].tolist())) == 1
    np.testing.assert_allclose(answer["score"], answer["score"][0], rtol=1e-6)


def test_every_example_is_taught_once_an_epoch_among_others_of_its_length(smoke):
    config = dataclasses.replace(smoke, global_batch_size=16)
    train, _ = seq2seq_translator.make_datasets(config)
    texts, _ = seq2seq_translator._read(config, "train")
    source, _ = seq2seq_translator._vocabularies(config)
    most = config.source_tokens
    wanted = sorted(source.encode(tf.constant(texts), most).numpy().tolist())
    epochs = [[batch[0]["source_ids"].numpy() for batch in train] for _ in range(2)]
    for batches in epochs:
        assert len(batches) == int(train.cardinality())
        rows = [row.tolist() for batch in batches for row in batch]
        assert sorted(row + [0] * (most - len(row)) for row in rows) == wanted
        # The longest of a batch is less than half as long again as its mean.
        found = [np.count_nonzero(batch, axis=1) for batch in batches]
        assert np.mean([f.max() / f.mean() for f in found]) < 1.5
        # Short and long ones in no order.
        means = [f.mean() for f in found]
        assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.6
    assert any((a.shape != b.shape) for a, b in zip(*epochs, strict=True))


def test_a_target_is_taught_with_its_end_unless_it_was_cut():
    start, end = _token_ids.START, _token_ids.END
    ids = np.array([[7, 8, 9, 0], [7, 8, 9, 6], [0, 0, 0, 0], [7, 0, 0, 0]])
    assert _token_ids.for_training(ids).tolist() == [
        [start, 7, 8, 9, end],
        [start, 7, 8, 9, 0],
        [start, end, 0, 0, 0],
        [start, 7, end, 0, 0],
    ]


def test_can_learn_one_batch_by_heart(smoke):
    config = dataclasses.replace(
        smoke, dropout=0.0, units=48, embedding_units=24, global_batch_size=8
    )
    inputs, targets, weights = next(
        iter(seq2seq_translator.make_datasets(config)[0].take(1))
    )
    model = seq2seq_translator.make_model(config)
    for _ in range(100):
        loss = model.train_on_batch(inputs, targets, sample_weight=weights)[0]
    assert loss < 0.3  # of 2.3 at first


# The same network over what SentencePiece makes of verses.


@pytest.fixture
def verses(datasets_dir):
    config = _config.override(Config(), ["dataset=bible_verses"])
    return dataclasses.replace(
        config,
        datasets_dir=str(datasets_dir),
        vocabulary_size=60,
        units=16,
        embedding_units=8,
        source_tokens=24,
        target_tokens=20,
    )


@pytest.fixture
def reader(verses):
    return seq2seq_translator.make_model(verses)


@pytest.fixture
def translator(reader, verses):
    return seq2seq_translator.make_signatures(reader, verses)


def test_texts_survive_the_way_to_ids_and_back(reader, verses):
    columns = seq2seq_translator._read(verses, "train")
    for vocabulary, texts in zip(
        (reader.source_vocabulary, reader.target_vocabulary), columns, strict=True
    ):
        ids = vocabulary.encode(tf.constant(texts), 99)
        # Rare characters have no token in so small a vocabulary.
        known = np.flatnonzero((ids.numpy() != _token_ids.UNKNOWN).all(axis=1))
        assert len(known) > 300
        ids, texts = tf.gather(ids, known), texts[known]
        np.testing.assert_array_equal(vocabulary.decode(ids), texts)
        pieces = tf.strings.reduce_join(vocabulary.names(ids), axis=-1).numpy()
        assert [p.decode().replace("▁", " ").strip() for p in pieces] == [
            text.decode() for text in texts
        ]


def test_the_vocabulary_is_the_same_whenever_it_is_made():
    texts = [f"the king of house {n} went to the water" for n in range(80)]
    first = _token_ids.learn_subwords(texts, 50, normalise=True)
    assert _token_ids.learn_subwords(texts, 50, normalise=True) == first


def test_vocabularies_stay_apart_when_they_are_loaded(tmp_path):
    # The ids that each gives to one text.
    text = tf.constant(["the king went up to the sea"])
    wanted = []
    for place, word in enumerate(("king", "water")):
        module = tf.Module()
        module.vocabularies = [
            _token_ids.Subwords(
                _token_ids.learn_subwords(
                    [f"the {word} of {thing} {n}" for n in range(60)],
                    40,
                    normalise=True,
                )
            )
            for thing in ("seas", "ruled")
        ]

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
        def ids(text, vocabularies=module.vocabularies):
            first, second = (each.encode(text, 30) for each in vocabularies)
            return {"first": first, "second": second}

        answered = {alias: found.numpy() for alias, found in ids(text).items()}
        assert (answered["first"] != answered["second"]).any()
        wanted.append(answered)
        tf.saved_model.save(module, tmp_path / str(place), {"serving_default": ids})
    assert (wanted[0]["first"] != wanted[1]["first"]).any()

    # Two models in one server, as well as two vocabularies in one model.
    loaded = [tf.saved_model.load(tmp_path / str(place)) for place in range(2)]
    for model, answered in zip(loaded, wanted, strict=True):
        found = model.signatures["serving_default"](text=text)
        for alias, expected in answered.items():
            np.testing.assert_array_equal(found[alias], expected)


@pytest.mark.parametrize("name", ["serving_default", "attention"])
def test_any_bytes_are_answered_in_subwords_too(translator, name):
    texts = [odd.values[0] for odd in ODD_TEXTS] + [b"the king went", b""]
    together = ask(translator, *texts, name=name)
    for row, text in enumerate(texts):
        for alias, output in ask(translator, text, name=name).items():
            if output.dtype == object:
                np.testing.assert_array_equal(output[0], together[alias][row])
            else:
                np.testing.assert_allclose(output[0], together[alias][row], atol=1e-5)


def test_it_is_judged_beside_the_nearest_known_verse(translator, verses):
    result = seq2seq_translator.evaluate(_fit.answer_of(translator), verses, "test")
    assert list(result.metrics) == ["chrf", "bleu", "nearest_chrf", "nearest_bleu"]
    assert all(0 <= value <= 100 for value in result.metrics.values())
    for title, panel in result.panels.items():
        assert _report.picture(title, panel).size


@pytest.mark.parametrize(
    "assignment",
    [
        "tokens=words",
        "vocabulary_size=3",
        "source_tokens=0",
        "target_tokens=0",
        "units=7",
        "attention_units=0",
        "dropout=1",
        "weight_decay=-1",
        "beam_width=0",
    ],
)
def test_values_that_make_no_network_are_refused(assignment):
    with pytest.raises(UsageError, match=assignment.partition("=")[0]):
        _config.override(Config(), [assignment])
