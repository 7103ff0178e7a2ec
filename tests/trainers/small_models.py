"""Models that are traced in no time, with all that a split of a batch could get wrong.

15 rows of token ids in batches of 7: the last batch is one row. Keras 3 judges each
token, by weights that differ from row to row; tf_keras the row.
"""

import dataclasses
import types

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from trainers import _steps
from trainers._config import TrainConfig
from trainers._token_loss import TokenCrossEntropy

ROWS, BATCH, TOKENS, WORDS = 15, 7, 5, 11
FLAVOURS = {"keras": keras, "tf_keras": tf_keras}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainConfig):
    """What is tried.

    Attributes:
        flavour: `keras` or `tf_keras`.
        normalised: Whether there is batch normalisation.
        clipping: `clipnorm`, `global_clipnorm` or nothing.
        clip: To what.
    """

    dataset: str = "mnist"  # not read
    epochs: int = 2
    global_batch_size: int = BATCH
    learning_rate: float = 0.5
    flavour: str = "keras"
    normalised: bool = False
    clipping: str = ""
    clip: float = 0.05


def make_datasets(config):
    randomness = np.random.default_rng(config.seed)
    ids = randomness.integers(0, WORDS, [ROWS, TOKENS])
    labels = (ids * 3 + 1) % WORDS
    weights = randomness.random([ROWS, TOKENS]) < np.linspace(0.2, 1, ROWS)[:, None]
    known = (ids.astype(np.int32), labels, weights.astype(np.float32))
    if config.flavour == "tf_keras":
        known = (known[0], labels[:, 0])
    dataset = tf.data.Dataset.from_tensor_slices(known).batch(BATCH)
    return dataset, dataset


def make_model(config):
    flavour = FLAVOURS[config.flavour]
    layers = flavour.layers
    # Set here, as the steps are no part of the draw.
    start = types.SimpleNamespace(
        **{
            name: flavour.initializers.RandomNormal(0.0, 0.5, seed=seed)
            for seed, name in enumerate(("words", "hidden", "logits"))
        }
    )
    ids = flavour.Input([TOKENS], dtype="int32")
    x = layers.Embedding(WORDS, 6, embeddings_initializer=start.words)(ids)
    if config.flavour == "tf_keras":
        x = layers.GlobalAveragePooling1D()(x)
    penalty = flavour.regularizers.L2(0.01)
    x = layers.Dense(8, kernel_initializer=start.hidden, kernel_regularizer=penalty)(x)
    if config.normalised:
        x = layers.BatchNormalization(momentum=0.8, synchronized=_steps.is_spread())(x)
    x = layers.ReLU()(x)
    logits = layers.Dense(WORDS, kernel_initializer=start.logits, dtype="float32")(x)
    model = flavour.Model(ids, logits)
    clipping = {config.clipping: config.clip} if config.clipping else {}
    of_tokens = config.flavour == "keras"
    model.compile(
        optimizer=flavour.optimizers.SGD(config.learning_rate, 0.9, **clipping),
        loss=TokenCrossEntropy(0.1)
        if of_tokens
        else tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=None if of_tokens else ["accuracy"],
        weighted_metrics=["accuracy"] if of_tokens else None,
    )
    return model


# What is trained over how many replicas, of both flavours.
CASES = {
    "normalised": ((1, 4), {"normalised": True, "clipping": "clipnorm"}),
    "in parts": (
        (1, 4),
        {"clipping": "global_clipnorm", "gradient_accumulation_steps": 3},
    ),
    "averaged": ((1, 4), {"clipping": "clipvalue", "ema_momentum": 0.5}),
    "half": (
        (1, 2),
        {
            "clipping": "global_clipnorm",
            "gradient_accumulation_steps": 2,
            "ema_momentum": 0.5,
            "mixed_precision": "float16",
        },
    ),
}
