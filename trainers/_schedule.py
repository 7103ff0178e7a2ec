"""How the learning rate goes over a training."""

import math

import keras

from trainers._config import TrainConfig

# The share of training in which the learning rate rises, before it falls.
_WARM_UP = 0.1


def warm_up_then_cosine(
    config: TrainConfig, examples: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns a straight rise, then half a cosine down to 0 at the last step.

    Args:
        config: Gives the peak, the epochs and the size of a batch.
        examples: Those of the training split; at least 1.
    """
    steps = config.epochs * math.ceil(examples / config.global_batch_size)
    rising = int(_WARM_UP * steps)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=config.learning_rate / 20,
        warmup_target=config.learning_rate,
        warmup_steps=rising,
        decay_steps=steps - rising,
    )
