"""The server as a process, told by a config file what to serve."""

import threading

import grpc
import pytest
from server_process import digits_request, publish, refused, serving, soon

from savedmodels.protos import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)


def write(file, *models):
    """Writes a config of models, each (name, base_path, more fields)."""
    configs = "\n".join(
        f'config {{ name: "{name}" base_path: "{base_path}" '
        f'model_platform: "tensorflow" {more} }}'
        for name, base_path, more in models
    )
    # In one rename, so that no look sees half of it.
    staging = file.with_suffix(".writing")
    staging.write_text(f"model_config_list {{\n{configs}\n}}\n")
    staging.rename(file)


@pytest.fixture
def base_path(tmp_path, digits_litert):
    for version in (1, 2, 3):
        publish(digits_litert, tmp_path / "digits", version)
    return tmp_path / "digits"


SPECIFIC = "model_version_policy { specific { versions: 1 versions: 3 } }"
LABELS = 'version_labels { key: "stable" value: 1 }'


def labelled_request(label):
    request = digits_request()
    request.model_spec.version_label = label
    return request


def test_a_config_file_says_which_models_versions_and_labels(tmp_path, base_path):
    file = tmp_path / "models.config"
    write(
        file,
        ("digits", base_path, f"{SPECIFIC} {LABELS}"),
        ("newest", base_path, ""),
    )
    with serving(
        f"--model_config_file={file}",
        "--model_config_file_poll_wait_seconds=0.05",
        "--allow_version_labels_for_unavailable_models",
        "--model_name=ignored",
    ) as server:
        assert server.models == ["digits/3", "digits/1", "newest/3"]
        for label, version in {"stable": 1, "": 3}.items():
            request = labelled_request(label) if label else digits_request()
            assert server.predict(request).model_spec.version.value == version
        file.write_text("nonsense")
        write(file, ("digits", base_path, "model_version_policy { all {} }"))
        soon(lambda: server.states("digits") == dict.fromkeys((3, 2, 1), "AVAILABLE"))
        soon(lambda: server.health("newest") == "NOT_SERVING")
        request = model_management_pb2.ReloadConfigRequest()
        config = request.config.model_config_list.config.add()
        config.name, config.base_path = "renamed", str(base_path)
        config.model_platform = "tensorflow"
        stub = model_service_pb2_grpc.ModelServiceStub(server.channel)
        file.unlink()  # at its next look the server would go back to what it says
        stub.HandleReloadConfigRequest(request, timeout=20)
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = "renamed"
        assert stub.GetModelStatus(status).model_version_status[0].version == 3
        assert server.end() == 0
    assert "Traceback" not in server.stderr


def reload_request(base_path, labels):
    request = model_management_pb2.ReloadConfigRequest()
    config = request.config.model_config_list.config.add()
    config.name, config.base_path = "digits", str(base_path)
    config.model_platform = "tensorflow"
    config.model_version_policy.specific.versions.extend([1, 3])
    for label, version in labels.items():
        config.version_labels[label] = version
    return request


def test_labels_move_under_load_without_a_failed_call(tmp_path, base_path):
    file = tmp_path / "models.config"
    write(file, ("digits", base_path, f"{SPECIFIC} {LABELS}"))
    seen, failures, stop = [], [], threading.Event()

    def ask(port):
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            while not stop.is_set():
                try:
                    response = stub.Predict(labelled_request("stable"), timeout=20)
                    seen.append(response.model_spec.version.value)
                except grpc.RpcError as error:
                    failures.append(error)

    with serving(
        f"--model_config_file={file}", "--allow_version_labels_for_unavailable_models"
    ) as server:
        clients = [threading.Thread(target=ask, args=(server.port,)) for _ in range(4)]
        for client in clients:
            client.start()
        stub = model_service_pb2_grpc.ModelServiceStub(server.channel)
        try:
            for version in [3, 1] * 20:
                request = reload_request(base_path, {"stable": version})
                stub.HandleReloadConfigRequest(request, timeout=20)
                answer = server.predict(labelled_request("stable"))
                assert answer.model_spec.version.value == version
        finally:
            stop.set()
            for client in clients:
                client.join()
        assert not failures
        assert set(seen) == {1, 3}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("nonsense", "INVALID_ARGUMENT: Error parsing text-format tensorflow.serving."),
        (
            'model_config_list { config { name: "m" base_path: "/m" '
            'model_platform: "tensorflow" version_labels { key: "a" value: 1 } } }',
            "FAILED_PRECONDITION: Request to assign label to version 1 of model m, "
            "which is not currently available for inference",
        ),
    ],
)
def test_a_bad_config_file_ends_the_start_with_one_line(tmp_path, content, text):
    file = tmp_path / "models.config"
    file.write_text(content)
    (line,) = refused(f"--model_config_file={file}")
    assert line.startswith(f"error: Failed to start server. Error: {text}")
