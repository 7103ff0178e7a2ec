"""What `make bench` measures: contenders, the cells of its table, and their order."""

import dataclasses
import importlib.util
from collections.abc import Mapping, Sequence

GRPC, REST, CALLS = "gRPC", "REST", "calls"
ROWS = (1, 32)
IN_FLIGHT = (1, 16, 64)

LITERT = "maaskit, LiteRT"
TENSORFLOW = "maaskit, TensorFlow"
GRPCIO = "maaskit, grpcio"
SHIM = "maaskit, shim"
TLS = "maaskit, TLS"
EMPTY = "empty gRPC"
BY_HAND = "uvicorn by hand"
KERAS = "Keras by hand"
FASTAPI, FLASK = "FastAPI", "Flask"
LITSERVE, BENTOML = "LitServe", "BentoML"
IN_PROCESS = "in process"

# REST servers of others, and the package of each; the extra `bench` has them all.
PACKAGES: Mapping[str, str] = {
    FASTAPI: "fastapi",
    FLASK: "flask",
    LITSERVE: "litserve",
    BENTOML: "bentoml",
}
# What is measured where a package is not installed: the same work, written by hand.
STAND_INS: Mapping[str, str] = {FASTAPI: BY_HAND, FLASK: KERAS}

ABOUT: Mapping[str, str] = {
    LITERT: "`python -m serving --prefer_tflite_model=true`",
    TENSORFLOW: "`python -m serving --prefer_tflite_model=false`",
    GRPCIO: "the first of the servers above with `--grpc_engine=grpcio`",
    SHIM: "`python -m serving --upstream=` in front of the first of the servers above",
    TLS: "the first of the servers above with `--ssl_config_file`",
    EMPTY: "a `grpc.aio` handler that returns as many bytes, all zero",
    BY_HAND: "uvicorn, one thread: `json`, a call of the SavedModel for each request, "
    "`json`",
    KERAS: "`http.server`, a thread a connection, one `model.predict` at a time, of a "
    "Keras model that holds the SavedModel",
    FASTAPI: "FastAPI on uvicorn: a `def` endpoint, a call of the SavedModel for each "
    "request",
    FLASK: "Flask on its own server, which takes a connection and a thread for each "
    "request: one `model.predict` at a time, of a Keras model that holds the "
    "SavedModel",
    LITSERVE: "LitServe, one worker: batches of up to 64 requests, 2 ms",
    BENTOML: "BentoML, one worker: adaptive batching of up to 64 rows",
    IN_PROCESS: '`signatures["serving_default"]` in TensorFlow, one call after another',
}


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """One thing that is timed in every round.

    Attributes:
        protocol: `GRPC`, `REST`, or `CALLS` where there is no server.
        rows: Rows of a request.
        in_flight: Requests that are on their way at any time.
        contender: Who answers.
    """

    protocol: str
    rows: int
    in_flight: int
    contender: str


def peers() -> list[str]:
    """Returns the REST servers of others that can be measured, stand-ins included."""
    found = [name if _is_there(name) else STAND_INS.get(name) for name in PACKAGES]
    return [name for name in found if name is not None]


def missing() -> list[str]:
    """Returns those whose package is not installed."""
    return [name for name in PACKAGES if not _is_there(name)]


def _is_there(name: str) -> bool:
    return importlib.util.find_spec(PACKAGES[name]) is not None


def groups(
    engines: Sequence[str], peers: Sequence[str], *, tls: bool
) -> list[list[Cell]]:
    """Returns the cells; those of a group are compared, so they are timed together.

    Args:
        engines: The engines that the version can be run by, `LITERT` or `TENSORFLOW`.
        peers: The REST servers of others.
        tls: Whether an encrypted server is there.
    """
    found = []
    for rows in ROWS:
        extra = [SHIM, *([TLS] if tls else [])] if rows == 1 else []
        for in_flight in IN_FLIGHT:
            names = [*engines, GRPCIO, *extra, EMPTY]
            cells = [Cell(GRPC, rows, in_flight, name) for name in names]
            if in_flight == 1:
                cells.append(Cell(CALLS, rows, 1, IN_PROCESS))
            found.append(cells)
            names = [*engines, *peers]
            found.append([Cell(REST, rows, in_flight, name) for name in names])
    return found


def rotated(cells: Sequence[Cell], number: int) -> list[Cell]:
    """Returns the cells in the order of a round: each begins with another one.

    Args:
        cells: A group.
        number: Number of the round, from 0.
    """
    start = number % len(cells)
    return [*cells[start:], *cells[:start]]
