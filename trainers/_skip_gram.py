"""gensim's Word2Vec as a learner: an epoch at a time, and on from a checkpoint."""

import functools
import pathlib
import re
import sys
from collections.abc import Iterator, Sequence

import gensim
import numpy as np
from gensim.parsing.preprocessing import STOPWORDS
from tensorboard.plugins import projector

from savedmodels.errors import UsageError
from trainers import _catalog
from trainers._checkpoints import UnusableCheckpointError
from trainers._word_vectors import WordVectors
from trainers.datasets import _load

_SENTENCE_END = re.compile(r"[.!?]+")
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
# gensim adds the loss up in float32, which loses small terms in a large sum and so
# makes late epochs look worse than they are. It starts at 0 for each of these.
_PIECES = 50
# The learning rate falls to this share of its peak, as 0.0001 of gensim's 0.025.
_LAST_RATE = 0.004
_FILE = "word2vec"
# What a data set may call its text; of translations the original is read.
_TEXT_FEATURES = ("text", "source_text")

Sentences = tuple[tuple[str, ...], ...]


@functools.lru_cache(maxsize=1)
def sentences(dataset: str, datasets_dir: str, stop_words: bool) -> Sentences:
    """Returns the words of each sentence, in the order of the text, in lower case.

    A word is a run of letters, with apostrophes inside. Sentences of a single word
    have nothing to teach and are left out.

    Args:
        dataset: Its feature `text` or `source_text` is read, of the split `train`; of
            several, joined by `+`, one after the other.
        datasets_dir: Folder that keeps data sets.
        stop_words: Whether `the`, `of` and the like are left out.

    Raises:
        UsageError: The data set has no text to train on.
        DatasetError: It cannot be fetched or prepared.
    """
    dropped = STOPWORDS if stop_words else frozenset()
    found = []
    for name in _catalog.joined(dataset):
        for text in _texts(name, datasets_dir):
            for sentence in _SENTENCE_END.split(text.lower().replace("\u2019", "'")):
                words = [w for w in _WORD.findall(sentence) if w not in dropped]
                if len(words) > 1:
                    found.append(tuple(map(sys.intern, words)))
    return tuple(found)


def _texts(name: str, datasets_dir: str) -> Iterator[str]:
    """The texts of one data set."""
    builder = _load.prepare(name, datasets_dir)
    features = builder.info.features
    found = [
        key
        for key in _TEXT_FEATURES
        if key in features and features[key].np_dtype == np.object_
    ]
    if not found:
        raise UsageError(
            f"Data set `{name}` does not fit this model. Expected `text`, a string, "
            f"in its features. Received: {features}."
        )
    for example in builder.as_dataset(split="train").as_numpy_iterator():
        yield example[found[0]].decode("utf-8", "replace")


class SkipGram:
    """Word2Vec in training; `sg=False` of its settings makes it CBOW.

    Attributes:
        model: The vectors as they are, for the signatures.
    """

    def __init__(
        self,
        text: Sentences,
        *,
        epochs: int,
        learning_rate: float,
        words_per_job: int,
        **settings: int | float | bool,
    ) -> None:
        """Counts the words and draws the first vectors.

        Args:
            text: What to train on.
            epochs: How often, in all.
            learning_rate: At the start; it falls linearly.
            words_per_job: Words that a worker takes at once.
            **settings: As `gensim.models.Word2Vec` takes them.

        Raises:
            UsageError: No word is frequent enough.
        """
        self._text = text
        self._epochs = epochs
        self._learning_rate = learning_rate
        self._gensim = gensim.models.Word2Vec(batch_words=words_per_job, **settings)
        self._gensim.lifecycle_events = None  # a line per call would fill checkpoints
        self._gensim.build_vocab(text)
        if len(self._gensim.wv) < 2:
            raise UsageError(
                "There is nothing to train on. Expected two words or more that are "
                f"frequent enough. Received: min_count={settings['min_count']} and "
                f"{len(text):,} sentences."
            )
        self.model = WordVectors(self._gensim.wv.index_to_key, self._vectors)

    @property
    def _vectors(self) -> np.ndarray:
        return self._gensim.wv.vectors

    def epoch(self, epoch: int) -> tuple[dict[str, float], int]:
        """Trains one epoch, counted from 0; see `trainers._learner.Learner`."""
        loss, trained, seen = 0.0, 0, 0
        pieces = min(_PIECES, len(self._text))
        edges = np.linspace(0, len(self._text), pieces + 1).round().astype(int)
        for first, last in zip(edges[:-1], edges[1:], strict=True):
            words, all_words = self._gensim.train(
                self._text[first:last],
                total_examples=int(last - first),
                epochs=1,
                start_alpha=self._rate(epoch, first),
                end_alpha=self._rate(epoch, last),
                compute_loss=True,
            )
            loss += float(self._gensim.get_latest_training_loss())
            trained += words
            seen += all_words
        self.model.update(self._vectors)
        curves = {
            "loss": loss / max(trained, 1),
            "learning_rate": self._rate(epoch, len(self._text)),
        }
        return curves, seen

    def save(self, folder: pathlib.Path) -> None:
        """Writes the vectors of words and contexts, and the random state."""
        self._gensim.save(str(folder / _FILE))

    def restore(self, folder: pathlib.Path) -> None:
        """Takes up what `save` wrote."""
        saved = gensim.models.Word2Vec.load(str(folder / _FILE))
        if saved.wv.index_to_key != self._gensim.wv.index_to_key:
            raise UnusableCheckpointError("was begun with other words")
        self._gensim = saved
        self.model.update(self._vectors)

    def write_logs(self, folder: pathlib.Path) -> None:
        """Writes the vectors and their words for TensorBoard's projector."""
        write_projector(folder, self.model.words, self._vectors)

    def _rate(self, epoch: int, sentence: int) -> float:
        """The learning rate before a sentence: the straight line of gensim."""
        done = (epoch + sentence / len(self._text)) / self._epochs
        return self._learning_rate * (1 - (1 - _LAST_RATE) * done)


def write_projector(
    folder: pathlib.Path, words: Sequence[str], vectors: np.ndarray
) -> None:
    """Writes what TensorBoard's embedding projector shows.

    Args:
        folder: A folder of TensorBoard logs.
        words: The label of each row.
        vectors: [words, dimensions] float32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    np.ascontiguousarray(vectors, "<f4").tofile(folder / "vectors.bytes")
    (folder / "words.tsv").write_text("\n".join(words) + "\n", encoding="utf-8")
    config = projector.ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name = "words"
    embedding.tensor_shape.extend(vectors.shape)
    embedding.tensor_path = "vectors.bytes"
    embedding.metadata_path = "words.tsv"
    (folder / "projector_config.pbtxt").write_text(str(config))
