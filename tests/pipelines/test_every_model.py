"""Every model of `trainers/`, from its SMOKE training to each way of asking it."""

import dataclasses
import json
import types

import numpy as np
import pytest

from pipelines import _examples, evaluate, models, predict, score, show
from savedmodels import export, provenance
from serving.grpc_client import GrpcClient
from serving.rest_client import RestClient
from tests.pipelines.conftest import Server
from trainers import _catalog, _config, _fit

# TF Serving's REST API writes floats with so many digits less than they have.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def folders(tmp_path_factory, datasets_dir):
    root = tmp_path_factory.mktemp("every_model")
    return types.SimpleNamespace(
        store=root / "models", examples=root / "examples", datasets=datasets_dir
    )


@pytest.fixture(scope="module")
def exported(folders, smoke_fitted):
    """Model name to its requests and the trained model's answers, by signature."""
    known = {}
    for name in _catalog.model_names():
        module, fitted = _catalog.load_model(name), smoke_fitted(name)
        config = dataclasses.replace(module.SMOKE, datasets_dir=str(folders.datasets))
        examples = module.make_examples(config)
        export.export(
            fitted.model,
            fitted.signatures,
            folders.store / name,
            examples=examples,
            provenance=provenance.collect(
                config=_config.as_dict(config),
                metrics=fitted.metrics,
                dataset={"licence": "as its source"},
                training_seconds=fitted.seconds,
            ),
        )
        answer = _fit.answer_of(fitted.signatures)
        known[name] = {
            signature: (inputs, answer(inputs, signature))
            for signature, inputs in examples.items()
        }
        first = _examples.write(folders.examples, name, examples["serving_default"])
        known[name]["first example"] = first
    return known


@pytest.fixture(scope="module")
def server(folders, exported, tmp_path_factory):
    """One server over all of them."""
    running = Server(
        [f"--store={folders.store}"], tmp_path_factory.mktemp("server") / "log"
    )
    yield running
    running.stop()


@pytest.fixture(params=_catalog.model_names())
def name(request):
    return request.param


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_a_server_answers_raw_inputs_as_the_trained_model_did(
    exported, server, name, protocol
):
    client = (
        GrpcClient(server.grpc_address, timeout_s=120)
        if protocol == "grpc"
        else RestClient(server.rest_url, timeout_s=120)
    )
    signatures = {k: v for k, v in exported[name].items() if isinstance(v, tuple)}
    assert "serving_default" in signatures
    with client:
        for signature, (inputs, wanted) in signatures.items():
            found = client.predict(name, inputs, signature_name=signature)
            assert set(found) == set(wanted)
            for alias, array in wanted.items():
                if array.dtype.kind == "f":
                    np.testing.assert_allclose(found[alias], array, **CLOSE)
                else:
                    np.testing.assert_array_equal(found[alias], array)


def test_predict_shows_the_answer_to_the_first_example(exported, server, name, capsys):
    given = exported[name]["first example"]
    code = predict.main([name, f"--input={given}", f"--server={server.grpc_address}"])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert shown.out.strip()


def test_score_answers_every_example(exported, folders, name, tmp_path, capsys):
    inputs, _ = exported[name]["serving_default"]
    request = json.loads((folders.examples / f"{name}.json").read_text())
    lines = tmp_path / "instances.jsonl"
    lines.write_text("".join(f"{json.dumps(i)}\n" for i in request["instances"]))
    output = tmp_path / "scores.jsonl"
    code = score.main(
        [name, f"--store={folders.store}", f"--input={lines}", f"--output={output}"]
    )
    assert code == 0, capsys.readouterr().err
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(rows) == len(request["instances"])


def test_evaluate_gives_the_metrics_of_the_training(
    exported, folders, smoke_fitted, name, capsys
):
    code = evaluate.main(
        [name, f"--store={folders.store}", f"--datasets={folders.datasets}"]
    )
    shown = capsys.readouterr()
    assert code == 0, shown.err
    metrics = {n: v for n, v in smoke_fitted(name).metrics.items() if "/" not in n}
    lines = dict(line.split() for line in shown.out.splitlines()[-len(metrics) :])
    assert set(lines) == set(metrics)
    for metric, value in metrics.items():
        np.testing.assert_allclose(float(lines[metric]), value, rtol=5e-3, atol=1e-4)


def test_show_names_every_signature(exported, folders, name, capsys):
    assert show.main([name, f"--store={folders.store}"]) == 0
    shown = capsys.readouterr().out
    for signature in exported[name]:
        assert signature == "first example" or signature in shown


def test_models_lists_every_model_and_its_version(exported, folders, capsys):
    listed = [f"--store={folders.store}", f"--datasets={folders.datasets}"]
    assert models.main(listed) == 0
    shown = capsys.readouterr().out
    for name in exported:
        assert f"{name:22} version 1" in shown
