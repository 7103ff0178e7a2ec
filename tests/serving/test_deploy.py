"""The files of `serving/deploy`, held against the server and against each other."""

import importlib.metadata
import importlib.util
import pathlib
import re
import subprocess
import sys
import sysconfig
import threading

import pytest
import yaml
from numpy_predictor import NumpyPredictor, ask, running

from serving import flags, model_config

ROOT = pathlib.Path(__file__).parents[2]
DEPLOY = ROOT / "serving" / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OBJECTS = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
SITE_PACKAGES = pathlib.Path(sysconfig.get_paths()["purelib"])
ENTRYPOINT = ["--host=0.0.0.0"]  # which the image adds; see the test of it


def of_kind(*kinds):
    return {o["metadata"]["name"]: o for o in OBJECTS if o["kind"] in kinds}


PODS = {
    name: o["spec"]["template"]
    for name, o in of_kind("Deployment", "StatefulSet").items()
}


def container(name):
    (only,) = PODS[name]["spec"]["containers"]
    return only


def ports(name):
    return {p["name"]: p["containerPort"] for p in container(name)["ports"]}


def options(arguments):
    """The shim's options; a flag that it has not ends the test."""
    return flags.parse([*ENTRYPOINT, *arguments])


def test_every_object_has_an_api_a_kind_and_a_name_of_its_own():
    keys = [(o["apiVersion"], o["kind"], o["metadata"]["name"]) for o in OBJECTS]
    assert len(set(keys)) == len(keys)
    kinds = {kind for _, kind, _ in keys}
    assert {"Deployment", "Service", "HorizontalPodAutoscaler"} <= kinds
    assert "PodDisruptionBudget" in kinds


def test_selectors_match_the_labels_of_pods():
    selectors = [o["spec"]["selector"] for o in of_kind("Service").values()]
    for kind in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
        for o in of_kind(kind).values():
            selectors.append(o["spec"]["selector"]["matchLabels"])
    labels = [pod["metadata"]["labels"] for pod in PODS.values()]
    assert len(selectors) == 6
    for selector in selectors:
        assert sum(selector.items() <= found.items() for found in labels) == 1
    for name, o in of_kind("Deployment", "StatefulSet").items():
        wanted = o["spec"]["selector"]["matchLabels"]
        assert wanted.items() <= PODS[name]["metadata"]["labels"].items()


def test_services_and_probes_name_ports_that_containers_have():
    for name, service in of_kind("Service").items():
        for port in service["spec"]["ports"]:
            assert ports(name)[port["targetPort"]] == port["port"]
    for name in PODS:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if found := container(name).get(probe):
                assert (found.get("httpGet") or found["tcpSocket"])["port"] in ports(
                    name
                )


def test_the_shim_is_started_with_flags_and_ports_that_it_has():
    told = options(container("shim")["args"])
    assert ports("shim") == {"grpc": told.port, "http": told.rest_api_port}
    assert told.host == "0.0.0.0"
    assert told.upstream
    grace_s = PODS["shim"]["spec"]["terminationGracePeriodSeconds"]
    assert told.drain_s + 5 < grace_s  # 5 are slept before the signal


def test_the_shim_asks_every_server_of_the_set():
    (servers,) = of_kind("StatefulSet").values()
    name, service = servers["metadata"]["name"], servers["spec"]["serviceName"]
    assert of_kind("Service")[service]["spec"]["clusterIP"] == "None"
    assert options(container("shim")["args"]).upstream == tuple(
        f"{name}-{number}.{service}:{ports(name)['grpc']}"
        for number in range(servers["spec"]["replicas"])
    )


def test_probes_ask_paths_that_the_server_answers():
    paths = {
        container("shim")[probe]["httpGet"]["path"]
        for probe in ("readinessProbe", "livenessProbe")
    }
    asked_by_compose = re.findall(
        r"http://127\.0\.0\.1:(\d+)(/\w+)", str(COMPOSE["services"]["shim"])
    )
    assert asked_by_compose == [("8501", "/readyz")]
    with running(NumpyPredictor()) as port:
        for path in paths | {path for _, path in asked_by_compose}:
            assert ask(port, "GET", path)[0] == 200
    with running(NumpyPredictor(), ready=lambda: False) as port:
        path = container("shim")["readinessProbe"]["httpGet"]["path"]
        assert ask(port, "GET", path)[0] == 503
        path = container("shim")["livenessProbe"]["httpGet"]["path"]
        assert ask(port, "GET", path)[0] == 200


def test_tf_serving_is_told_models_in_words_that_it_reads(tmp_path):
    (config,) = of_kind("ConfigMap").values()
    (volume,) = [
        v for v in PODS["tensorflow-serving"]["spec"]["volumes"] if "configMap" in v
    ]
    assert volume["configMap"]["name"] == config["metadata"]["name"]
    mounts = {
        mount["name"]: pathlib.PurePath(mount["mountPath"])
        for mount in container("tensorflow-serving")["volumeMounts"]
    }
    ((file, text),) = config["data"].items()
    flag = f"--model_config_file={mounts[volume['name']] / file}"
    assert flag in container("tensorflow-serving")["args"]
    written = tmp_path / file
    written.write_text(text)
    assert model_config.read(written)
    path = container("tensorflow-serving")["readinessProbe"]["httpGet"]["path"]
    assert path.removeprefix("/v1/models/") in text
    assert f'"{mounts["models"]}/{path.removeprefix("/v1/models/")}"' in text


