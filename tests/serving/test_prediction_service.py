"""Both gRPC services as clients of TF Serving see them, in TensorFlow's messages."""

import numpy as np
import pytest
from grpc_running import refusal, running

from savedmodels.protos import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
    saved_model_pb2,
    tensor_pb2,
)

X = np.float32([1])


@pytest.fixture(scope="module")
def server(embedded, grpc_engine):
    with running(embedded, engine=grpc_engine) as server:
        yield server


def test_predict_answers_with_the_version_and_signature_that_answered(
    tf, server, request_for
):
    response = server.prediction.Predict(
        request_for("half_plus_two", x=np.float32([1, 2, 5]))
    )
    assert response.model_spec.name == "half_plus_two"
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"
    np.testing.assert_array_equal(
        tf.make_ndarray(response.outputs["y"]), np.float32([2.5, 3, 4.5])
    )


def test_outputs_come_in_typed_fields(server, request_for):
    response = server.prediction.Predict(
        request_for("half_plus_two", x=np.float32([1]), version=1)
    )
    assert list(response.outputs["y"].float_val) == [2.5]
    assert not response.outputs["y"].tensor_content


def test_outputs_come_as_tensor_content_where_asked_for(
    embedded, grpc_engine, request_for
):
    with running(embedded, engine=grpc_engine, as_content=True) as server:
        response = server.prediction.Predict(
            request_for("half_plus_two", x=np.float32([1]))
        )
    assert response.outputs["y"].tensor_content == np.float32([2.5]).tobytes()


def test_images_and_strings_and_filters(tf, server, request_for):
    image = np.zeros((3, 28, 28, 1), np.uint8)
    response = server.prediction.Predict(
        request_for("digits_litert", image=image, output_filter=["scores"])
    )
    assert list(response.outputs) == ["scores"]
    np.testing.assert_allclose(tf.make_ndarray(response.outputs["scores"]), 0.1)
    response = server.prediction.Predict(request_for("echo", text=[b"a\0", b"\xff"]))
    assert list(response.outputs["text"].string_val) == [b"a\0", b"\xff"]


def test_messages_beyond_4_mib_pass(tf, server, request_for):
    x = np.arange(3_000_000, dtype=np.float32)
    response = server.prediction.Predict(request_for("half_plus_two", x=x))
    np.testing.assert_array_equal(tf.make_ndarray(response.outputs["y"]), x / 2 + 2)


def test_a_scalar_in_is_a_scalar_out(tf, server, request_for):
    response = server.prediction.Predict(request_for("half_plus_two", x=np.float32(5)))
    y = tf.make_ndarray(response.outputs["y"])
    assert (y.shape, y.dtype, y) == ((), np.float32, 4.5)


def test_no_rows_in_no_rows_out(tf, server, request_for):
    response = server.prediction.Predict(
        request_for("half_plus_two", x=np.zeros(0, np.float32))
    )
    assert tf.make_ndarray(response.outputs["y"]).shape == (0,)


