"""Word2vec: vectors of words that stand in the same company, learnt from plain text.

Paper    Mikolov et al. 2013, "Distributed Representations of Words and Phrases and
         their Compositionality", NIPS. Differs: no phrases; trained by gensim.
Dataset  trainers/datasets/state_of_the_union.py   text [] string, one speech each; in
         lower case, split into sentences and words, rare words left out
Network  center -> vector [dimensions]; context, negatives -> context vectors
         sg=true    each word of the window predicted from its center (skip-gram)
         sg=false   the center predicted from the mean of its window (CBOW)
Loss     negative sampling, nats per trained word: over all its contexts and negatives.
         Seen while training, where each sentence teaches the next: so it rises again
         as the learning rate falls, and does not tell how good the vectors are
Serves   serving_default   word     [batch] string, upper or lower case
                           k        [batch] int32, how many neighbours
                        -> words    [batch, largest k] string, by falling cosine; empty
                           cosines  [batch, largest k] float32           beyond its k
                           known    [batch] bool; where false, all else is empty or 0
                           vector   [batch, dimensions] float32
         embed             word     [batch] string
                        -> vector   [batch, dimensions] float32
                           known    [batch] bool
         analogy           a, b, c  [batch] string each: a is to b as c is to ...
                        -> words    [batch, 10] string, by falling cosine
                           cosines  [batch, 10] float32
                           known    [batch] bool, whether all three are
Measured WordSim-353 Spearman 0.422 (33 % of the pairs out of vocabulary), SimLex-999
         0.224, analogies 4.8 %, with seed 1; WordSim-353 was looked at when the
         settings were chosen, so it is no clean test of them; 2.4 minutes, of which
         1.8 in epochs, 2 CPU cores; neighbours as gensim's for 1,000 words
Run      make train MODEL=word2vec_embedding
"""

import dataclasses

import numpy as np
import tensorflow as tf

from savedmodels.signature import Signatures
from trainers import _skip_gram, _word_judgements
from trainers._config import TrainConfig, check
from trainers._evaluation import Answer, Evaluation
from trainers._skip_gram import SkipGram
from trainers._word_vectors import WordVectors

_ANALOGIES = 10  # answers to one question
_EXAMPLES = 32
# Of pairs that everybody judges vectors by, so most vocabularies have some of them.
_EXAMPLE_WORDS = (
    "money bank king queen war peace man woman children family law court food fruit "
    "gold silver coast shore travel journey school student stock market president "
    "government country citizen energy crisis"
).split()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainConfig):
    """The shared training fields, and those of word2vec.

    gensim trains in float32 on the CPU, so devices and precision have no effect.

    Attributes:
        dataset: One with a `text` feature, of which the split `train` is read; or
            several, joined by `+`.
        global_batch_size: Words that a worker takes at once, at most 10,000.
        sg: Skip-gram if true, else CBOW.
        dimensions: Length of a vector.
        window: Words to either side that count as context, at most.
        negatives: Random words that each context is told from.
        sample: Share of the text above which a word is thinned out; 0 for never.
        min_count: Times that a word has to occur to get a vector.
        stop_words: Whether `the`, `of` and the like are left out.
        workers: Threads. With more than one, the same seed gives other vectors.
    """

    dataset: str = "state_of_the_union"
    epochs: int = 10
    learning_rate: float = 0.025
    global_batch_size: int = 10_000
    sg: bool = True
    dimensions: int = 100
    window: int = 10
    negatives: int = 10
    sample: float = 1e-4
    min_count: int = 3
    stop_words: bool = False
    workers: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("dimensions", "window", "negatives", "min_count", "workers"):
            check(self, field, getattr(self, field) >= 1, "1 or more")
        check(self, "sample", 0 <= self.sample < 1, "0 or more, and below 1")
        fits = self.global_batch_size <= 10_000
        check(self, "global_batch_size", fits, "at most 10000")
        # There is no loss on other text that could stop it.
        fits = self.early_stopping_epochs == 0
        check(self, "early_stopping_epochs", fits, "0: there is no validation loss")
        for field in ("mixed_precision", "xla"):
            check(self, field, getattr(self, field) != "on", "`auto` or `off`")


