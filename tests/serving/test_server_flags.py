"""The flags of TF Serving's command line: read, warned about, or refused."""

import shutil
import ssl
import subprocess
import sys
import urllib.request

import grpc
import pytest
from google.protobuf import text_format
from numpy_predictor import free_port
from server_process import ROOT, digits_request, publish, refused, serving

from savedmodels.protos import prediction_service_pb2_grpc
from savedmodels.serving_protos import SSLConfig
from serving import flags, tls
from serving.errors import InvalidRequestError
from serving.grpc_options import GrpcOptions

# Flags and defaults of `tensorflow_model_server`, and a value that can be given.
EVERY_FLAG = {
    "port": "8500",
    "grpc_socket_path": "/tmp/socket",
    "rest_api_port": "8501",
    "rest_api_num_threads": "8",
    "rest_api_timeout_in_ms": "30000",
    "rest_api_enable_cors_support": "false",
    "enable_batching": "true",
    "allow_version_labels_for_unavailable_models": "true",
    "batching_parameters_file": "/b",
    "enable_per_model_batching_parameters": "true",
    "model_config_file": "/c",
    "model_config_file_poll_wait_seconds": "3",
    "model_name": "m",
    "model_base_path": "/m",
    "num_load_threads": "0",
    "num_unload_threads": "0",
    "max_num_load_retries": "5",
    "load_retry_interval_micros": "60000000",
    "file_system_poll_wait_seconds": "-1",
    "flush_filesystem_caches": "true",
    "tensorflow_session_parallelism": "0",
    "tensorflow_session_config_file": "",
    "tensorflow_intra_op_parallelism": "0",
    "tensorflow_inter_op_parallelism": "0",
    "use_alts_credentials": "false",
    "ssl_config_file": "/s",
    "platform_config_file": "",
    "per_process_gpu_memory_fraction": "0.5",
    "saved_model_tags": "serve",
    "grpc_channel_arguments": "grpc.max_connection_age_ms=2000",
    "grpc_max_threads": "8",
    "enable_model_warmup": "true",
    "num_request_iterations_for_warmup": "0",
    "monitoring_config_file": "/m.config",
    "remove_unused_fields_from_bundle_metagraph": "true",
    "prefer_tflite_model": "false",
    "num_tflite_pools": "2",
    "num_tflite_interpreters_per_pool": "1",
    "enable_signature_method_name_check": "false",
    "xla_cpu_compilation_enabled": "false",
    "xla_gpu_compilation_enabled": "false",
    "enable_profiler": "true",
    "thread_pool_factory_config_file": "",
    "mixed_precision": "",
    "skip_initialize_tpu": "false",
    "enable_grpc_healthcheck_service": "false",
    "enable_serialization_as_tensor_content": "false",
}
SWITCHES = [name for name, value in EVERY_FLAG.items() if value in ("true", "false")]


def test_every_flag_of_tf_serving_is_read_in_both_forms():
    with_equals = [f"--{name}={value}" for name, value in EVERY_FLAG.items()]
    apart = [word for pair in EVERY_FLAG.items() for word in (f"--{pair[0]}", pair[1])]
    assert flags.parse(with_equals) == flags.parse(apart)
    assert flags.parse(with_equals).grpc.channel_arguments == (
        ("grpc.max_connection_age_ms", 2000),
    )


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_may_stand_alone(name):
    alone = flags.parse(["--store=a", f"--{name}"])
    assert alone == flags.parse(["--store=a", f"--{name}=true"])
    assert alone == flags.parse(["--store=a", f"--{name}", "1"])


def test_a_flag_that_is_left_empty_says_nothing():
    empty = [
        "--model_base_path=",
        "--model_config_file=",
        "--batching_parameters_file=",
        "--ssl_config_file=",
        "--grpc_socket_path=",
        "--grpc_channel_arguments=",
    ]
    options = flags.parse(["--store=a", *empty])
    assert options.model_base_path is None
    assert options.model_config_file is None
    assert options.batching_file is None
    assert options.grpc == GrpcOptions()