@pytest.mark.parametrize(
    ("asked", "code", "text"),
    [
        ({"model": ""}, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (
            {"model": "nosuch", "x": X},
            "NOT_FOUND",
            "Servable not found for request: Latest(nosuch)",
        ),
        (
            {"model": "half_plus_two", "version": 99, "x": X},
            "NOT_FOUND",
            "Servable not found for request: Specific(half_plus_two, 99)",
        ),
        (
            {"model": "half_plus_two", "signature": "s", "x": X},
            "FAILED_PRECONDITION",
            'Serving signature key "s" not found.',
        ),
        (
            {"model": "multi_io", "a": X},
            "INVALID_ARGUMENT",
            "input size does not match signature: 1!=2 len({a}) != len({a,b}). "
            "Sent extra: {}. Missing but required: {b}.",
        ),
        (
            {"model": "half_plus_two", "x": np.int32([1])},
            "INVALID_ARGUMENT",
            "Expects arg[0] to be float but int32 is provided",
        ),
        (
            {"model": "half_plus_two", "x": X, "output_filter": ["z"]},
            "INVALID_ARGUMENT",
            "output tensor alias not found in signature: z "
            "Outputs expected to be in the set {y}.",
        ),
        (
            {"model": "half_plus_two", "x": X, "output_filter": ["y", "y"]},
            "INVALID_ARGUMENT",
            "duplicate output tensor alias: y",
        ),
    ],
)
def test_predict_refuses_as_tf_serving_does(server, request_for, asked, code, text):
    assert refusal(server.prediction.Predict, request_for(**asked)) == (code, text)


def test_an_unknown_label_is_refused(server, request_for):
    request = request_for("half_plus_two", x=X)
    request.model_spec.version_label = "canary"
    assert refusal(server.prediction.Predict, request) == (
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: canary",
    )


@pytest.mark.parametrize(
    ("model", "signature", "code", "text"),
    [
        ("half_plus_two", "", "INVALID_ARGUMENT", "tensor parsing error: x"),
        ("nosuch", "", "NOT_FOUND", "Servable not found"),
        ("half_plus_two", "s", "FAILED_PRECONDITION", "Serving signature key"),
        ("multi_io", "", "INVALID_ARGUMENT", "input size does not match"),
    ],
)
def test_a_malformed_tensor_is_refused_after_what_comes_first(
    server, request_for, model, signature, code, text
):
    request = request_for(model, signature, x=X)
    request.inputs["x"].tensor_shape.dim[0].size = 7
    request.inputs["x"].tensor_content = b"\0\0\0\0"
    refused_code, refused_text = refusal(server.prediction.Predict, request)
    assert refused_code == code
    assert refused_text.startswith(text)


@pytest.mark.parametrize(
    ("service", "method", "message"),
    [
        ("prediction", "Predict", predict_pb2.PredictRequest),
        ("prediction", "Classify", classification_pb2.ClassificationRequest),
        ("prediction", "Regress", regression_pb2.RegressionRequest),
        (
            "prediction",
            "GetModelMetadata",
            get_model_metadata_pb2.GetModelMetadataRequest,
        ),
        ("model", "GetModelStatus", get_model_status_pb2.GetModelStatusRequest),
    ],
)
def test_a_request_without_model_spec_is_refused(server, service, method, message):
    call = getattr(getattr(server, service), method)
    assert refusal(call, message()) == ("INVALID_ARGUMENT", "Missing ModelSpec")


def test_models_cannot_be_changed_where_nothing_changes_them(server):
    request = model_management_pb2.ReloadConfigRequest()
    assert refusal(server.model.HandleReloadConfigRequest, request)[0] == (
        "UNIMPLEMENTED"
    )


def add_example(examples, **features):
    for name, value in features.items():
        feature = examples.add().features.feature[name]
        feature.float_list.value.append(value)


def test_classify_gives_labels_and_scores(server):
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "examples"
    request.model_spec.signature_name = "classify"
    add_example(request.input.example_list.examples, x=0.25)
    add_example(request.input.example_list.examples, x=1)
    response = server.prediction.Classify(request)
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "classify"
    assert [
        [(c.label, c.score) for c in each.classes]
        for each in response.result.classifications
    ] == [[("low", 0.75), ("high", 0.25)], [("low", 0), ("high", 1)]]


def test_regress_takes_features_from_the_context(server):
    request = regression_pb2.RegressionRequest()
    request.model_spec.name = "examples"
    request.model_spec.signature_name = "regress"
    both = request.input.example_list_with_context
    both.context.features.feature["x"].float_list.value.append(5)
    both.examples.add()
    add_example(both.examples, x=1)  # an example's own value wins
    response = server.prediction.Regress(request)
    assert [each.value for each in response.result.regressions] == [4.5, 2.5]


CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def multi_request(*tasks, xs=(0.25, 1)):
    """A request of (model, signature, method) tasks over examples of `x`."""
    request = inference_pb2.MultiInferenceRequest()
    for model, signature, method in tasks:
        task = request.tasks.add(method_name=method)
        task.model_spec.name = model
        task.model_spec.signature_name = signature
    for x in xs:
        add_example(request.input.example_list.examples, x=x)
    return request


def test_multi_inference_answers_each_task_in_their_order(server):
    tasks = [
        ("examples", "regress", REGRESS),
        ("examples", "classify", CLASSIFY),
        ("examples", "classify_scores", CLASSIFY),
    ]
    results = server.prediction.MultiInference(multi_request(*tasks)).results
    specs = [result.model_spec for result in results]
    assert [spec.signature_name for spec in specs] == [task[1] for task in tasks]
    assert {(spec.name, spec.version.value) for spec in specs} == {("examples", 1)}
    regressions = results[0].regression_result.regressions
    assert [regression.value for regression in regressions] == [2.125, 2.5]
    labels = ["low", "high"]
    for result, names in [(results[1], labels), (results[2], ["", ""])]:
        assert [
            [(c.label, c.score) for c in each.classes]
            for each in result.classification_result.classifications
        ] == [
            [(names[0], 0.75), (names[1], 0.25)],
            [(names[0], 0), (names[1], 1)],
        ]


GOOD = ("examples", "regress", REGRESS)


@pytest.mark.parametrize(
    ("tasks", "code", "text"),
    [
        ([], "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (
            [("", "regress", REGRESS)],
            "INVALID_ARGUMENT",
            "ModelSpec has no name specified.",
        ),
        (
            [GOOD, ("", "classify", CLASSIFY)],
            "INVALID_ARGUMENT",
            "Found ModelSpec with an empty model name.",
        ),
        (
            [GOOD, ("echo", "classify", CLASSIFY)],
            "INVALID_ARGUMENT",
            "All ModelSpecs in a MultiInferenceRequest must access the same model "
            "name.",
        ),
        (
            [GOOD, GOOD],
            "INVALID_ARGUMENT",
            "Duplicate evaluation of signature: regress",
        ),
        (
            [GOOD, ("examples", "s", CLASSIFY)],
            "INVALID_ARGUMENT",
            "Requested signature not found in model graph: s",
        ),
        (
            [GOOD, ("examples", "classify", "tensorflow/serving/predict")],
            "UNIMPLEMENTED",
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (
            [("nosuch", "regress", REGRESS)],
            "NOT_FOUND",
            "Servable not found for request: Latest(nosuch)",
        ),
    ],
)
def test_multi_inference_refuses_as_tf_serving_does(server, tasks, code, text):
    request = multi_request(*tasks)
    assert refusal(server.prediction.MultiInference, request) == (code, text)


def test_multi_inference_takes_the_version_of_its_first_task(server):
    request = multi_request(GOOD, ("examples", "classify", CLASSIFY))
    request.tasks[0].model_spec.version.value = 7
    assert refusal(server.prediction.MultiInference, request) == (
        "NOT_FOUND",
        "Servable not found for request: Specific(examples, 7)",
    )


def test_multi_inference_without_examples_is_refused(server):
    assert refusal(server.prediction.MultiInference, multi_request(GOOD, xs=())) == (
        "INVALID_ARGUMENT",
        "Input is empty.",
    )


def metadata_request(model, *fields):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = model
    return request


def test_metadata_holds_the_signatures_of_the_saved_model(server, store):
    for model in ("multi_io", "echo", "examples"):
        response = server.prediction.GetModelMetadata(
            metadata_request(model, "signature_def")
        )
        definitions = get_model_metadata_pb2.SignatureDefMap()
        assert response.metadata["signature_def"].Unpack(definitions)
        content = (store / model / "1" / "saved_model.pb").read_bytes()
        graph = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0]
        assert dict(definitions.signature_def) == dict(graph.signature_def)
        assert response.model_spec.name == model
        assert response.model_spec.version.value == 1
        assert response.model_spec.signature_name == ""


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["graph"], "Metadata field graph is not supported"),
    ],
)
def test_other_metadata_is_refused(server, fields, text):
    request = metadata_request("echo", *fields)
    assert refusal(server.prediction.GetModelMetadata, request) == (
        "INVALID_ARGUMENT",
        text,
    )


def test_status_tells_of_every_version(server):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "echo"
    response = server.model.GetModelStatus(request)
    status = get_model_status_pb2.ModelVersionStatus
    assert [(s.version, s.state) for s in response.model_version_status] == [
        (1, status.AVAILABLE)
    ]
    assert response.model_version_status[0].status.error_code == 0
    request.model_spec.version.value = 7
    assert refusal(server.model.GetModelStatus, request) == (
        "NOT_FOUND",
        "Could not find version 7 of model echo",
    )
    request.model_spec.name = "nosuch"
    request.model_spec.ClearField("version")
    assert refusal(server.model.GetModelStatus, request) == (
        "NOT_FOUND",
        "Could not find any versions of model nosuch",
    )


def test_hostile_tensors_are_refused(server):
    for proto in (
        tensor_pb2.TensorProto(dtype=1, float_val=[1]),
        tensor_pb2.TensorProto(dtype=1),
    ):
        for size in (2**20, 2**20, 2**20):
            proto.tensor_shape.dim.add(size=size)
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "half_plus_two"
        request.inputs["x"].CopyFrom(proto)
        assert refusal(server.prediction.Predict, request)[0] == "INVALID_ARGUMENT"
