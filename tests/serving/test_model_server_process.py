"""`--engine=tensorflow_model_server`, with a stand-in for the binary on PATH.

The stand-in is a script that starts this project's own server with the flags it gets:
they are TF Serving's, and both understand them.
"""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
from server_process import ROOT, digits_request, publish, refused, serving, soon

from serving import flags
from serving.model_server_process import BINARY

ENGINE = f"--engine={BINARY}"


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Puts the script on PATH; gives the file in which it notes its flags."""
    folder, noted = tmp_path / "bin", tmp_path / "flags"
    folder.mkdir()
    script = folder / BINARY
    script.write_text(
        "#!/bin/sh\n"
        f'printf "%s\\n" "$@" > "{noted}"\n'
        f'exec "{sys.executable}" -m serving --host=127.0.0.1 "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return noted


@pytest.fixture
def digits_store(tmp_path, digits_litert):
    publish(digits_litert, tmp_path / "models" / "digits", 1)
    return tmp_path / "models"


def child_of(shim):
    return int(re.search(r"process (\d+)", ", ".join(shim.models))[1])


def alive(pid):
    # A process that has ended may still wait for whoever started it.
    with contextlib.suppress(FileNotFoundError):
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        return "State:\tZ" not in status
    return False


def test_both_protocols_answer_from_the_binary_which_ends_with_the_shim(
    stand_in, digits_store
):
    with serving(ENGINE, f"--store={digits_store}", "--num_tflite_pools=3") as shim:
        child = child_of(shim)
        assert shim.predict(digits_request()).model_spec.version.value == 1
        body = json.dumps({"instances": np.zeros((1, 28, 28, 1), int).tolist()})
        url = f"http://127.0.0.1:{shim.rest_port}/v1/models/digits:predict"
        with urllib.request.urlopen(url, body.encode(), timeout=10) as response:
            assert "predictions" in json.load(response)
        assert shim.get("/readyz")[0] == 200
        assert alive(child)
        # Typed for TF Serving, it reaches TF Serving; what is the shim's does not.
        given = dict(line[2:].split("=", 1) for line in stand_in.read_text().split())
        assert given["num_tflite_pools"] == "3"
        assert given["port"] == given["rest_api_port"] == "0"
        assert not {"store", "engine", "host"} & given.keys()
        socket_path = pathlib.Path(given["grpc_socket_path"])
        assert socket_path.parent.stat().st_mode & 0o077 == 0
        assert shim.end() == 0
        assert not alive(child)
        assert not socket_path.parent.exists()
    assert "Traceback" not in shim.stderr
    # By the stand-in, that is, and not by the shim.
    assert shim.stderr.count("--num_tflite_pools has no effect") == 1


def test_a_model_that_comes_to_the_store_is_served(
    stand_in, digits_store, digits_litert
):
    with serving(ENGINE, f"--store={digits_store}") as shim:
        publish(digits_litert, digits_store / "other", 4)
        publish(digits_litert, digits_store / "digits", 2)
        soon(lambda: shim.predict(digits_request()).model_spec.version.value == 2)
        soon(lambda: shim.get("/v1/models/other")[0] == 200)
        assert shim.states("other") == {4: "AVAILABLE"}


def test_the_binary_does_not_outlive_a_shim_that_is_killed(stand_in, digits_store):
    with serving(ENGINE, f"--store={digits_store}") as shim:
        child = child_of(shim)
        shim.end(signal.SIGKILL)
        soon(lambda: not alive(child))


def test_the_shim_ends_with_an_error_where_the_binary_does(stand_in, digits_store):
    with serving(ENGINE, f"--store={digits_store}") as shim:
        os.kill(child_of(shim), signal.SIGKILL)
        assert shim.popen.wait(20) == 1
        shim.end()
    assert f"error: `{BINARY}` ended with code -9." in shim.stderr


def test_a_binary_that_cannot_start_is_told_with_its_code(
    stand_in, digits_store, tmp_path
):
    (tmp_path / "bin" / BINARY).write_text("#!/bin/sh\necho no such CPU >&2\nexit 3\n")
    told = "\n".join(
        refused(ENGINE, f"--store={digits_store}", "--port=0", "--rest_api_port=0")
    )
    assert "no such CPU" in told
    assert f"error: `{BINARY}` ended with code 3." in told


def test_without_the_binary_one_line_says_what_to_do(tmp_path):
    (line,) = refused(ENGINE, f"--store={tmp_path}", env={"PATH": "/usr/bin:/bin"})
    assert line.startswith(f"error: `{BINARY}` is not on PATH. Install it")
    assert "make serve UPSTREAM=host:port" in line


def test_make_serve_engine_hands_the_name_on():
    done = subprocess.run(
        ["make", "-n", "serve", f"ENGINE={BINARY}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"--engine '{BINARY}'" in done.stdout
    assert "--store='artifacts/models'" in done.stdout


def test_an_engine_and_an_upstream_contradict_each_other(capsys):
    with pytest.raises(SystemExit) as caught:
        flags.parse([ENGINE, "--upstream=a:1"])
    assert caught.value.code == 2
    assert "Type one of them" in capsys.readouterr().err
