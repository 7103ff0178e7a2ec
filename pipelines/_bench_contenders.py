"""Starts everything that `make bench` compares, and has each answer once."""

import dataclasses
import pathlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from google.protobuf import text_format

from pipelines import _bench_cells as cells
from pipelines import _bench_tools
from pipelines._bench_processes import Process, Processes
from pipelines._bench_requests import PREDICT, Requests
from savedmodels import store
from savedmodels.serving_protos import SSLConfig

# How often servers look for new versions, so that loading begins when one is there.
POLL_S = 0.1

_ENGINE_FLAGS = {
    cells.LITERT: "--prefer_tflite_model=true",
    cells.TENSORFLOW: "--prefer_tflite_model=false",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Where one contender is asked by one protocol.

    Attributes:
        address: `host:port`.
        paths: Path of the request, by its rows.
        certificate: What a client checks the server with; None without TLS.
    """

    address: str
    paths: Mapping[int, str]
    certificate: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Contenders:
    """What runs.

    Attributes:
        engines: The engines that the version can be run by.
        peers: The REST servers of others.
        stores: The folder that each of them serves; versions may be added.
        targets: By contender and protocol.
        in_process: Calls the SavedModel without a server.
        load: The load generator in Python.
        tools: By protocol, the tool that is measured with instead; see `_bench_tools`.
        answer_bytes: Size of an answer by gRPC, by its rows.
        requests: What is sent.
        version: Folder of the version that all of them answer from.
        model: Its model's name.
        folder: Takes what is written while they run.
    """

    engines: Sequence[str]
    peers: Sequence[str]
    stores: Mapping[str, pathlib.Path]
    targets: Mapping[tuple[str, str], Target]
    in_process: Process
    load: Process
    tools: Mapping[str, str]
    answer_bytes: Mapping[int, int]
    requests: Requests
    version: pathlib.Path
    model: str
    folder: pathlib.Path

    @property
    def has_tls(self) -> bool:
        """Whether one of the servers is encrypted."""
        return (cells.TLS, cells.GRPC) in self.targets


def start(processes: Processes, version: pathlib.Path, model: str) -> Contenders:
    """Starts all of them; they run at once, but only one is asked at a time.

    Args:
        processes: Takes the processes; its folder copies of the version, requests
            and keys.
        version: Folder of the version.
        model: Its model's name.

    Raises:
        MaaskitError: One does not start, or gives a wrong answer.
    """
    folder = processes.folder
    in_process = processes.start(
        cells.IN_PROCESS, "pipelines._bench_in_process", version
    )
    rows = list(cells.ROWS)
    in_process.job({"job": "prepare", "rows": rows, "folder": str(folder)})
    requests = Requests(folder, model)
    engines = [cells.TENSORFLOW]
    if (version / store.LITERT_MODEL).is_file():
        engines.insert(0, cells.LITERT)
    stores = {}
    targets: dict[tuple[str, str], Target] = {}
    for number, engine in enumerate(engines):
        stores[engine] = folder / f"store-{number}"
        publish(version, stores[engine] / model, 1)
        _, grpc, rest = serve(processes, engine, stores[engine])
        targets[engine, cells.GRPC] = _target(grpc, PREDICT)
        targets[engine, cells.REST] = _target(rest, requests.rest_path)
    # Of its own: new versions appear in those above, for one server at a time to load.
    steady = folder / "store-steady"
    publish(version, steady / model, 1)
    _, grpc, _ = serve(processes, engines[0], steady, "--grpc_engine=grpcio")
    targets[cells.GRPCIO, cells.GRPC] = _target(grpc, PREDICT)
    upstream = targets[engines[0], cells.GRPC].address
    _, grpc, _ = processes.serve(cells.SHIM, f"--upstream={upstream}")
    targets[cells.SHIM, cells.GRPC] = _target(grpc, PREDICT)
    if shutil.which("openssl"):
        certificate, flag = _make_key(folder)
        _, grpc, _ = serve(processes, engines[0], steady, flag)
        target = Target(grpc, dict.fromkeys(cells.ROWS, PREDICT), certificate)
        targets[cells.TLS, cells.GRPC] = target
    peers = cells.peers()
    _start_peers(processes, peers, version, requests.rest_path, targets)
    in_process.answer()  # which took as long as the others' start
    sizes = _check(requests, targets, engines[0])
    empty = processes.start(
        cells.EMPTY, "pipelines._bench_peers", cells.EMPTY, *sizes.values()
    )
    paths = {rows: f"/empty.Empty/{size}" for rows, size in sizes.items()}
    targets[cells.EMPTY, cells.GRPC] = Target(_ready_at(empty), paths)
    load = processes.start("load generator", "pipelines._bench_load")
    return Contenders(
        engines=engines,
        peers=peers,
        stores=stores,
        targets=targets,
        in_process=in_process,
        load=load,
        tools=_bench_tools.found(),
        answer_bytes=sizes,
        requests=requests,
        version=version,
        model=model,
        folder=folder,
    )


def serve(
    processes: Processes, engine: str, folder: pathlib.Path, *flags: str
) -> tuple[Process, str, str]:
    """Starts a server over a store; see `Processes.serve`."""
    return processes.serve(
        engine,
        f"--store={folder}",
        _ENGINE_FLAGS[engine],
        f"--file_system_poll_wait_seconds={POLL_S}",
        *flags,
    )


def publish(version: pathlib.Path, base_path: pathlib.Path, number: int) -> None:
    """Puts a copy of a version into a store, in one rename as an export does."""
    base_path.mkdir(parents=True, exist_ok=True)
    staging = base_path / f".writing-{number}"
    shutil.copytree(version, staging)
    staging.rename(base_path / str(number))


def _target(address: str, path: str) -> Target:
    return Target(address, dict.fromkeys(cells.ROWS, path))


def _start_peers(
    processes: Processes,
    peers: Sequence[str],
    version: pathlib.Path,
    path: str,
    targets: dict[tuple[str, str], Target],
) -> None:
    """Starts the REST servers of others, all at the same time."""
    started = {
        name: processes.start(name, "pipelines._bench_peers", name, version, path)
        for name in peers
    }
    for name, process in started.items():
        targets[name, cells.REST] = _target(_ready_at(process), path)


def _ready_at(process: Process) -> str:
    return process.line().split()[1]


def _check(
    requests: Requests, targets: Mapping[tuple[str, str], Target], engine: str
) -> dict[int, int]:
    """Asks everyone for every size; returns how large an engine's answers are."""
    sizes = {}
    for rows in cells.ROWS:
        for (name, protocol), target in targets.items():
            if protocol == cells.REST:
                requests.check_rest(name, target.address, rows)
                continue
            size = requests.check_grpc(name, target.address, rows, target.certificate)
            if name == engine:
                sizes[rows] = size
    return sizes


def _make_key(folder: pathlib.Path) -> tuple[pathlib.Path, str]:
    """A certificate for this benchmark alone, and the flag that serves with it."""
    key, certificate = folder / "server.key", folder / "server.pem"
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
        "-days 2 -subj /CN=bench -addext subjectAltName=IP:127.0.0.1".split()
        + ["-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    config = SSLConfig(server_key=key.read_text(), server_cert=certificate.read_text())
    file = folder / "ssl.config"
    file.write_text(text_format.MessageToString(config))
    return certificate, f"--ssl_config_file={file}"
