"""HandleReloadConfigRequest and version labels, as clients of TF Serving see them."""

import asyncio
import pathlib
import shutil
import time

import grpc
import numpy as np
import pytest
from grpc_running import refusal, running
from numpy_predictor import ask
from numpy_predictor import running as running_rest

from savedmodels.protos import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    regression_pb2,
)
from serving.config_reloader import ConfigReloader
from serving.embedded import EmbeddedPredictor
from serving.loaded_version import EmbeddedOptions
from serving.model_service import ModelService
from serving.served_models import ServedModels
from serving.version_state import WatchOptions

X = np.float32([2])


def config_of(*models, metrics=()):
    """A request for models, each (name, base_path, versions, labels)."""
    request = model_management_pb2.ReloadConfigRequest(metric_names=metrics)
    request.config.model_config_list.SetInParent()
    for name, base_path, versions, labels in models:
        config = request.config.model_config_list.config.add()
        config.name = name
        config.base_path = str(base_path)
        config.model_platform = "tensorflow"
        config.model_version_policy.specific.versions.extend(versions)
        for label, version in labels.items():
            config.version_labels[label] = version
    return request


class Served:
    """Both protocols' servers over one predictor that can be told to serve others."""

    def __init__(self, stub, rest_port, reloader, models):
        self.stub = stub
        self.rest_port = rest_port
        self.reloader = reloader
        self.models = models

    def reload(self, *models, **kwargs):
        request = config_of(*models, metrics=kwargs.pop("metrics", ()))
        return self.stub.model.HandleReloadConfigRequest(request, **kwargs)

    def refused(self, *models, **kwargs):
        call = self.stub.model.HandleReloadConfigRequest
        return refusal(call, config_of(*models), **kwargs)

    def states(self, model):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        states = get_model_status_pb2.ModelVersionStatus.State
        found = self.stub.model.GetModelStatus(request).model_version_status
        return {status.version: states.Name(status.state) for status in found}

    def states_if_known(self, model):
        try:
            return set(self.states(model).values())
        except grpc.RpcError:
            return set()


@pytest.fixture(scope="module")
def base_path(tmp_path_factory, half_plus_two, half_plus_three):
    """Versions 1 and 2 of y = x / 2 + 2, and + 3; version 9 is broken."""
    root = tmp_path_factory.mktemp("versions")
    shutil.copytree(half_plus_two, root / "1")
    shutil.copytree(half_plus_three, root / "2")
    (root / "9").mkdir()
    (root / "9/saved_model.pb").write_bytes(b"broken")
    return root


@pytest.fixture(scope="module")
def served_by_each_engine():
    """One predictor, and a `Served` of it for each engine."""
    models = ServedModels()
    predictor = EmbeddedPredictor(
        models.sources,
        EmbeddedOptions(watch=WatchOptions(file_system_poll_wait_seconds=0)),
        labelled=models.labelled,
    )
    predictor.start()
    reloader = ConfigReloader(models, predictor.versions)
    with (
        running(predictor, "native", reloader=reloader) as native,
        running(predictor, "grpcio", reloader=reloader) as grpcio,
        running_rest(predictor) as rest_port,
    ):
        yield {
            "native": Served(native, rest_port, reloader, models),
            "grpcio": Served(grpcio, rest_port, reloader, models),
        }
    predictor.stop()


@pytest.fixture
def served(served_by_each_engine, grpc_engine):
    return served_by_each_engine[grpc_engine]


@pytest.fixture
def labelled(served, base_path):
    """Versions 1 (`stable`, `old`) and 2 (`canary`) of model `m` are served."""
    served.reload(("m", base_path, [1, 2], {}))
    # Either may be the first: they are loaded in threads.
    while [served.states("m").get(v) for v in (1, 2)] != ["AVAILABLE"] * 2:
        time.sleep(0.01)
    labels = {"stable": 1, "old": 1, "canary": 2}
    served.reload(("m", base_path, [1, 2], labels))
    return served


def y(served, request):
    return served.stub.prediction.Predict(request).outputs["y"].float_val[0]


def test_a_label_stands_for_its_version_on_grpc(labelled, request_for):
    answers = {}
    for label in ("stable", "old", "canary"):
        request = request_for("m", x=X)
        request.model_spec.version_label = label
        response = labelled.stub.prediction.Predict(request)
        answer = response.outputs["y"].float_val[0]
        answers[label] = response.model_spec.version.value, answer
    assert answers == {"stable": (1, 3.0), "old": (1, 3.0), "canary": (2, 4.0)}
    metadata = get_model_metadata_pb2.GetModelMetadataRequest()
    metadata.metadata_field.append("signature_def")
    metadata.model_spec.name = "m"
    metadata.model_spec.version_label = "stable"
    response = labelled.stub.prediction.GetModelMetadata(metadata)
    assert response.model_spec.version.value == 1


def test_a_label_stands_for_its_version_on_rest(labelled):
    for label, expected in {"stable": 3.0, "canary": 4.0, "%63anary": 4.0}.items():
        path = f"/v1/models/m/labels/{label}"
        status, _, body = ask(
            labelled.rest_port, "POST", f"{path}:predict", {"instances": [2.0]}
        )
        assert (status, str(expected) in body.decode()) == (200, True)
        assert ask(labelled.rest_port, "GET", f"{path}/metadata")[0] == 200


