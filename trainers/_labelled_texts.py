"""What the classifiers of texts share: data, examples, and the ends of signatures."""

import dataclasses
from collections.abc import Callable
from typing import Literal

import numpy as np
import tensorflow as tf

from savedmodels.signature import Signatures
from trainers import _text_evaluation
from trainers._config import TrainConfig, check
from trainers._evaluation import Answer, Evaluation, ask
from trainers.datasets import review_snippets

CLASSES = len(review_snippets.CLASSES)
_DOMAINS = (*review_snippets.DOMAINS, review_snippets.ALL)
_EXAMPLE_ROWS = 32
_ASKED_ROWS = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelledTextsConfig(TrainConfig):
    """The shared training fields, and which texts.

    Attributes:
        domain: `movies`, `amazon`, `nyt`, `tweets` or `all` of `review_snippets`;
            of no meaning for another data set.
    """

    dataset: str = "review_snippets"
    domain: Literal["movies", "amazon", "nyt", "tweets", "all"] = "movies"

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = self.domain in _DOMAINS
        check(self, "domain", fits, f"one of {', '.join(_DOMAINS)}")


def read(
    config: LabelledTextsConfig, split: str, domain: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns texts [examples] object and labels [examples] int64 of a split.

    Args:
        config: Which texts.
        split: `train`, `validation` or `test`.
        domain: Another one than the Config's; see `review_snippets.read`.
    """
    return review_snippets.read(
        config.dataset, split, config.datasets_dir, domain or config.domain
    )


def shares(
    config: LabelledTextsConfig,
    split: str,
    rating_scale: float,
    domain: str | None = None,
) -> np.ndarray:
    """Returns the share that either class has in each text, [examples, 2] float32.

    Args:
        config: Which texts.
        split: `train`, `validation` or `test`.
        rating_scale: The mean rating that is worth odds of e to 1 for class 1. Where
            it is 0, or there are no ratings, the share of the label is 1.
        domain: Another one than the Config's.
    """
    rated = review_snippets.ratings(
        config.dataset, split, config.datasets_dir, domain or config.domain
    )
    if rated is None or not rating_scale:
        return np.eye(CLASSES, dtype=np.float32)[read(config, split, domain)[1]]
    positive = 1 / (1 + np.exp(-rated / rating_scale))
    return np.stack([1 - positive, positive], axis=1)


def class_names(config: LabelledTextsConfig) -> list[str]:
    """Returns what the data set calls its two classes, by class."""
    return review_snippets.class_names(config.dataset, config.datasets_dir)


def make_signatures(
    logits_of: Callable[[tf.Tensor], tf.Tensor], config: LabelledTextsConfig
) -> Signatures:
    """Returns `serving_default` and `classify`.

    Args:
        logits_of: From text [batch] string to logits [batch, 2].
        config: Names the classes.
    """
    names = tf.constant(class_names(config))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def predict(text):
        scores = tf.nn.softmax(logits_of(text))
        class_id = tf.argmax(scores, axis=-1)
        label = tf.gather(names, class_id)
        return {"scores": scores, "class_id": class_id, "label": label}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(inputs):
        features = {"text": tf.io.FixedLenFeature([], tf.string)}
        scores = predict(tf.io.parse_example(inputs, features)["text"])["scores"]
        classes = tf.broadcast_to(names, [tf.shape(inputs)[0], CLASSES])
        return {"classes": classes, "scores": scores}

    return {"serving_default": predict, "classify": classify}


def make_examples(config: LabelledTextsConfig) -> dict[str, dict[str, np.ndarray]]:
    """Returns 32 held-out requests for these two signatures, by alias."""
    texts = read(config, "test")[0][:_EXAMPLE_ROWS]
    records = []
    for text in texts:
        record = tf.train.Example()
        record.features.feature["text"].bytes_list.value.append(text)
        records.append(record.SerializeToString())
    return {
        "serving_default": {"text": texts},
        "classify": {"inputs": np.array(records, object)},
    }


def evaluate(answer: Answer, config: LabelledTextsConfig, split: str) -> Evaluation:
    """Judges whatever `answer` runs, on all examples of a split."""
    texts, labels = read(config, split)

    def scores_of(texts: np.ndarray) -> np.ndarray:
        # Texts of like length together: padding costs as much as what is read.
        order = np.argsort([len(text) for text in texts], kind="stable")
        found = ask(answer, {"text": texts[order]}, rows=_ASKED_ROWS)["scores"]
        return found[np.argsort(order)]

    return _text_evaluation.sentiment(labels, texts, scores_of, class_names(config))
