"""A process of `make bench-train`: it trains, a round for each line on stdin.

    python -m pipelines._bench_train_process '{"way": "fit", "model": ..., ...}'

says `{}` once it is ready, and after each round what that took. The first one compiles.
"""

import dataclasses
import functools
import json
import os
import pathlib
import resource
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from savedmodels import protos
from trainers import _catalog, _speed

FIT, LIMIT, TEXTBOOK, PIPELINE = "fit", "limit", "textbook", "pipeline"

TEXTBOOK_BATCH = 32
_IN_MEMORY = 16  # batches that the bare loop goes around
_FOREVER = 1_000_000  # epochs, of which the parent ends the last

Answer = dict[str, float]


class Turns:
    """Rounds as the parent wants them: asked for by a line, answered by one."""

    def __init__(self) -> None:
        # What trains says much on stdout, which is the parent's.
        self._told = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def tell(self, answer: Answer) -> None:
        """Says a line: ready, or what a round took."""
        print(json.dumps(answer), file=self._told, flush=True)

    def wait(self) -> None:
        """Waits for the next round; ends the process where there is none."""
        if not sys.stdin.readline():
            raise SystemExit(0)


class Clock:
    """Time and processor time from its making on."""

    def __init__(self) -> None:
        self._began, self._used = time.monotonic(), _processor_seconds()

    def read(self, examples: int) -> Answer:
        """Returns what some examples took."""
        return {
            "examples": examples,
            "seconds": time.monotonic() - self._began,
            "processor_seconds": _processor_seconds() - self._used,
        }


def _processor_seconds() -> float:
    """Of this process, all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main(job: dict[str, Any]) -> None:
    """Trains until the parent has had enough."""
    turns = Turns()
    if job["way"] != TEXTBOOK:  # which takes TensorFlow as it comes
        _speed.prepare(job["strategy"], job["devices"])
    if "tf_config" in job:  # read when TensorFlow is first used
        os.environ["TF_CONFIG"] = json.dumps(job["tf_config"])
    protos.import_tensorflow()
    from trainers import _config, _devices

    _devices.use(job["devices"])
    module = _catalog.load_model(job["model"])
    config = _config.override(module.Config(), job["set"])
    steps = job["steps"]
    if job["way"] == FIT:
        _fit_in_turns(_shortened(module, steps), config, job, turns)
    else:
        _alone_in_turns(_shortened(module, steps), config, job["way"], turns)


def _shortened(module: types.ModuleType, steps: int) -> types.ModuleType:
    """The model file, with epochs of so many steps and hardly any validation.

    That comes between rounds, and is not what is measured.
    """
    from trainers._evaluation import Evaluation

    def make_datasets(config: Any) -> Any:
        train, validation = module.make_datasets(config)
        return train.take(steps) if steps else train, validation.take(1)

    short = types.ModuleType(module.__name__)
    short.__dict__.update(vars(module))
    short.__dict__["make_datasets"] = make_datasets
    short.__dict__["evaluate"] = lambda *_: Evaluation({}, {}, "")
    return short


def _fit_in_turns(
    module: types.ModuleType, config: Any, job: dict[str, Any], turns: Turns
) -> None:
    """Our own `fit`, with one more callback that waits before each epoch."""
    from trainers import _callbacks, _fit

    make_callbacks = _callbacks.make_callbacks

    def with_turns(flavour: Any, *rest: Any, **named: Any) -> list[Any]:
        made = make_callbacks(flavour, *rest, **named)
        kind = type("Turn", (_Turn, flavour.callbacks.Callback), {})
        (meter,) = (callback for callback in made if hasattr(callback, "input_wait"))
        return [*made, kind(turns, config.global_batch_size, meter)]

    _callbacks.make_callbacks = with_turns
    _fit.fit(
        module,
        dataclasses.replace(config, epochs=_FOREVER),
        runs=pathlib.Path(job["runs"]),
        strategy=job["strategy"],
    )


class _Turn:
    """The callback: the last of all, so that the others' work is within the round."""

    def __init__(self, turns: Turns, batch: int, meter: Any) -> None:
        super().__init__()
        self._turns = turns
        self._batch = batch
        self._meter = meter
        turns.tell({})

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        del epoch, logs
        self._turns.wait()
        self._clock = Clock()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        del logs
        if batch + 1 == self.params["steps"]:  # type: ignore[attr-defined]
            self._answer = self._clock.read((batch + 1) * self._batch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        del epoch, logs
        self._turns.tell(self._answer | {"input_wait": self._meter.input_wait})


def _alone_in_turns(
    module: types.ModuleType, config: Any, way: str, turns: Turns
) -> None:
    """What `fit` is compared with."""
    train, _ = module.make_datasets(config)
    once: Callable[[], Answer]
    if way == PIPELINE:
        once = functools.partial(_pipeline, train, config.global_batch_size)
    else:
        once = (_limit if way == LIMIT else _textbook)(module, config, train)
    turns.tell({})
    while True:
        turns.wait()
        turns.tell(once())


def _model(module: types.ModuleType, config: Any) -> Any:
    from trainers import _flavour, _strategy

    _flavour.seed(config.seed)
    with _strategy.precision(config):
        return module.make_model(config)


def _limit(module: types.ModuleType, config: Any, train: Any) -> Callable[[], Answer]:
    """A step of the same model and optimizer, and nothing around it."""
    import tensorflow as tf

    from trainers import _strategy

    model = _model(module, config)
    optimizer = model.optimizer
    scaled = getattr(optimizer, "scale_loss", lambda loss: loss)
    xla = _strategy.xla(config, tf.distribute.get_strategy())

    @tf.function(jit_compile=xla, reduce_retracing=True)  # type: ignore[untyped-decorator]
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            scores = model(x, training=True)
            loss = model.compute_loss(x=x, y=y, y_pred=scores)
            whole = scaled(loss)
        gradients = tape.gradient(whole, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))  # noqa: B905
        return loss

    batches = list(train.take(min(_IN_MEMORY, max(len(train) - 1, 1))))

    def once() -> Answer:
        clock = Clock()
        for place in range(len(train)):
            loss = step(*batches[place % len(batches)])
        loss.numpy()
        return clock.read(len(train) * config.global_batch_size)

    return once


def _textbook(
    module: types.ModuleType, config: Any, train: Any
) -> Callable[[], Answer]:
    """`model.fit` on numpy arrays in batches of 32, as first examples have it."""
    parts = [[part.numpy() for part in batch] for batch in train]
    x, y = (np.concatenate(column) for column in zip(*parts, strict=True))
    model = _model(module, config)

    from trainers import _flavour

    class Timer(_flavour.of(model).callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.clock = Clock()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.answer = self.clock.read(len(x))

    def once() -> Answer:
        timer = Timer()
        model.fit(x, y, batch_size=TEXTBOOK_BATCH, callbacks=[timer])
        answer: Answer = timer.answer
        return answer

    return once


def _pipeline(train: Any, batch: int) -> Answer:
    """The input alone, which nobody trains on."""
    clock = Clock()
    count = sum(1 for _ in train)
    return clock.read(count * batch)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
