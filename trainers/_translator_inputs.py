"""What a translator reads: vocabularies of the training split, and batches of ids."""

import functools

import numpy as np
import tensorflow as tf

from trainers import _token_ids
from trainers.datasets import _pipeline, _text_pairs

Vocabulary = _token_ids.Characters | _token_ids.Subwords

# Batches whose rows are sorted by length together.
_WINDOW = 20


def vocabularies(
    dataset: str, datasets_dir: str, tokens: str, size: int
) -> tuple[Vocabulary, Vocabulary]:
    """Returns source's and target's, of the training split alone.

    Args:
        dataset: Data set of pairs of texts.
        datasets_dir: Folder that keeps data sets.
        tokens: `characters` or `subwords`.
        size: Subwords of each; of no meaning for characters.
    """
    if tokens == "characters":
        return _characters(dataset, datasets_dir)
    source, target = _subwords(dataset, datasets_dir, size)
    return _token_ids.Subwords(source), _token_ids.Subwords(target)


def batches(
    texts: tuple[np.ndarray, np.ndarray],
    vocabularies: tuple[Vocabulary, Vocabulary],
    tokens: tuple[int, int],
    size: int,
    *,
    training: bool,
    seed: int,
) -> tf.data.Dataset:
    """Returns batches for `fit`, in training each of about one length.

    Args:
        texts: Sources and targets [examples] object, bytes of UTF-8.
        vocabularies: Source's and target's.
        tokens: The most of a source, and of a target.
        size: Examples in a batch.
        training: Whether they are shuffled.
        seed: Seed of that.

    Returns:
        Dataset of inputs, targets [batch, target] and weights of the same shape, 1 for
        tokens and 0 for padding. Inputs are `source_ids` [batch, source] and
        `target_ids` [batch, target], the tokens before the targets.
    """
    source_ids, target_ids = (
        vocabulary.encode(tf.constant(column), most).numpy()
        for vocabulary, column, most in zip(
            vocabularies, texts, (tokens[0], tokens[1] + 1), strict=True
        )
    )
    examples = (source_ids, _token_ids.for_training(target_ids))
    windows = _pipeline.batches(
        tf.data.Dataset.from_tensor_slices(examples),
        _WINDOW * size,
        training=training,
        seed=seed,
        transform=functools.partial(_alike_together, size=size),
    )
    count = tf.data.experimental.assert_cardinality(-(-len(source_ids) // size))
    return windows.rebatch(size).apply(count).map(_as_taught)


@functools.lru_cache(maxsize=2)
def _characters(*which: str) -> tuple[Vocabulary, Vocabulary]:
    source, target = _texts_of_training(*which)
    # What is written must be what was taught: no other form of it.
    return (
        _token_ids.Characters(source, alike=True),
        _token_ids.Characters(target, alike=False),
    )


@functools.lru_cache(maxsize=2)
def _subwords(dataset: str, datasets_dir: str, size: int) -> tuple[bytes, bytes]:
    source, target = _texts_of_training(dataset, datasets_dir)
    return (
        _token_ids.learn_subwords(source, size, normalise=True),
        _token_ids.learn_subwords(target, size, normalise=False),
    )


def _texts_of_training(dataset: str, datasets_dir: str) -> tuple[list[str], list[str]]:
    columns = _text_pairs.read(dataset, "train", datasets_dir)
    source, target = (
        [text.decode() for text in columns[name].tolist()]
        for name in ("source_text", "target_text")
    )
    return source, target


def _alike_together(
    source_ids: tf.Tensor, framed_ids: tf.Tensor, *, seed: tf.Tensor, size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Orders the rows of a window so that batches are of rows of about one length.

    So a batch has little padding, and the batches come in random order all the same.
    """
    lengths = _token_ids.lengths(source_ids) + _token_ids.lengths(framed_ids)
    order = tf.argsort(lengths, stable=True)
    whole = tf.shape(order)[0] // size * size
    batches = tf.random.experimental.stateless_shuffle(
        tf.reshape(order[:whole], [-1, size]), seed
    )
    order = tf.concat([tf.reshape(batches, [-1]), order[whole:]], axis=0)
    return tf.gather(source_ids, order), tf.gather(framed_ids, order)


def _as_taught(
    source_ids: tf.Tensor, framed_ids: tf.Tensor
) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
    """Inputs, targets and weights of a batch, no longer than its longest row."""
    framed_ids = _token_ids.trimmed(framed_ids)
    before, after = framed_ids[:, :-1], framed_ids[:, 1:]
    inputs = {"source_ids": _token_ids.trimmed(source_ids), "target_ids": before}
    return inputs, after, tf.cast(after != _token_ids.PADDING, tf.float32)
