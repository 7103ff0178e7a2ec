"""What a translator needs of a data set: pairs of texts, whatever else it holds."""

import functools

import numpy as np
import tensorflow_datasets as tfds

from trainers._catalog import dataset_names
from trainers.datasets import _load


def features() -> tfds.features.FeaturesDict:
    """Returns the two texts."""
    names = ("source_text", "target_text")
    return tfds.features.FeaturesDict({n: tfds.features.Text() for n in names})


@functools.lru_cache(maxsize=3)
def read(name: str, split: str, datasets_dir: str) -> dict[str, np.ndarray]:
    """Returns all of a split, read once.

    Args:
        name: Data set of pairs of texts.
        split: `train`, `validation` or `test`.
        datasets_dir: Folder that keeps data sets.

    Returns:
        `source_text`, `target_text`, and what else a data set of our own holds, to
        arrays [examples]; texts are object, bytes of UTF-8.

    Raises:
        UsageError: There is no such data set or split, or its features do not fit.
        DatasetError: It cannot be fetched or prepared.
    """
    own = name in dataset_names()
    wanted = _load.builder_class(name).features() if own else features()
    # Those first that it must have: told where it has not.
    like = tfds.features.FeaturesDict({**dict(features()), **dict(wanted)})
    examples = _load.load(name, split, datasets_dir, like=like)
    columns = examples.batch(len(examples)).get_single_element()
    return {key: column.numpy() for key, column in zip(like, columns, strict=True)}