SMOKE = Config(epochs=3, dimensions=16, min_count=2, sample=0.0, learning_rate=0.05)


def make_learner(config: Config) -> SkipGram:
    """Returns vectors that are still random, and what trains them."""
    text = _skip_gram.sentences(config.dataset, config.datasets_dir, config.stop_words)
    return SkipGram(
        text,
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        words_per_job=config.global_batch_size,
        sg=config.sg,
        vector_size=config.dimensions,
        window=config.window,
        negative=config.negatives,
        sample=config.sample,
        min_count=config.min_count,
        workers=config.workers,
        seed=config.seed,
    )


def make_signatures(model: WordVectors, config: Config) -> Signatures:
    """Returns what a client may call, by signature name."""
    del config  # every configuration is served alike
    return {
        "serving_default": _neighbours(model),
        "embed": _embed(model),
        "analogy": _analogy(model),
    }


def make_examples(config: Config) -> dict[str, dict[str, np.ndarray]]:
    """Returns 32 requests for each signature, with words that are not known too."""
    del config
    words = [*_EXAMPLE_WORDS, "unheardof", ""]
    word = np.array([w.encode() for w in words[:_EXAMPLES]], object)
    return {
        "serving_default": {"word": word, "k": np.full(len(word), 10, np.int32)},
        "embed": {"word": word},
        "analogy": {"a": word, "b": np.roll(word, -1), "c": np.roll(word, -2)},
    }


def evaluate(answer: Answer, config: Config, split: str = "test") -> Evaluation:
    """Judges whatever `answer` runs, by what people said of pairs of words."""
    del config  # the judgements are the same for every text
    return _word_judgements.judge(answer, split)


def _neighbours(model: WordVectors) -> tf.types.experimental.PolymorphicFunction:
    """The words of the largest cosine with a word, but not itself."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="word"),
            tf.TensorSpec([None], tf.int32, name="k"),
        ]
    )
    def neighbours(word, k):
        rows, known = model.rows(word)
        vector = model.vectors_of(rows, known)
        count = tf.clip_by_value(tf.reduce_max(k), 0, len(model.words) - 1)
        direction = tf.gather(model.unit, rows)
        words, cosines = model.nearest(direction, rows[:, None], count)
        shown = known[:, None] & (tf.range(count) < k[:, None])
        return {
            "words": tf.where(shown, words, ""),
            "cosines": tf.where(shown, cosines, 0.0),
            "known": known,
            "vector": vector,
        }

    return neighbours


def _embed(model: WordVectors) -> tf.types.experimental.PolymorphicFunction:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="word")])
    def embed(word):
        rows, known = model.rows(word)
        return {"vector": model.vectors_of(rows, known), "known": known}

    return embed


def _analogy(model: WordVectors) -> tf.types.experimental.PolymorphicFunction:
    """The words nearest to b - a + c, all of length 1, but none of the three."""

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name=n) for n in "abc"]
    )
    def analogy(a, b, c):
        # One look-up for all three: [3, batch].
        rows, known = map(
            lambda found: tf.reshape(found, [3, -1]),
            model.rows(tf.concat([a, b, c], axis=0)),
        )
        unit = tf.gather(model.unit, rows)
        all_known = tf.reduce_all(known, axis=0)
        count = min(_ANALOGIES, max(len(model.words) - 3, 1))
        words, cosines = model.nearest(
            unit[1] - unit[0] + unit[2], tf.transpose(rows), count
        )
        shown = all_known[:, None]
        return {
            "words": tf.where(shown, words, ""),
            "cosines": tf.where(shown, cosines, 0.0),
            "known": all_known,
        }

    return analogy
