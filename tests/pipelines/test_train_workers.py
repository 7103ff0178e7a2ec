"""Several processes train one model: as one does, and end as one does."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from pipelines import _worker_processes, train_workers
from trainers import _catalog, _fit, _tf_config, mnist_classifier

ROOT = pathlib.Path(__file__).parents[2]
GENSIM = "word2vec_embedding"
MODELS = [name for name in _catalog.model_names() if name != GENSIM]
# 600 tiny digits: ten steps of 60, of which each of two workers has 30.
FIELDS = {
    "network": "dense",
    "epochs": 2,
    "global_batch_size": 60,
    "learning_rate": 0.01,
}


def launch(folder, datasets_dir, model="mnist_classifier", more=(), **fields):
    """Starts `python -m pipelines.train_workers` with all its files in a folder."""
    flags = {
        "--store": folder / "models",
        "--runs": folder / "runs",
        "--examples": folder / "examples",
        "--logs": folder / "logs",
        "--datasets": datasets_dir,
    }
    settings = [f"--set={name}={value}" for name, value in fields.items()]
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "pipelines.train_workers", model),
            *(f"{flag}={value}" for flag, value in flags.items()),
            *settings,
            *more,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def weights(folder, model="mnist_classifier"):
    """The exported weights of the only version, as (shape, bytes) in sorted order.

    Without their names: a SavedModel numbers what it captures anew each time.
    """
    variables = folder / "models" / model / "1" / "variables" / "variables"
    read = tf.train.load_checkpoint(str(variables))
    return sorted(
        (read.get_tensor(name).shape, read.get_tensor(name).tobytes())
        for name, dtype in read.get_variable_to_dtype_map().items()
        if dtype.is_floating
    )


def content(folder, model="mnist_classifier"):
    """The metrics of the only run that was exported."""
    (path,) = (folder / "runs" / model).glob("*/metrics.json")
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def two(datasets_dir, tmp_path_factory):
    """A folder in which two workers have trained, and what they said."""
    folder = tmp_path_factory.mktemp("two")
    child = launch(folder, datasets_dir, **FIELDS)
    output, errors = child.communicate()
    assert child.returncode == 0, errors
    return folder, output


def one_process(datasets_dir, runs):
    """The same training by itself, on one device."""
    config = mnist_classifier.Config(datasets_dir=str(datasets_dir), **FIELDS)
    one = _fit.fit(mnist_classifier, config, runs=runs, strategy="default")
    one.run.close()
    return one


def test_two_workers_train_as_one_process_does(two, datasets_dir, tmp_path):
    folder, _ = two
    one = one_process(datasets_dir, tmp_path)
    found = content(folder)
    assert found["config"]["global_batch_size"] == 60
    for curve in ("loss", "accuracy", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(
            found["history"][curve], one.history[curve], rtol=1e-4, err_msg=curve
        )
    (version,) = (folder / "models" / "mnist_classifier").iterdir()
    exported = tf.saved_model.load(version).signatures["serving_default"]
    config = mnist_classifier.Config(datasets_dir=str(datasets_dir))
    images = mnist_classifier.make_examples(config)["serving_default"]["image"]
    np.testing.assert_allclose(
        exported(image=tf.constant(images))["scores"],
        one.signatures["serving_default"](tf.constant(images))["scores"],
        atol=1e-5,
    )


def test_the_chief_alone_writes_and_speaks(two):
    folder, output = two
    versions = (folder / "models" / "mnist_classifier").iterdir()
    assert [path.name for path in versions] == ["1"]
    (run,) = (folder / "runs" / "mnist_classifier").iterdir()
    assert json.loads((run / "ended.json").read_text())["exported"]
    assert len(list((run / "logs" / "train").iterdir())) == 1
    assert output.count("epoch 2/2") == 1
    assert output.count("version in") == 1
    chief, follower = sorted((folder / "logs").glob("*/*.log"))
    assert "epoch 2/2" in chief.read_text()
    # Nothing but what TensorFlow says of its server.
    said = follower.read_text()
    assert not any(word in said for word in ("epoch", "version", "rror"))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--strategy=mirrored"], "Expected `multi_worker`"),
        (["--workers=0"], "1 or more were expected"),
        (["--workers=some"], "a whole number was expected"),
        (["--nosuch=1"], "unrecognized arguments: --nosuch=1"),
    ],
)
def test_a_mistake_is_told_before_any_worker_starts(flags, says, capsys, tmp_path):
    try:
        code = train_workers.main(["mnist_classifier", f"--logs={tmp_path}", *flags])
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_no_two_workers_see_the_same_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    assert train_workers._shares_of_gpus(2, "auto") == [
        {"CUDA_VISIBLE_DEVICES": "4,5"},
        {"CUDA_VISIBLE_DEVICES": "6,7"},
    ]
    assert train_workers._shares_of_gpus(2, "cpu") == [{}, {}]
    with pytest.raises(train_workers.UsageError, match="5 workers, 4 GPUs"):
        train_workers._shares_of_gpus(5, "auto")


def children(process):
    """Process ids of the workers, in the order of their start."""
    listed = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return sorted(map(int, listed.read_text().split()))


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(child, what):
    for line in child.stdout:
        if what in line:
            return
    raise AssertionError(child.communicate()[1])


@pytest.fixture(scope="module")
def uninterrupted(datasets_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    child = launch(folder, datasets_dir, **(FIELDS | {"epochs": 6}))
    _, errors = child.communicate()
    assert child.returncode == 0, errors
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1], ids=["chief", "follower"])
def test_a_killed_worker_ends_the_cluster_and_the_rerun_ends_as_if_nothing_had_happened(
    killed, uninterrupted, datasets_dir, tmp_path
):
    fields = FIELDS | {"epochs": 6}
    child = launch(tmp_path, datasets_dir, **fields)
    wait_for(child, "epoch 2/6")
    pids = children(child)
    os.kill(pids[killed], signal.SIGKILL)
    _, errors = child.communicate(timeout=120)
    assert child.returncode == 128 + signal.SIGKILL
    assert f"worker {killed} of 2 was killed by SIGKILL" in errors
    assert not any(map(is_running, pids))

    again = launch(tmp_path, datasets_dir, **fields)
    output, errors = again.communicate()
    assert again.returncode == 0, errors
    assert "Going on with" in output
    found, wanted = content(tmp_path), content(uninterrupted)
    for curve in ("loss", "val_loss", "accuracy"):
        assert found["history"][curve] == wanted["history"][curve], curve
    assert found["test"] == wanted["test"]
    kept = weights(uninterrupted)
    assert len(kept) >= 4
    assert weights(tmp_path) == kept


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1], ids=["chief", "follower"])
def test_who_loses_another_worker_ends_by_itself_and_asks_to_be_started_again(
    killed, datasets_dir, tmp_path
):
    flags = [f"--{name}={tmp_path / name}" for name in ("store", "runs", "examples")]
    flags += [f"--datasets={datasets_dir}"]
    flags += [
        f"--set={name}={value}" for name, value in (FIELDS | {"epochs": 60}).items()
    ]
    with _worker_processes.addresses(2) as addresses:
        workers = [
            subprocess.Popen(
                [sys.executable, "-m", "pipelines.train", "mnist_classifier", *flags],
                cwd=ROOT,
                env=_worker_processes.environment()
                | {_tf_config.VARIABLE: _tf_config.written(addresses, place)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for place in range(2)
        ]
        try:
            wait_for(workers[0], "epoch 2/60")
            workers[killed].kill()
            _, errors = workers[1 - killed].communicate(timeout=90)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
    assert workers[1 - killed].returncode == os.EX_TEMPFAIL, errors
    assert "Another worker is gone" in errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, os.EX_TEMPFAIL), (signal.SIGINT, 128 + signal.SIGINT)],
    ids=["SIGTERM", "SIGINT"],
)
def test_a_signal_ends_all_workers_and_the_rerun_goes_on(
    number, code, uninterrupted, datasets_dir, tmp_path
):
    fields = FIELDS | {"epochs": 6}
    child = launch(tmp_path, datasets_dir, **fields)
    wait_for(child, "epoch 2/6")
    pids = children(child)
    child.send_signal(number)
    _, errors = child.communicate(timeout=120)
    assert child.returncode == code, errors
    assert not any(map(is_running, pids))

    again = launch(tmp_path, datasets_dir, **fields)
    output, errors = again.communicate()
    assert again.returncode == 0, errors
    assert "Going on with" in output
    wanted = content(uninterrupted)["history"]["loss"]
    assert content(tmp_path)["history"]["loss"] == wanted


def typed(value):
    """A field's value as one types it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_model_trains_in_two_workers_as_in_one_process(
    model, datasets_dir, tmp_path
):
    module = _catalog.load_model(model)
    # Whatever is dropped is drawn anew for each replica.
    drops = [name for name in vars(module.SMOKE) if name.endswith("dropout")]
    # Slowly: Adam at a high rate makes much of the last digit, which is another where
    # a worker's part of a batch is added up by itself.
    rate = module.SMOKE.learning_rate / 100
    changed = dict.fromkeys(drops, 0.0) | {"learning_rate": rate}
    config = dataclasses.replace(module.SMOKE, **changed)
    fields = {name: typed(value) for name, value in vars(config).items()}
    del fields["datasets_dir"]
    child = launch(tmp_path / "two", datasets_dir, model, **fields)
    _, errors = child.communicate()
    assert child.returncode == 0, errors
    versions = (tmp_path / "two" / "models" / model).iterdir()
    assert [path.name for path in versions] == ["1"]

    config = dataclasses.replace(config, datasets_dir=str(datasets_dir))
    one = _fit.fit(module, config, runs=tmp_path / "one", strategy="default")
    one.run.close()
    found = content(tmp_path / "two", model)["history"]
    for curve in ("loss", "val_loss"):
        np.testing.assert_allclose(found[curve], one.history[curve], rtol=1e-4)


