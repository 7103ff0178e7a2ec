"""Trainings over one, two and four logical CPUs, in a process of their own.

    python -m tests.trainers.splitting FOLDER DATASETS_DIR NAME ...

writes into FOLDER what each came to. The import of TensorFlow is paid once for all.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import tensorflow as tf

from tests.trainers import small_models
from trainers import (
    _catalog,
    _devices,
    _fit,
    _flavour,
    _keras_multi_worker,
    _steps,
    _strategy,
)
from trainers.datasets import _pipeline

ROOT = pathlib.Path(__file__).parents[2]
REPLICAS = (1, 2, 4)
STEPS, VALIDATION_STEPS = 3, 2  # of an epoch


def run(folder, datasets_dir, *models):
    """Trains models, or cases of `small_models`, in another process.

    Returns how each training went, by its name and its number of replicas.
    """
    child = subprocess.run(
        [sys.executable, "-m", __name__, str(folder), str(datasets_dir), *models],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        # oneDNN as `_speed` has it where there are replicas.
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"},
    )
    assert child.returncode == 0, child.stderr[-5000:]
    return {
        path.stem: json.loads(path.read_text()) | {"weights": _weights(path)}
        for path in pathlib.Path(folder).glob("*.json")
    }


def _weights(path):
    with np.load(path.with_suffix(".npz")) as arrays:
        return [arrays[str(place)] for place in range(len(arrays))]


def main(folder, datasets_dir, *models):
    _devices.use("cpu:4")
    for name in models:
        if name in small_models.CASES:
            train_small(pathlib.Path(folder), name)
            continue
        module = _catalog.load_model(name)
        config = shrunken(module, datasets_dir)
        for replicas in REPLICAS:
            path = pathlib.Path(folder) / f"{name} on {replicas}"
            train_and_write(path, module, config, replicas)


def train_small(folder, case):
    counts, changes = small_models.CASES[case]
    for flavour in small_models.FLAVOURS:
        config = small_models.Config(flavour=flavour, **changes)
        for replicas in counts:
            path = folder / f"{case} {flavour} on {replicas}"
            train_and_write(path, small_models, config, replicas)


def shrunken(module, datasets_dir):
    """A Config whose last batch has fewer examples than there are replicas."""
    changes = {"datasets_dir": datasets_dir, "epochs": 2, "global_batch_size": 1}
    fields = {field.name for field in dataclasses.fields(module.Config)}
    changes |= {name: 0.0 for name in ("dropout", "word_dropout") if name in fields}
    if "epoch_steps" in fields:
        changes["epoch_steps"] = 1
    config = dataclasses.replace(module.SMOKE, **changes)
    examples = int(module.make_datasets(config)[0].cardinality())
    # No multiple of the replicas, so no batch is split evenly.
    size = next(n for n in range(9, examples) if n % 4 and 0 < examples % n < 4)
    return dataclasses.replace(config, global_batch_size=size)


def train_and_write(path, module, config, replicas):
    steps, history, model = trained(module, config, make_strategy(replicas))
    metrics = {id(v) for metric in model.metrics for v in metric.variables}
    weights = [weight for weight in model.weights if id(weight) not in metrics]
    arrays = {str(n): weight.numpy() for n, weight in enumerate(weights)}
    np.savez(path.with_suffix(".npz"), **arrays)
    found = {"steps": steps, "history": history}
    if replicas > 1 and hasattr(module, "make_signatures"):
        found["difference"] = difference(module, config, model)
    path.with_suffix(".json").write_text(json.dumps(found))


def trained(module, config, strategy):
    """Trains on the last batches; returns logs of steps and epochs, and the model."""
    _flavour.seed(config.seed)
    train, validation = module.make_datasets(config)
    with _strategy.precision(config), strategy.scope():
        model = module.make_model(config)
        _steps.attach(model, config)
    # Graphs take longer to make than the small models' few steps do without.
    model.run_eagerly = module is small_models and not config.normalised
    steps = []
    callback = _flavour.of(model).callbacks.LambdaCallback(
        on_train_batch_end=lambda step, logs: steps.append(
            {name: float(value) for name, value in logs.items()}
        )
    )
    train, validation = (
        # Without end, else tf_keras drops the first pass where there is one replica.
        data.skip(int(data.cardinality()) - count).repeat()
        for data, count in ((train, STEPS), (validation, VALIDATION_STEPS))
    )
    with _keras_multi_worker.mended(strategy):
        history = model.fit(
            _pipeline.dealt(train, strategy),
            validation_data=_pipeline.dealt(validation, strategy),
            validation_steps=VALIDATION_STEPS,
            epochs=config.epochs,
            steps_per_epoch=STEPS,
            shuffle=False,
            verbose=0,
            callbacks=[callback],
        ).history
    return steps, {name: [*map(float, curve)] for name, curve in history.items()}, model


def make_strategy(replicas):
    if replicas == 1:
        return tf.distribute.get_strategy()
    devices = tf.config.list_logical_devices("CPU")[:replicas]
    return tf.distribute.MirroredStrategy(
        [device.name for device in devices],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )


def difference(module, config, model):
    """How far the model that is exported answers from the one that was trained."""
    exported = module.make_model(config)
    for weight, value in zip(exported.weights, model.weights, strict=True):
        weight.assign(value.numpy())
    live, served = (
        _fit.answer_of(module.make_signatures(each, config))
        for each in (model, exported)
    )
    largest = 0.0
    for name, inputs in module.make_examples(config).items():
        wanted = live(inputs, name)
        for alias, output in served(inputs, name).items():
            if output.dtype.kind == "f":
                largest = max(largest, float(np.abs(output - wanted[alias]).max()))
            else:
                np.testing.assert_array_equal(output, wanted[alias])
    return largest


if __name__ == "__main__":
    main(*sys.argv[1:])