def test_what_does_not_exist_here_is_one_warning_each():
    options = flags.parse(
        ["--store=a", "--use_alts_credentials", "--mixed_precision=bfloat16"]
        + ["--xla_cpu_compilation_enabled=false", "--saved_model_tags=serve"]
    )
    assert [line.split()[0] for line in options.warnings] == [
        "--mixed_precision",
        "--use_alts_credentials",
    ]
    assert "NOT ENCRYPTED" in options.warnings[1]
    assert not flags.parse(["--store=a"]).warnings


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["--port=-1"],
            "At least one of server_options.grpc_port or "
            "server_options.grpc_socket_path must be set.",
        ),
        (
            ["--rest_api_enable_tls"],
            "--rest_api_enable_tls needs the keys of an --ssl_config_file",
        ),
        (
            ["--use_alts_credentials", "--ssl_config_file=/s"],
            "Either use_alts_credentials must be false or ssl_config_file must be "
            "empty.",
        ),
        (
            ["--cpu_engine=litert", "--prefer_tflite_model=false"],
            "--cpu_engine=litert contradicts --prefer_tflite_model=false.",
        ),
        (
            ["--cpu_engine=tensorflow", "--convert_on_load"],
            "--convert_on_load makes models for LiteRT, which may not answer.",
        ),
        (["--grpc_channel_arguments=a"], "key=value,key=value... was expected"),
        (["--enable_profiler=maybe"], "expected true or false. Received: maybe"),
    ],
)
def test_flags_that_contradict_each_other_end_with_code_2(capsys, arguments, text):
    with pytest.raises(SystemExit) as caught:
        flags.parse(["--store=a", *arguments])
    assert caught.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "engine"),
    [
        ([], "auto"),
        (["--cpu_engine=litert"], "litert"),
        (["--prefer_tflite_model"], "litert"),
        (["--prefer_tflite_model=false"], "tensorflow"),
        (["--cpu_engine=litert", "--prefer_tflite_model"], "litert"),
    ],
)
def test_tf_servings_own_flag_chooses_the_engine_too(arguments, engine):
    load = flags.parse(["--store=a", *arguments]).embedded.load
    assert load.cpu_engine == engine
    assert load.saved_model_tags == ("serve",)
    assert not load.convert_on_load


def test_a_word_that_is_no_flag_is_told_and_passed_over(capsys):
    assert flags.parse(["--store=a", "word"]).port == 8500
    assert "unknown argument: word" in capsys.readouterr().err


def test_versions_are_printed(capsys):
    with pytest.raises(SystemExit) as caught:
        flags.parse(["--version"])
    assert caught.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines][:2] == ["maaskit", "tensorflow"]


def test_threads_of_tensorflow_are_set_in_its_own_words():
    options = flags.parse(
        ["--store=a", "--tensorflow_session_parallelism=4"]
        + ["--tensorflow_inter_op_parallelism=2"]
    )
    assert options.environment == {
        "TF_NUM_INTRAOP_THREADS": "4",
        "TF_NUM_INTEROP_THREADS": "2",
    }


