"""Whether the features of one data set stand in for those of another."""

from collections.abc import Mapping

import numpy as np
import tensorflow_datasets as tfds

from savedmodels.errors import UsageError


def check(
    name: str,
    found: tfds.features.FeatureConnector,
    wanted: tfds.features.FeaturesDict,
) -> None:
    """Refuses a data set that a model cannot read.

    Args:
        name: Of the data set.
        found: What it has.
        wanted: What the model reads: same names, shapes, dtypes and numbers of classes;
            None fits every size and number.

    Raises:
        UsageError: `found` lacks a feature that is `wanted`.
    """
    for key, feature in wanted.items():
        if key in found and _fits(found[key], feature):
            continue
        received = _described(found[key]) if key in found else f"only {list(found)}"
        raise UsageError(
            f"Data set `{name}` does not fit this model. Expected `{key}` "
            f"{_described(feature)}. Received: {received}."
        )


def _fits(
    found: tfds.features.FeatureConnector, wanted: tfds.features.FeatureConnector
) -> bool:
    """Whether shape, dtype and number of classes agree; None fits all."""
    if isinstance(wanted, tfds.features.Sequence):
        found_one = getattr(found, "feature", None)
        return found_one is not None and _fits(found_one, wanted.feature)
    if isinstance(wanted, tfds.features.FeaturesDict):
        return isinstance(found, tfds.features.FeaturesDict) and all(
            key in found and _fits(found[key], feature)
            for key, feature in wanted.items()
        )
    shapes = isinstance(found.shape, tuple) and len(found.shape) == len(wanted.shape)
    return (
        shapes
        and all(w in (None, f) for f, w in zip(found.shape, wanted.shape, strict=True))
        and np.dtype(found.np_dtype) == np.dtype(wanted.np_dtype)
        and getattr(wanted, "num_classes", None)
        in (None, getattr(found, "num_classes", None))
    )


def _described(feature: tfds.features.FeatureConnector) -> str:
    if isinstance(feature, tfds.features.Sequence):
        return f"a sequence of {_described(feature.feature)}"
    if isinstance(feature, tfds.features.FeaturesDict):
        parts = (f"`{key}` {_described(part)}" for key, part in feature.items())
        return f"({', '.join(parts)})"
    if isinstance(feature.shape, Mapping):
        return str(feature)
    classes = getattr(feature, "num_classes", None)
    described = f"{list(feature.shape)} {np.dtype(feature.np_dtype)}"
    return f"{described} of {classes} classes" if classes else described
