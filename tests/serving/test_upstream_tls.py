"""The shim in front of a server that is encrypted, and checks its clients."""

import http.client
import json
import shutil
import subprocess

import grpc
import pytest
from google.protobuf import text_format
from grpc_running import Running
from numpy_predictor import NumpyPredictor
from server_process import refused, serving, soon

from savedmodels.serving_protos import SSLConfig
from serving import flags
from serving.errors import InvalidRequestError
from serving.grpc_options import GrpcOptions
from serving.grpc_server import GrpcServer
from serving.prediction_service import PredictionService
from serving.upstream_tls import UpstreamTls


def make_pair(folder, name):
    """Writes a key and a certificate, self-signed; returns their paths."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
        f"-days 2 -subj /CN={name} -addext subjectAltName=IP:127.0.0.1".split()
        + ["-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    return key, certificate


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Folder of the pairs `server`, `shim` and `stranger`."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the command openssl")
    folder = tmp_path_factory.mktemp("keys")
    for name in ("server", "shim", "stranger"):
        make_pair(folder, name)
    return folder


class Encrypted(Running):
    """A server on an encrypted port, that knows its clients."""

    async def _start(self, predictor, options):
        self.server = GrpcServer(PredictionService(predictor))
        grpc_options = GrpcOptions(ssl_config_file=options["ssl_config_file"])
        return await self.server.start("127.0.0.1", 0, grpc_options)


@pytest.fixture(scope="module")
def server(keys):
    """Its port. It takes the client whose certificate is `shim.pem`."""
    config = SSLConfig(
        server_key=(keys / "server.key").read_text(),
        server_cert=(keys / "server.pem").read_text(),
        custom_ca=(keys / "shim.pem").read_text(),
        client_verify=True,
    )
    file = keys / "ssl.config"
    file.write_text(text_format.MessageToString(config))
    running = Encrypted(NumpyPredictor(), ssl_config_file=file)
    yield running.port
    running.close()


def shim_flags(keys, port, root="server", client="shim"):
    found = [f"--upstream=127.0.0.1:{port}"]
    found.append(f"--upstream_ssl_root_certs={keys / root}.pem")
    if client:
        found.append(f"--upstream_ssl_client_key={keys / client}.key")
        found.append(f"--upstream_ssl_client_cert={keys / client}.pem")
    return found


def ask_rest(port):
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
    body = json.dumps({"instances": [1.0, 2.0]})
    connection.request("POST", "/v1/models/half_plus_two:predict", body)
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer


def test_both_protocols_pass_to_an_encrypted_server_that_checks_its_clients(
    keys, server
):
    with serving(*shim_flags(keys, server)) as shim:
        assert shim.models == [f"127.0.0.1:{server}"]
        assert shim.get("/readyz")[0] == 200
        assert ask_rest(shim.rest_port) == (200, {"predictions": [2.5, 3.0]})
        status = "/tensorflow.serving.PredictionService/GetModelMetadata"
        with pytest.raises(grpc.RpcError) as caught:
            shim.channel.unary_unary(status)(b"", timeout=20)
        # The server's own words, so the call came through.
        assert caught.value.details() == "Missing ModelSpec"


@pytest.mark.parametrize(
    ("root", "client"), [("stranger", "shim"), ("server", "stranger"), ("server", None)]
)
def test_without_trust_on_both_sides_no_call_passes(keys, server, root, client):
    with serving(*shim_flags(keys, server, root, client)) as shim:
        soon(lambda: shim.get("/readyz")[0] == 503)
        status, answer = ask_rest(shim.rest_port)
        assert status == 503
        assert "No upstream server can be reached" in answer["error"]


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"root_certs": "nosuch.pem"}, "Cannot read `.*nosuch.pem`"),
        ({"root_certs": "server.key"}, "server.key` must hold certificates in PEM"),
        ({"client_key": "server.key"}, "must hold a key and its certificate, in PEM"),
        ({"client_cert": "shim.key"}, "must hold a key and its certificate, in PEM"),
    ],
)
def test_files_that_do_not_hold_what_they_should_are_named(keys, wrong, text):
    right = {
        "root_certs": "server.pem",
        "client_key": "shim.key",
        "client_cert": "shim.pem",
    }
    files = {name: keys / file for name, file in {**right, **wrong}.items()}
    with pytest.raises(InvalidRequestError, match=text):
        UpstreamTls(**files).credentials()


def test_a_server_that_cannot_read_its_keys_does_not_start(tmp_path):
    file = tmp_path / "roots.pem"
    file.write_text("none")
    lines = refused("--upstream=127.0.0.1:1", f"--upstream_ssl_root_certs={file}")
    assert lines[-1].startswith(
        f"error: Failed to start server. Error: INVALID_ARGUMENT: `{file}` must hold"
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--store=a", "--upstream_ssl_root_certs=r"], "needs --upstream"),
        (["--upstream=a:1", "--upstream_ssl_client_key=k"], "go together"),
        (["--upstream=a:1", "--upstream_ssl_client_cert=c"], "go together"),
        (
            ["--upstream=a:1", "--upstream_ssl_client_key=k"]
            + ["--upstream_ssl_client_cert=c"],
            "needs --upstream_ssl_root_certs",
        ),
    ],
)
def test_flags_that_contradict_each_other_are_refused(arguments, text, capsys):
    with pytest.raises(SystemExit) as caught:
        flags.parse(arguments)
    assert caught.value.code == 2
    assert text in capsys.readouterr().err
