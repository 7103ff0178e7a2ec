"""What `make bench` measures: contenders, the cells of its table, and their order."""

import dataclasses
from collections.abc import Mapping, Sequence

GRPC, REST, CALLS = "gRPC", "REST", "calls"
ROWS = (1, 32)
IN_FLIGHT = (1, 16, 64)

LITERT = "maaskit, LiteRT"
TENSORFLOW = "maaskit, TensorFlow"
SHIM = "maaskit, shim"
TLS = "maaskit, TLS"
EMPTY = "empty gRPC"
BY_HAND = "uvicorn by hand"
KERAS = "Keras by hand"
IN_PROCESS = "in process"

ABOUT: Mapping[str, str] = {
    LITERT: "`python -m serving --prefer_tflite_model=true`",
    TENSORFLOW: "`python -m serving --prefer_tflite_model=false`",
    SHIM: "`python -m serving --upstream=` in front of the first of the servers above",
    TLS: "the first of the servers above with `--ssl_config_file`",
    EMPTY: "a `grpc.aio` handler that returns as many bytes, all zero",
    BY_HAND: "uvicorn, one thread: `json`, a call of the SavedModel for each request, "
    "`json`",
    KERAS: "`http.server`, a thread a connection, one `model.predict` at a time, of a "
    "Keras model that holds the SavedModel",
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


def groups(engines: Sequence[str], *, tls: bool) -> list[list[Cell]]:
    """Returns the cells; those of a group are compared, so they are timed together.

    Args:
        engines: The engines that the version can be run by, `LITERT` or `TENSORFLOW`.
        tls: Whether an encrypted server is there.
    """
    found = []
    for rows in ROWS:
        extra = [SHIM, *([TLS] if tls else [])] if rows == 1 else []
        for in_flight in IN_FLIGHT:
            names = [*engines, *extra, EMPTY]
            cells = [Cell(GRPC, rows, in_flight, name) for name in names]
            if in_flight == 1:
                cells.append(Cell(CALLS, rows, 1, IN_PROCESS))
            found.append(cells)
            names = [*engines, BY_HAND, KERAS]
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