def make_ssl_config(path, **more):
    """Writes an SSLConfig of a new key for 127.0.0.1; returns certificate and key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the command openssl")
    key, certificate = path.with_suffix(".key"), path.with_suffix(".pem")
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
        "-days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1".split()
        + ["-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    config = SSLConfig(
        server_key=key.read_text(), server_cert=certificate.read_text(), **more
    )
    path.write_text(text_format.MessageToString(config))
    return certificate.read_bytes(), key.read_bytes()


@pytest.fixture
def digits_store(tmp_path, digits_litert):
    publish(digits_litert, tmp_path / "digits", 1)
    return tmp_path


def predict(channel):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    return stub.Predict(digits_request(), timeout=10).model_spec.version.value


def test_grpc_is_encrypted_and_on_a_unix_socket_where_asked_for(digits_store):
    file, socket_path = digits_store / "ssl.config", digits_store / "socket"
    certificate, _ = make_ssl_config(file)
    arguments = [f"--store={digits_store}", f"--ssl_config_file={file}"]
    with serving(*arguments, f"--grpc_socket_path={socket_path}") as server:
        keys = grpc.ssl_channel_credentials(certificate)
        address = f"127.0.0.1:{server.port}"
        with grpc.secure_channel(address, keys) as channel:
            assert predict(channel) == 1
        named = [("grpc.ssl_target_name_override", "127.0.0.1")]
        with grpc.secure_channel(f"unix:{socket_path}", keys, named) as channel:
            assert predict(channel) == 1
        with (
            grpc.insecure_channel(address) as channel,
            pytest.raises(grpc.RpcError) as caught,
        ):
            predict(channel)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert server.end() == 0


def test_a_client_must_show_a_certificate_where_that_is_asked_for(digits_store):
    file = digits_store / "ssl.config"
    authority, authority_key = make_ssl_config(digits_store / "client.config")
    certificate, _ = make_ssl_config(
        file, client_verify=True, custom_ca=authority.decode()
    )
    with serving(f"--store={digits_store}", f"--ssl_config_file={file}") as server:
        address = f"127.0.0.1:{server.port}"
        keys = grpc.ssl_channel_credentials(certificate, authority_key, authority)
        with grpc.secure_channel(address, keys) as channel:
            assert predict(channel) == 1
        keys = grpc.ssl_channel_credentials(certificate)
        with grpc.secure_channel(address, keys) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                predict(channel)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def rest_health(port, certificate, *client):
    """The status of /healthz over TLS; `client` is a file of certificate and key."""
    context = ssl.create_default_context(cadata=certificate.decode())
    if client:
        context.load_cert_chain(*client)
    url = f"https://127.0.0.1:{port}/healthz"
    with urllib.request.urlopen(url, timeout=10, context=context) as response:
        return response.status


def test_rest_is_encrypted_where_that_is_asked_for(digits_store):
    file = digits_store / "ssl.config"
    client = digits_store / "client.config"
    authority, _ = make_ssl_config(client)
    certificate, _ = make_ssl_config(
        file, client_verify=True, custom_ca=authority.decode()
    )
    arguments = [f"--store={digits_store}", f"--ssl_config_file={file}"]
    with serving(*arguments, "--rest_api_enable_tls") as server:
        pair = client.with_suffix(".pem"), client.with_suffix(".key")
        assert rest_health(server.rest_port, certificate, *pair) == 200
        with pytest.raises(OSError, match="(?i)certificate|reset|closed|eof"):
            rest_health(server.rest_port, certificate)
        with pytest.raises(OSError, match="(?i)remote|reset|closed|empty"):
            server.get("/healthz")
        assert rest_health(server.rest_port, certificate, *pair) == 200
        assert server.end() == 0
    assert "Traceback" not in server.stderr


@pytest.mark.parametrize("key", ["nonsense", "other"])
def test_rest_keys_that_are_no_pair_are_refused(tmp_path, key):
    file = tmp_path / "ssl.config"
    make_ssl_config(file)
    config = text_format.Parse(file.read_text(), SSLConfig())
    other = make_ssl_config(tmp_path / "other.config")[1].decode()
    config.server_key = other if key == "other" else key
    file.write_text(text_format.MessageToString(config))
    with pytest.raises(InvalidRequestError, match="must hold a key and its certificat"):
        tls.server_context(file)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("nonsense", "Invalid protobuf file: '"),
        ("", "must hold the PEM of a `server_key`"),
        ('server_key: "k" server_cert: "c" client_verify: true', "`custom_ca`"),
    ],
)
def test_an_ssl_config_that_cannot_be_is_refused(tmp_path, content, text):
    file = tmp_path / "ssl.config"
    file.write_text(content)
    with pytest.raises(InvalidRequestError) as caught:
        tls.server_credentials(file)
    assert text in str(caught.value)


def test_keys_that_are_no_pair_end_the_start_with_a_clear_line(digits_store):
    file = digits_store / "ssl.config"
    certificate, _ = make_ssl_config(digits_store / "other.config")
    make_ssl_config(file)
    config = text_format.Parse(file.read_text(), SSLConfig())
    config.server_cert = certificate.decode()
    file.write_text(text_format.MessageToString(config))
    *_, last = refused(
        f"--store={digits_store}",
        "--port=0",
        "--rest_api_port=-1",
        f"--ssl_config_file={file}",
    )
    assert last.startswith("error: Cannot listen on 127.0.0.1:0 for gRPC: ")
    assert "must hold a key and its certificate" in last


def test_a_socket_alone_is_served_and_one_left_behind_is_replaced(digits_store):
    socket_path = digits_store / "socket"
    arguments = [f"--grpc_socket_path={socket_path}", "--rest_api_port=0"]
    for _ in range(2):  # the first one is killed, and leaves its socket
        process = subprocess.Popen(
            [sys.executable, "-m", "serving", f"--store={digits_store}", "--port=-1"]
            + arguments,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert f"gRPC unix:{socket_path}, REST" in process.stdout.readline()
            with grpc.insecure_channel(f"unix:{socket_path}") as channel:
                assert predict(channel) == 1
        finally:
            process.kill()
            process.communicate(timeout=30)


def test_rest_is_left_out_where_it_has_the_port_of_grpc(digits_store):
    port = free_port()
    with serving(
        f"--store={digits_store}", f"--port={port}", f"--rest_api_port={port}"
    ) as server:
        assert (server.port, server.rest_port) == (str(port), None)
        server.end()
    assert "Skipped exporting HTTP/REST API" in server.stderr


def test_health_is_not_answered_where_it_is_switched_off(digits_store):
    arguments = ["--enable_grpc_healthcheck_service=false", "--mixed_precision=x"]
    with serving(f"--store={digits_store}", *arguments) as server:
        with pytest.raises(grpc.RpcError) as caught:
            server.health()
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
        server.end()
    assert server.stderr.count("--mixed_precision has no effect") == 1
