"""One version: the same answers and refusals from both engines."""

import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from serving import servable
from serving.errors import (
    FailedPreconditionError,
    InvalidRequestError,
    ServingError,
)
from serving.servable import LoadOptions, TensorInfo


def strings(*values):
    return np.array(values, np.object_)


def stripe(tenth):
    """An image [28, 28, 1] lit where `digits` sees class `tenth`."""
    image = np.zeros(28 * 28, np.uint8)
    image[tenth * 79 : (tenth + 1) * 79] = 255
    return image.reshape(28, 28, 1)


@pytest.fixture(scope="module")
def half(half_plus_two):
    return servable.load(half_plus_two, "half_plus_two", 1)


@pytest.fixture(scope="module", params=["litert", "tensorflow"])
def classifier(request, digits_litert):
    options = LoadOptions(cpu_engine=request.param)
    loaded = servable.load(digits_litert, "digits", 1, options)
    assert loaded.engine() == request.param
    return loaded


def test_adds_two_to_the_half(half):
    outputs = half.run("", {"x": np.float32([1, 2, 5])})
    np.testing.assert_array_equal(outputs["y"], np.float32([2.5, 3, 4.5]))
    assert outputs["y"].dtype == np.float32


def test_knows_its_signature(classifier):
    signature = classifier.signatures["serving_default"]
    image = signature.inputs["image"]
    assert image == TensorInfo(
        "serving_default_image:0", np.dtype(np.uint8), (None, 28, 28, 1), "DT_UINT8"
    )
    assert signature.outputs["scores"].shape == (None, 10)
    assert signature.outputs["class_id"].dtype == np.int64
    assert signature.method_name == "tensorflow/serving/predict"
    assert signature.has_free_batch_axis


@pytest.mark.parametrize("rows", [1, 2, 3, 10])
def test_any_number_of_rows_is_answered(classifier, rows):
    images = np.stack([stripe(row % 10) for row in range(rows)])
    outputs = classifier.run("serving_default", {"image": images})
    np.testing.assert_array_equal(outputs["class_id"], np.arange(rows) % 10)
    # softmax of 8 in one place of ten and 0 elsewhere
    top = np.exp(8) / (np.exp(8) + 9)
    last = np.exp(8 * 73 / 79) / (np.exp(8 * 73 / 79) + 9)  # class 9 has 73 pixels
    expected = np.where(np.arange(rows) % 10 == 9, last, top)
    np.testing.assert_allclose(outputs["scores"].max(axis=1), expected, rtol=1e-5)


def test_no_rows_in_no_rows_out(classifier):
    outputs = classifier.run("", {"image": np.zeros((0, 28, 28, 1), np.uint8)})
    assert outputs["scores"].shape == (0, 10)
    assert outputs["class_id"].shape == (0,)


def test_both_engines_give_the_same_answers(digits_litert):
    images = np.random.default_rng(1).integers(0, 256, (7, 28, 28, 1), np.uint8)
    answers = [
        servable.load(digits_litert, "d", 1, LoadOptions(cpu_engine=engine)).run(
            "", {"image": images}
        )
        for engine in ("litert", "tensorflow")
    ]
    np.testing.assert_allclose(answers[0]["scores"], answers[1]["scores"], atol=1e-6)
    np.testing.assert_array_equal(answers[0]["class_id"], answers[1]["class_id"])


@pytest.mark.parametrize(
    "shape", [(28, 28, 1), (2, 28, 28), (2, 27, 28, 1), (2, 28, 28, 3), (), (1, 784)]
)
def test_a_wrong_shape_is_refused(classifier, shape):
    with pytest.raises(InvalidRequestError, match="shape|reshape") as caught:
        classifier.run("", {"image": np.zeros(shape, np.uint8)})
    assert "Received" in str(caught.value)


def test_only_the_outputs_asked_for_come_back(classifier):
    images = {"image": stripe(3)[np.newaxis]}
    assert list(classifier.run("", images, ["class_id"])) == ["class_id"]


def test_two_inputs_and_two_outputs(multi_io):
    outputs = servable.load(multi_io, "m", 1).run(
        "", {"b": np.int32([2, 3]), "a": np.float32([[1, 2], [3, 4]])}
    )
    np.testing.assert_array_equal(outputs["total"], [3, 7])
    np.testing.assert_array_equal(outputs["scaled"], [[2, 4], [9, 12]])


def test_strings_keep_every_byte(echo):
    sent = strings(b"a\0", b"", "\u00e9".encode())
    outputs = servable.load(echo, "echo", 1).run("", {"text": sent})
    assert outputs["text"].tolist() == sent.tolist()
    assert outputs["text_bytes"].dtype == np.object_


