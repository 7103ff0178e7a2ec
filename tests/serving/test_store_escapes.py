"""Nothing outside the store is served, whatever a name says."""

import contextlib
import http.client
import json
import shutil

import grpc
import pytest
from server_process import digits_request, publish, serving, soon

from savedmodels.protos import model_management_pb2, model_service_pb2_grpc

BODY = json.dumps({"instances": [[[[0]] * 28] * 28]}).encode()
NAMES = [
    "..",
    "../outside",
    "../outside/digits",
    "digits/../../outside/digits",
    "digits/1",
    "/etc",
    ".",
    "digits\0",
    "digits\\..\\outside",
    "\uff0e\uff0e/outside",
    "digits ",
]
PATHS = [
    "/v1/models/..:predict",
    "/v1/models/../outside/digits:predict",
    "/v1/models/%2e%2e%2foutside%2fdigits:predict",
    "/v1/models/%2E%2E/outside/digits:predict",
    "/v1/models/..%2foutside%2fdigits/versions/1:predict",
    "/v1/models/%252e%252e%252foutside:predict",
    "/v1/models/..%5coutside:predict",
    "/v1/models/digits%00:predict",
    "/v1/models/digits%2f1:predict",
    "/v1/models/%c0%ae%c0%ae%c0%afoutside:predict",
    "/v1/models/digits/versions/../../../outside:predict",
    "/v1/models/digits/labels/..%2f..:predict",
    "/v1/../outside",
    "/../../../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory, digits_litert):
    """A store, and another beside it."""
    root = tmp_path_factory.mktemp("root")
    publish(digits_litert, root / "store/digits", 1)
    publish(digits_litert, root / "outside/digits", 1)
    return root


@pytest.fixture(scope="module")
def server(root):
    with serving(f"--store={root / 'store'}") as server:
        yield server
        assert server.end() == 0
        assert "Traceback" not in server.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_a_path_names_no_model(server, name):
    request = digits_request()
    request.model_spec.name = name
    with pytest.raises(grpc.RpcError) as caught:
        server.predict(request, timeout=10)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert server.predict(digits_request(), timeout=10).outputs


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_path_out_of_the_store_is_refused(server, root, path, method):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path, BODY if method == "POST" else None)
        answer = connection.getresponse()
        text = answer.read()
    assert answer.status in (400, 404)
    assert str(root).encode() not in text
    assert b"root:" not in text


def test_a_link_of_the_store_is_a_model_by_its_own_name_alone(server, root):
    """Who may write to the store may link: as with TF Serving, links are followed."""
    (root / "store/linked").symlink_to(root / "outside/digits")
    soon(lambda: b"AVAILABLE" in server.get("/v1/models/linked")[1])
    request = digits_request()
    request.model_spec.name = "linked"
    assert server.predict(request, timeout=10).model_spec.version.value == 1


def test_links_that_lead_nowhere_or_in_a_circle_hurt_nobody(server, root):
    (root / "store/nowhere").symlink_to(root / "not there")
    (root / "store/circle").symlink_to(root / "store/circle")
    loop = root / "store/loop"
    loop.mkdir()
    (loop / "1").symlink_to(root / "store")
    publish(root / "store/digits/1", root / "store/digits", 2)
    (root / "store/digits/2/back").symlink_to(root / "store")
    publish(root / "store/digits/1", root / "store/late", 1)
    soon(lambda: b"AVAILABLE" in server.get("/v1/models/late")[1])
    assert server.predict(digits_request(), timeout=10).outputs
    for name in ("nowhere", "circle", "loop"):
        assert server.get(f"/v1/models/{name}")[0] == 404
    shutil.rmtree(loop)


@pytest.mark.parametrize("path", ["../outside/digits", "outside"])
def test_a_reload_cannot_name_a_relative_base_path(server, path):
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.config.add(
        name="digits", base_path=path, model_platform="tensorflow"
    )
    stub = model_service_pb2_grpc.ModelServiceStub(server.channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.HandleReloadConfigRequest(request, timeout=10)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert server.predict(digits_request(), timeout=10).outputs