def test_the_autoscaler_and_budgets_leave_somebody_running():
    for scaler in of_kind("HorizontalPodAutoscaler").values():
        target = scaler["spec"]["scaleTargetRef"]
        deployment = of_kind(target["kind"])[target["name"]]
        assert "replicas" not in deployment["spec"]
        assert "cpu" in container(target["name"])["resources"]["requests"]
        budget = of_kind("PodDisruptionBudget")[target["name"]]
        assert 1 <= budget["spec"]["minAvailable"] < scaler["spec"]["minReplicas"]


def test_compose_starts_the_servers_that_the_shim_asks():
    services = COMPOSE["services"]
    shim = services.pop("shim")
    told = options(shim["command"])
    assert told.upstream == tuple(f"{name}:8500" for name in services)
    assert shim["depends_on"] == list(services)
    published = {int(text.split(":")[1]): text.split(":")[2] for text in shim["ports"]}
    assert published == {told.port: "8500", told.rest_api_port: "8501"}
    assert told.drain_s < int(shim["stop_grace_period"].removesuffix("s"))
    services["shim"] = shim
    context = DEPLOY / shim["build"]["context"]
    assert (context / shim["build"]["dockerfile"]).samefile(DEPLOY / "Dockerfile")
    for name in told.upstream:
        service = services[name.partition(":")[0]]
        (volume,) = service["volumes"]
        source, target, mode = volume.split(":")
        assert (DEPLOY / source).resolve() == ROOT / "artifacts" / "models"
        assert (target, mode) == ("/models", "ro")


def test_images_are_pinned_and_alike_in_both():
    images = {
        service["image"]
        for service in COMPOSE["services"].values()
        if "build" not in service
    } | {container("tensorflow-serving")["image"]}
    (image,) = images
    assert re.fullmatch(r"tensorflow/serving:\d+\.\d+\.\d+", image)
    assert container("shim")["image"] == COMPOSE["services"]["shim"]["image"]


def test_the_image_copies_what_is_there_and_starts_the_server():
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    for source in " ".join(copied).split():
        assert (ROOT / source).exists()
    (entry,) = re.findall(r"^ENTRYPOINT (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert yaml.safe_load(entry)[1:] == ["-m", "serving", *ENTRYPOINT]
    (exposed,) = re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE)
    told = options(["--upstream=a:1"])
    assert exposed.split() == [str(told.port), str(told.rest_api_port)]
    user = PODS["shim"]["spec"]["securityContext"]["runAsUser"]
    assert f"\nUSER {user}\n" in DOCKERFILE


def test_the_image_installs_its_packages_from_the_lock(tmp_path):
    (command,) = re.findall(r"^RUN (awk .*?) > shim.lock$", DOCKERFILE, re.M | re.S)
    for name in ("requirements.lock", "serving/deploy/packages.txt"):
        (tmp_path / pathlib.Path(name).name).symlink_to(ROOT / name)
    lock = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = set(re.findall(r"^([a-z][\w.-]*)==", lock, re.MULTILINE))
    assert found == set((DEPLOY / "packages.txt").read_text().split())
    blocks = re.split(r"^(?=[a-z])", lock, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in block for block in blocks)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The image's packages, TensorFlow cut down to its messages as there."""
    site = tmp_path_factory.mktemp("site")
    for name in (DEPLOY / "packages.txt").read_text().split():
        files = importlib.metadata.distribution(name).files
        for top in {file.parts[0] for file in files} - {"..", "tensorflow"}:
            if not (site / top).exists():
                (site / top).symlink_to(SITE_PACKAGES / top)
    installed = pathlib.Path(importlib.util.find_spec("tensorflow").origin).parent
    kept = [*installed.rglob("*_pb2.py"), installed / "__init__.py"]
    for file in kept:
        copy = site / file.relative_to(installed.parent)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.symlink_to(file)
    return site


def test_the_images_packages_are_all_that_the_shim_needs(site):
    (kept,) = re.findall(r"find tensorflow (.*) -delete", DOCKERFILE)
    assert kept == "-type f ! -name '*_pb2.py' ! -path tensorflow/__init__.py"
    process = subprocess.Popen(
        [sys.executable, "-S", "-m", "serving", "--upstream=127.0.0.1:1"]
        + ["--port=0", "--rest_api_port=0"],
        cwd=ROOT,
        env={"PYTHONPATH": str(site)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(30, process.kill)
    watchdog.start()
    line = process.stdout.readline()
    watchdog.cancel()
    process.terminate()
    _, errors = process.communicate(timeout=30)
    assert line.startswith("serving: gRPC 127.0.0.1:"), errors
    assert process.returncode == 0, errors
