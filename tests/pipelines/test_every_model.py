"""Every model of `trainers/`, from its SMOKE training to each way of asking it."""

import dataclasses
import json
import types

import numpy as np
import PIL.Image
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


ODD_TEXTS = {
    "empty": b"",
    "blanks": b" \n\t ",
    "ten thousand words": b"a dull word " * 3_334,
    "not UTF-8": b"caf\xe9 \xff\xfe\x00 ok",
    "of another script": "\u5929\u5730 \u0645\u0631\u062d\u0628\u0627".encode(),
}


@pytest.mark.parametrize("odd", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_an_odd_text_is_answered_and_changes_no_other_answer(
    exported, server, name, odd
):
    inputs, wanted = exported[name]["serving_default"]
    aliases = [alias for alias, array in inputs.items() if array.dtype == object]
    if not aliases or "image" in aliases:
        pytest.skip("takes no text")
    rows = {alias: array[:3].copy() for alias, array in inputs.items()}
    for alias in aliases:
        rows[alias][1] = odd
    with GrpcClient(server.grpc_address, timeout_s=120) as client:
        together = client.predict(name, rows)
        alone = client.predict(name, {a: array[1:2] for a, array in rows.items()})
    for alias, array in together.items():
        # How far it is padded depends on the rows beside it.
        common = tuple(map(min, zip(array.shape, wanted[alias].shape, strict=True)))
        inner = tuple(slice(size) for size in common[1:])
        others = (slice(0, 3, 2), *inner)
        _assert_alike(array[others], wanted[alias][others])
        if array.dtype.kind == "f":
            assert np.isfinite(array).all()
        _assert_alike(*_cut_alike(array[1:2], alone[alias]))


def _cut_alike(a, b):
    """Both to the sizes that they have in common."""
    inner = tuple(slice(min(sizes)) for sizes in zip(a.shape, b.shape, strict=True))
    return a[inner], b[inner]


def _assert_alike(found, wanted):
    if wanted.dtype.kind == "f":
        np.testing.assert_allclose(found, wanted, **CLOSE)
    else:
        np.testing.assert_array_equal(found, wanted)


def _odd_images():
    """Name to an image as people have them, and its ending."""
    noise = np.random.default_rng(3).integers(0, 256, (40, 60, 4), dtype=np.uint8)
    image = PIL.Image.fromarray
    return {
        "one pixel": (image(noise[:1, :1, :3]), "png"),
        "8,000 pixels wide": (
            image(np.tile(noise[:2, :, 0], (1, 134))[:, :8000]),
            "png",
        ),
        "CMYK": (image(noise, "CMYK"), "jpg"),
        "16 bits": (image(noise[..., 0].astype(np.uint16) * 257), "png"),
        "transparent": (image(noise, "RGBA"), "png"),
        "palette": (image(noise[..., :3]).quantize(16), "png"),
    }


@pytest.mark.parametrize("kind", list(_odd_images()))
def test_an_odd_image_is_answered(exported, server, name, kind, tmp_path, capsys):
    inputs, _ = exported[name]["serving_default"]
    if list(inputs) != ["image"]:
        pytest.skip("takes no image")
    image, ending = _odd_images()[kind]
    path = tmp_path / f"odd.{ending}"
    image.save(path)
    code = predict.main([name, f"--input={path}", f"--server={server.grpc_address}"])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert shown.out.startswith("odd.")


def test_a_damaged_image_in_a_folder_is_named_and_costs_no_other(
    exported, folders, name, tmp_path, capsys
):
    inputs, _ = exported[name]["serving_default"]
    if list(inputs) != ["image"]:
        pytest.skip("takes no image")
    image, _ = _odd_images()["transparent"]
    for number in range(5):
        image.convert("RGB").save(tmp_path / f"{number}.png")
    whole = (tmp_path / "3.png").read_bytes()
    (tmp_path / "3.png").write_bytes(whole[: len(whole) // 2])
    output = tmp_path / "scores" / "out.jsonl"
    code = score.main(
        [name, f"--store={folders.store}", f"--input={tmp_path}", f"--output={output}"]
    )
    shown = capsys.readouterr()
    assert len(output.read_text().splitlines()) == 4, shown.err
    assert code == 3  # done, and some rows refused
    (refused,) = (output.parent / "out.jsonl.errors.jsonl").read_text().splitlines()
    assert json.loads(refused)["file"] == "3.png"


def test_predict_shows_the_answer_to_the_first_example(exported, server, name, capsys):
    given = exported[name]["first example"]
    code = predict.main([name, f"--input={given}", f"--server={server.grpc_address}"])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert shown.out.strip()


def test_predict_draws_what_a_model_finds(exported, server, name, tmp_path, capsys):
    _, wanted = exported[name]["serving_default"]
    output = tmp_path / "drawn.png"
    arguments = [
        name,
        f"--input={exported[name]['first example']}",
        f"--server={server.grpc_address}",
        f"--output={output}",
    ]
    code = predict.main(arguments)
    shown = capsys.readouterr()
    if "detection_boxes" not in wanted:
        assert code == 2
        assert "There are no boxes to draw" in shown.err
        return
    assert code == 0, shown.err
    assert f"Drawn in {output}" in shown.out
    with PIL.Image.open(output) as picture:
        assert min(picture.size) > 100


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