def test_shapes_of_elementwise_graphs_are_left_to_the_graph(half):
    outputs = half.run("", {"x": np.float32([[1, 2], [3, 4]])})
    np.testing.assert_array_equal(outputs["y"], [[2.5, 3], [3.5, 4]])


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        (
            {"a": np.zeros((1, 2), np.float32)},
            "input size does not match signature: 1!=2 len({a}) != len({a,b}). "
            "Sent extra: {}. Missing but required: {b}.",
        ),
        (
            {
                "a": np.zeros((1, 2), np.float32),
                "b": np.zeros(1, np.int32),
                "c": np.zeros(1, np.int32),
            },
            "input size does not match signature: 3!=2 len({a,b,c}) != len({a,b}). "
            "Sent extra: {c}. Missing but required: {}.",
        ),
        (
            {"a": np.zeros((1, 2), np.float32), "x": np.zeros(1, np.int32)},
            "Signature input alias: b(feed name: serving_default_b:0) not found in "
            "request and no default value provided. Inputs expected to be in the "
            "request {a,b}, or default input alias set: ",
        ),
        (
            {"a": np.zeros((1, 2), np.int32), "b": np.zeros(1, np.int32)},
            "Expects arg[0] to be float but int32 is provided",
        ),
        (
            {"a": np.zeros((1, 2), np.float32), "b": strings(b"1")},
            "Expects arg[1] to be int32 but string is provided",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused_in_tf_servings_words(
    multi_io, inputs, text
):
    with pytest.raises(InvalidRequestError) as caught:
        servable.load(multi_io, "m", 1).run("", inputs)
    assert str(caught.value) == text


def test_what_an_op_refuses_is_told_in_the_ops_words(multi_io, examples):
    with pytest.raises(InvalidRequestError, match="Incompatible shapes"):
        servable.load(multi_io, "m", 1).run(
            "", {"a": np.zeros((2, 2), np.float32), "b": np.zeros(3, np.int32)}
        )
    with pytest.raises(InvalidRequestError) as caught:
        servable.load(examples, "e", 1).run("regress", {"inputs": strings(b"junk")})
    assert str(caught.value).startswith(
        "Name: <unknown>, Feature: x (data type: float)"
    )


def test_unknown_names_are_refused(half):
    x = {"x": np.float32([1])}
    with pytest.raises(FailedPreconditionError) as signature:
        half.run("other", x)
    assert str(signature.value) == 'Serving signature key "other" not found.'
    with pytest.raises(FailedPreconditionError):
        half.run("__saved_model_init_op", {})
    with pytest.raises(InvalidRequestError) as output:
        half.run("", x, ["z"])
    assert str(output.value) == (
        "output tensor alias not found in signature: z "
        "Outputs expected to be in the set {y}."
    )
    with pytest.raises(InvalidRequestError) as twice:
        half.run("", x, ["y", "y"])
    assert str(twice.value) == "duplicate output tensor alias: y"


@pytest.mark.parametrize("cpu_engine", ["litert", "tensorflow"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: (path / "saved_model.pb").unlink(),
        lambda path: _cut(path / "saved_model.pb"),
        lambda path: (path / "saved_model.pb").write_bytes(b""),
    ],
    ids=["missing", "cut", "empty"],
)
def test_a_broken_saved_model_is_refused(digits_litert, tmp_path, spoil, cpu_engine):
    path = shutil.copytree(digits_litert, tmp_path / "1")
    spoil(path)
    with pytest.raises(ServingError, match="saved_model.pb"):
        servable.load(path, "digits", 1, LoadOptions(cpu_engine=cpu_engine))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: _cut(path / "variables/variables.data-00000-of-00001"),
        lambda path: shutil.rmtree(path / "variables"),
    ],
    ids=["cut", "missing"],
)
def test_broken_variables_are_refused(digits, tmp_path, spoil):
    path = shutil.copytree(digits, tmp_path / "1")
    spoil(path)
    with pytest.raises(ServingError, match="Cannot load"):
        servable.load(path, "digits", 1)


def test_a_broken_litert_model_is_refused(digits_litert, tmp_path):
    path = shutil.copytree(digits_litert, tmp_path / "1")
    _cut(path / "model.tflite")
    with pytest.raises(ServingError, match="model.tflite"):
        servable.load(path, "digits", 1)


def _cut(file):
    content = file.read_bytes()
    file.write_bytes(content[: min(len(content) // 2, 1500)])


def test_a_version_with_model_tflite_needs_no_tensorflow(digits_litert):
    program = """
        import pathlib, sys
        import numpy as np
        from serving import servable
        loaded = servable.load(pathlib.Path(sys.argv[1]), "digits", 1)
        image = np.zeros((2, 28, 28, 1), np.uint8)
        assert loaded.run("", {"image": image})["scores"].shape == (2, 10)
        assert "tensorflow" not in sys.modules
        assert "keras" not in sys.modules
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(digits_litert)],
        check=True,
        env={"CUDA_VISIBLE_DEVICES": ""},
    )