@pytest.mark.slow
def test_what_gensim_trains_the_chief_trains_alone(datasets_dir, tmp_path):
    module = _catalog.load_model(GENSIM)
    fields = {name: typed(value) for name, value in vars(module.SMOKE).items()}
    del fields["datasets_dir"]
    child = launch(tmp_path / "two", datasets_dir, GENSIM, **fields)
    output, errors = child.communicate()
    assert child.returncode == 0, errors
    assert "of 2 workers 1 stand by" in output

    config = dataclasses.replace(module.SMOKE, datasets_dir=str(datasets_dir))
    one = _fit.fit(module, config, runs=tmp_path / "one", strategy="mirrored")
    one.run.close()
    assert content(tmp_path / "two", GENSIM)["history"]["loss"] == one.history["loss"]
    kept = tf.saved_model.load(tmp_path / "two" / "models" / GENSIM / "1")
    words = module.make_examples(config)["embed"]["word"]
    np.testing.assert_array_equal(
        kept.signatures["embed"](word=tf.constant(words))["vector"],
        one.signatures["embed"](tf.constant(words))["vector"],
    )


@pytest.mark.slow
@pytest.mark.parametrize("asked", [0, 1], ids=["chief", "follower"])
def test_a_signal_to_one_worker_ends_what_gensim_trains_on_all(
    asked, datasets_dir, tmp_path
):
    fields = {"epochs": 50, "dimensions": 16, "min_count": 2}
    child = launch(tmp_path, datasets_dir, GENSIM, **fields)
    wait_for(child, "epoch 2/50")
    os.kill(children(child)[asked], signal.SIGTERM)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == os.EX_TEMPFAIL, errors

    again = launch(tmp_path, datasets_dir, GENSIM, **fields)
    output, errors = again.communicate()
    assert again.returncode == 0, errors
    assert "Going on with" in output


@pytest.mark.gpu
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_train_on_gpus_as_one_process_does(workers, datasets_dir, tmp_path):
    gpus = len(tf.config.list_physical_devices("GPU"))
    if gpus < workers:
        pytest.skip(f"{workers} GPUs are needed, and there are {gpus}")
    folder = tmp_path / "workers"
    flags = ["--strategy=multi_worker", f"--workers={workers}"]
    child = launch(folder, datasets_dir, more=flags, **FIELDS)
    _, errors = child.communicate()
    assert child.returncode == 0, errors
    one = one_process(datasets_dir, tmp_path / "one")
    np.testing.assert_allclose(
        content(folder)["history"]["loss"], one.history["loss"], rtol=1e-3
    )
