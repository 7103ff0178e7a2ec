"""How fast a training runs, and what holds it up: for TensorBoard and the terminal.

Every 100 steps and at the end of every epoch, in `logs/steps`:

    step/examples_per_second   of all replicas, whatever else happened meanwhile
    step/input_wait            share of that time in which steps waited for their batch
    step/learning_rate         of the next step
    step/gradient_norm         mean since the epoch began, where the model tells it
    step/loss_scale            in float16 alone
    epoch_input_wait           the same share, over the epoch

The wait is timed inside the compiled step, around the operation that takes the next
batch from the iterator. What that does not find ready, prefetched, it waits for: this
is how long. Under several workers it is also the wait for the slowest of them.
"""

import contextlib
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from trainers import _bar, _flavour
from trainers._config import TrainConfig
from trainers._errors import TrainingError

_EVERY = 100  # steps

Logs = dict[str, float]


def make_meters(
    flavour: Any, config: TrainConfig, logs: pathlib.Path, is_chief: bool = True
) -> list[Any]:
    """Returns the callbacks that measure, and show a person how far it is.

    Args:
        flavour: `keras` or `tf_keras`, whichever the model was built with.
        config: What is trained.
        logs: Folder of the run's TensorBoard logs.
        is_chief: Whether to write and to show. A worker that follows measures all the
            same, so that all have the same graph.
    """

    class Meter(_Meter, flavour.callbacks.Callback):
        """`_Meter` as a callback of the model's flavour."""

    class Bar(_bar.Bar, flavour.callbacks.Callback):
        """`_bar.Bar` as a callback of the model's flavour."""

    meter = Meter(flavour, config.global_batch_size, logs / "steps", is_chief)
    return [meter, Bar(config)] if is_chief and sys.stdout.isatty() else [meter]


def loss_scale(optimizer: Any) -> float | None:
    """Returns what an optimizer of either flavour multiplies the loss by in float16.

    None where it does not.
    """
    scale = getattr(optimizer, "dynamic_scale", None)  # of Keras 3
    if scale is None:
        scale = getattr(optimizer, "loss_scale", None)
    return None if scale is None else float(tf.convert_to_tensor(scale))


class _InputClock:
    """Adds up how long the steps of a model have waited for their batches."""

    def __init__(self) -> None:
        # Made outside of any strategy: a variable of this process alone. On the CPU,
        # where the clock is.
        with tf.device("CPU:0"):
            self._seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)

    @property
    def seconds(self) -> float:
        """All so far."""
        return float(self._seconds.numpy())

    def around(self, train_function: Callable[[Any], Any], is_keras_2: bool) -> Any:
        """Returns the training function that Keras made, with its wait timed.

        Keras takes the batch inside its compiled function, so that is done here, in a
        compiled function around it: Keras's gets the batch that was taken.
        """

        def step(iterator: Any) -> Any:
            with tf.device("CPU:0"):
                began = tf.timestamp()
            with tf.control_dependencies([began]):
                batch = iterator.get_next()
            parts = tf.nest.flatten(batch, expand_composites=True)
            with tf.control_dependencies(parts), tf.device("CPU:0"):
                self._seconds.assign_add(tf.timestamp() - began)
            if is_keras_2:
                return train_function.python_function(_Given(batch))
            return train_function([batch])

        if not is_keras_2:
            # As Keras has its own; tf_keras relies on the conversion.
            step = tf.autograph.experimental.do_not_convert(step)
        return tf.function(step, reduce_retracing=True)


class _Given(Iterator[Any]):
    """An iterator over one batch that is there already."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __next__(self) -> Any:
        return self._batch


class _Meter:
    """Measures steps in windows, which end at multiples of 100 and with the epoch.

    Attributes:
        input_wait: Share of the last epoch's time in steps that these waited for their
            batches; the first step of a process apart.
    """

    def __init__(
        self, flavour: Any, batch: int, logs: pathlib.Path, is_chief: bool
    ) -> None:
        super().__init__()
        self._is_keras_2 = flavour is not keras
        self._batch = batch
        self._clock = _InputClock()
        self._logs = logs
        self._writer = (
            tf.summary.create_file_writer(str(logs))
            if is_chief
            else tf.summary.create_noop_writer()
        )
        self._has_begun = False
        self.input_wait = 0.0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        del logs
        self._original = self.model.train_function
        if self.model.run_eagerly:
            return
        timed = self._clock.around(self._original, self._is_keras_2)
        if self._is_keras_2:
            # TensorBoard draws the graph of the second.
            self.model.train_function = self.model.train_tf_function = timed
        else:
            # No `tf.function`, as Keras's own is none: TensorBoard would draw it too.
            self.model.train_function = lambda iterator: timed(iterator)

    def on_train_end(self, logs: Logs | None = None) -> None:
        del logs
        self.model.train_function = self._original
        self._writer.close()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        del logs
        self._before = epoch * self.params["steps"]
        self._open_window()
        self._epoch_began, self._epoch_waited = self._opened, self._waited

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        self._ended = time.monotonic()
        self._steps += 1
        self._step = self._before + batch + 1
        if not self._has_begun:
            # The first step of a process is compiled in it: it would drown the others.
            self._has_begun = True
            self._open_window()
            self._epoch_began, self._epoch_waited = self._opened, self._waited
        elif self._step % _EVERY == 0:
            self._close_window(logs)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        # Before anything moves the end: validation is over by now.
        self.input_wait = self._share(self._epoch_waited, self._epoch_began)
        with self._written(epoch):
            tf.summary.scalar("epoch_input_wait", self.input_wait)
        if self._steps:
            self._close_window(logs)
        with self._written(epoch):
            self._writer.flush()

    def _share(self, waited: float, began: float) -> float:
        """How much of the time from then to the last step was waiting."""
        took = max(self._ended - began, 1e-9)
        return min((self._clock.seconds - waited) / took, 1.0)  # rounding apart

    def _open_window(self) -> None:
        self._opened = self._ended = time.monotonic()
        self._waited = self._clock.seconds
        self._steps = 0

    def _close_window(self, logs: Logs) -> None:
        """Writes what was measured since the window was opened, and opens the next."""
        took = max(self._ended - self._opened, 1e-9)
        optimizer = self.model.optimizer
        found = {
            "examples_per_second": self._steps * self._batch / took,
            "input_wait": self._share(self._waited, self._opened),
            "learning_rate": _flavour.learning_rate(optimizer),
            "gradient_norm": logs.get("gradient_norm"),
            "loss_scale": loss_scale(optimizer),
        }
        with self._written(self._step):
            for name, value in found.items():
                if value is not None:
                    tf.summary.scalar(f"step/{name}", value)
        self._open_window()

    @contextlib.contextmanager
    def _written(self, step: int) -> Iterator[None]:
        """For what TensorBoard is told of a step."""
        try:
            with self._writer.as_default(step):
                yield
        except (OSError, tf.errors.OpError) as error:
            raise TrainingError(
                f"TensorBoard's logs cannot be written to `{self._logs}`. A folder on "
                f"a disk with free space was expected. Received: {error}. Free some "
                "space and type the same command again: it goes on where it was."
            ) from error