@pytest.mark.parametrize("model", ["m", "nosuch"])
def test_an_unknown_label_is_refused_by_every_method(labelled, request_for, model):
    expected = ("INVALID_ARGUMENT", "Unrecognized servable version label: x")
    requests = {
        "Predict": request_for(model, x=X),
        "Classify": classification_pb2.ClassificationRequest(),
        "Regress": regression_pb2.RegressionRequest(),
        "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest(
            metadata_field=["signature_def"]
        ),
    }
    for method, request in requests.items():
        request.model_spec.name = model
        request.model_spec.version_label = "x"
        call = getattr(labelled.stub.prediction, method)
        assert refusal(call, request) == expected
    path = f"/v1/models/{model}/labels/x"
    body = {"examples": [{"x": 1.0}], "instances": [1.0]}
    for method, url in [("GET", f"{path}/metadata")] + [
        ("POST", f"{path}:{name}") for name in ("predict", "classify", "regress")
    ]:
        status, _, answer = ask(
            labelled.rest_port, method, url, body if method == "POST" else None
        )
        assert (status, expected[1] in answer.decode()) == (400, True)


def test_status_by_a_label_tells_of_all_versions(labelled):
    path = "/v1/models/m/labels/nosuch"
    status, _, body = ask(labelled.rest_port, "GET", path)
    assert (status, body.count(b"AVAILABLE")) == (200, 2)


def test_a_reload_replaces_all_models_and_waits_for_new_ones(
    served, base_path, request_for
):
    response = served.reload(("a", base_path, [1], {}), ("b", base_path, [2], {}))
    assert response.status.error_code == 0
    assert (y(served, request_for("a", x=X)), y(served, request_for("b", x=X))) == (
        3,
        4,
    )
    served.reload(("b", base_path, [2], {}))
    while "AVAILABLE" in served.states_if_known("a"):  # what goes is not waited for
        time.sleep(0.01)
    assert refusal(served.stub.prediction.Predict, request_for("a", x=X)) == (
        "NOT_FOUND",
        "Servable not found for request: Latest(a)",
    )
    assert y(served, request_for("b", x=X)) == 4


def test_versions_move_with_their_label_without_a_gap(labelled, base_path, request_for):
    request = request_for("m", x=X)
    request.model_spec.version_label = "stable"
    assert y(labelled, request) == 3
    labelled.reload(("m", base_path, [1, 2], {"stable": 2}))
    assert y(labelled, request) == 4


def test_a_label_to_a_version_that_is_not_available_changes_nothing(
    labelled, base_path
):
    before = labelled.models.configs
    assert labelled.refused(("m", base_path, [1, 2], {"stable": 7})) == (
        "FAILED_PRECONDITION",
        "Request to assign label to version 7 of model m, "
        "which is not currently available for inference",
    )
    assert labelled.models.configs == before


def test_a_new_model_that_fails_to_load_is_told(served, base_path):
    code, text = served.refused(("bad", base_path, [9], {}))
    assert code == "UNKNOWN"
    assert text.startswith(
        "1 model(s) did not become available: {{{name: bad version: 9} due to error: "
    )
    assert text.endswith("}, }")


def test_a_new_model_that_is_not_there_is_waited_for_until_the_deadline(
    served, tmp_path
):
    code, _ = served.refused(("away", tmp_path, [1], {}), timeout=0.3)
    assert code == "DEADLINE_EXCEEDED"


def test_configs_that_cannot_be_are_refused(served, base_path):
    twice = ("m", base_path, [1], {})
    assert served.refused(twice, twice) == (
        "INVALID_ARGUMENT",
        "Illegal to list model m multiple times in config list",
    )
    assert refusal(
        served.stub.model.HandleReloadConfigRequest,
        model_management_pb2.ReloadConfigRequest(),
    ) == (
        "INVALID_ARGUMENT",
        "ServerModelConfig type not supported by HandleReloadConfigRequest. "
        "Only ModelConfigList is currently supported",
    )


def test_metrics_that_do_not_exist_have_not_increased(served, base_path):
    names = ["/tensorflow/serving/nosuch", "b", "b"]
    response = served.reload(("m", base_path, [1], {}), metrics=names)
    increases = {m.name: m.int64_value_increase for m in response.metric}
    assert increases == {"/tensorflow/serving/nosuch": 0, "b": 0}
    assert len(response.metric) == 2


def test_increases_of_metrics_are_told():
    class Reloader:
        async def reload(self, config, timeout_s):
            values["reloads"] += 2

    values = {"reloads": 5, "still": 7}
    service = ModelService(None, Reloader(), metric=lambda name: values.get(name, 0))
    request = config_of(metrics=["still", "reloads", "nosuch"])
    response = asyncio.run(service.handle_reload_config_request(request, None))
    increases = {m.name: m.int64_value_increase for m in response.metric}
    assert increases == {"reloads": 2, "still": 0, "nosuch": 0}


def write(file: pathlib.Path, base_path, version):
    file.write_text(
        f'model_config_list {{ config {{ name: "f" base_path: "{base_path}" '
        f'model_platform: "tensorflow" model_version_policy {{ specific {{ '
        f"versions: {version} }} }} }} }}"
    )


def test_a_config_file_is_followed_and_a_bad_one_changes_nothing(
    served, base_path, request_for, tmp_path, caplog
):
    file = tmp_path / "models.config"
    served.reload(("f", base_path, [1], {}))

    async def follow():
        task = asyncio.create_task(served.reloader.follow_file(file, 0.02))
        try:
            async with asyncio.timeout(20):
                write(file, base_path, 2)
                while served.states("f").get(2) != "AVAILABLE":
                    await asyncio.sleep(0.01)
                file.write_text("model_config_list { nonsense }")
                while "Error parsing text-format" not in caplog.text:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.1)
                assert y(served, request_for("f", x=X)) == 4
                write(file, base_path, 1)
                while served.states("f").get(1) != "AVAILABLE":
                    await asyncio.sleep(0.01)
        finally:
            task.cancel()

    asyncio.run(follow())
    assert caplog.text.count("The old config stays in effect") == 1
