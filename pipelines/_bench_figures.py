"""The figures of `make bench`: what is divided by what, round by round.

A ratio is taken within a round, whose cells were timed one after the other, and only
then summed up over rounds: what slows the machine for a while slows both sides of it.
"""

import dataclasses
from collections.abc import Sequence

from pipelines import _bench_rounds as rounds
from pipelines._bench_cells import (
    CALLS,
    EMPTY,
    GRPC,
    GRPCIO,
    IN_PROCESS,
    REST,
    SHIM,
    TLS,
    Cell,
)
from pipelines._bench_rounds import Others, Timings
from pipelines._bench_statistics import Spread, Timing, spread

ROUND_TRIP = (1, 1)  # rows, in flight
MANY = (1, 64)
CONNECTIONS = (1, 16)
BATCHES = (32, 16)


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """One line of the second table.

    Attributes:
        contender: Whom it is about.
        name: What it is.
        definition: How it comes about, in words.
        values: One a round.
    """

    contender: str
    name: str
    definition: str
    values: Sequence[float]

    @property
    def spread(self) -> Spread:
        """Median and range over the rounds."""
        return spread(self.values)


def figures(
    engines: Sequence[str], peers: Sequence[str], timings: Timings, others: Others
) -> list[Figure]:
    """Returns all figures, engine by engine, then of grpcio, the shim and TLS.

    Args:
        engines: The engines that were measured.
        peers: The REST servers of others that were.
        timings: Of every cell, one a round.
        others: What else was measured.
    """
    found = []
    for engine in engines:
        found += _of_engine(engine, peers, timings, others)
    found += _of_grpcio(engines[0], timings)
    found += _beside(SHIM, "the shim", engines[0], timings)
    if Cell(GRPC, *ROUND_TRIP, TLS) in timings:
        # TLS is grpcio's.
        found += _beside(TLS, "TLS", GRPCIO, timings)
    return found


def _of_engine(
    engine: str, peers: Sequence[str], timings: Timings, others: Others
) -> list[Figure]:
    def ratio(name: str, definition: str, above: Cell, below: Cell) -> Figure:
        value = _mean_ms if above.in_flight == 1 else _rows_per_s
        pairs = zip(timings[above], timings[below], strict=True)
        values = [value(above, a) / value(below, b) for a, b in pairs]
        return Figure(engine, name, definition, values)

    def other(name: str, definition: str) -> Figure:
        return Figure(engine, name, definition, others[engine, name])

    calls = {rows: Cell(CALLS, rows, 1, IN_PROCESS) for rows in (1, BATCHES[0])}
    loading = others[engine, rounds.P99_LOADING_MS]
    quiet = others[engine, rounds.P99_QUIET_MS]
    return [
        ratio(
            "gRPC / empty gRPC",
            "requests/s by gRPC, 1 row, 64 in flight, divided by the empty server's",
            Cell(GRPC, *MANY, engine),
            Cell(GRPC, *MANY, EMPTY),
        ),
        ratio(
            "gRPC / in process",
            "the same requests/s, divided by calls/s of 1 row in process",
            Cell(GRPC, *MANY, engine),
            calls[1],
        ),
        *(
            ratio(
                f"REST / {peer}",
                "requests/s by REST, 1 row, 16 connections, divided by that server's",
                Cell(REST, *CONNECTIONS, engine),
                Cell(REST, *CONNECTIONS, peer),
            )
            for peer in peers
            if Cell(REST, *CONNECTIONS, peer) in timings
        ),
        ratio(
            "rows/s / in process",
            "rows/s by gRPC, 32 rows a request, 16 in flight, divided by rows/s of "
            "calls of 32 rows in process",
            Cell(GRPC, *BATCHES, engine),
            calls[BATCHES[0]],
        ),
        ratio(
            "latency / in process",
            "mean latency by gRPC, 1 row, 1 in flight, divided by the mean time of a "
            "call of 1 row in process",
            Cell(GRPC, *ROUND_TRIP, engine),
            calls[1],
        ),
        other(
            rounds.P99_LOADING_MS,
            f"gRPC, 1 row, {rounds.LOADING_IN_FLIGHT} in flight: requests under way "
            "between a version's rename into the store and the end of the one before",
        ),
        other(rounds.P99_QUIET_MS, "of the other requests of the same clients"),
        Figure(
            engine,
            "p99 loading / p99 before and after",
            "the first of these two divided by the second",
            [a / b for a, b in zip(loading, quiet, strict=True)],
        ),
        other(
            rounds.COLD_START_S,
            "from the start of the process to its first right answer by gRPC, over a "
            "store of this version alone",
        ),
        other(rounds.RESIDENT_MB, "VmRSS of that process then, in 10^6 bytes"),
    ]


def _of_grpcio(engine: str, timings: Timings) -> list[Figure]:
    """What the other gRPC engine has to show for itself."""
    return [
        Figure(
            GRPCIO,
            f"gRPC / {what}",
            f"requests/s by gRPC, 1 row, 64 in flight, divided by {whose}",
            [
                a.requests_per_s / b.requests_per_s
                for a, b in zip(
                    timings[Cell(GRPC, *MANY, GRPCIO)],
                    timings[Cell(GRPC, *MANY, other)],
                    strict=True,
                )
            ],
        )
        for what, other, whose in (
            ("empty gRPC", EMPTY, "the empty server's"),
            ("the native engine", engine, f"those of `{engine}`"),
        )
    ]


def _beside(name: str, what: str, engine: str, timings: Timings) -> list[Figure]:
    """What something in front of a server adds to it."""
    above = timings[Cell(GRPC, *ROUND_TRIP, name)]
    below = timings[Cell(GRPC, *ROUND_TRIP, engine)]
    return [
        Figure(
            name,
            f"{what} adds at p50, ms",
            f"p50 by gRPC, 1 row, 1 in flight, less that of `{engine}` without it",
            [a.p50_ms - b.p50_ms for a, b in zip(above, below, strict=True)],
        )
    ]


def _rows_per_s(cell: Cell, timing: Timing) -> float:
    return timing.requests_per_s * cell.rows


def _mean_ms(cell: Cell, timing: Timing) -> float:
    del cell
    return timing.mean_ms
