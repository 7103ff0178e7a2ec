"""The rounds of `make bench`: every cell once, cold starts, loads of new versions."""

import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np

from pipelines import _bench_cells as cells
from pipelines import _bench_contenders as contenders
from pipelines import _bench_tools
from pipelines._bench_cells import Cell
from pipelines._bench_contenders import Contenders
from pipelines._bench_processes import Processes
from pipelines._bench_statistics import Samples, Timing, during, percentile, timing
from savedmodels.errors import MaaskitError
from serving.grpc_client import GrpcClient

# What is measured beside the cells, by engine.
COLD_START_S = "cold start, s"
RESIDENT_MB = "resident memory at the first answer, MB"
P99_LOADING_MS = "p99 while a new version loads, ms"
P99_QUIET_MS = "p99 before and after, ms"

# One value a round: of a cell, or of an engine and one of the names above.
Timings = dict[Cell, list[Timing]]
Others = dict[tuple[str, str], list[float]]

LOADING_IN_FLIGHT = 16
_LOADS = 3  # new versions in a round
_WARMUP = 0.25  # of the seconds of a cell
_LOAD_LIMIT_S = 120
_LOOK_S = 0.01
_LOADED = {"START", "LOADING", "AVAILABLE", "UNLOADING"}


class Rounds:
    """Measures, round by round."""

    def __init__(
        self,
        processes: Processes,
        running: Contenders,
        seconds: float,
    ) -> None:
        """Prepares; `measure` does a round.

        Args:
            processes: Takes the servers that are started cold.
            running: Everybody else.
            seconds: How long each cell is measured, without its warm-up.
        """
        self._processes = processes
        self.running = running
        self._seconds = seconds
        self._newest = dict.fromkeys(running.engines, 1)
        self._groups = cells.groups(running.engines, running.peers, tls=running.has_tls)
        self.timings: Timings = defaultdict(list)
        self.others: Others = defaultdict(list)
        self.failed: dict[Cell, str] = {}  # of peers, and why
        self._samples_file = running.folder / "samples.npy"
        self._cold_store = running.folder / "cold"
        contenders.publish(running.version, self._cold_store / running.model, 1)

    @property
    def steps(self) -> int:
        """How often `measure` reports progress."""
        return sum(map(len, self._groups)) + 2 * len(self.running.engines)

    def measure(self, number: int, done: Callable[[int], None]) -> None:
        """Measures everything once.

        Args:
            number: Number of the round, from 0.
            done: Called with 1 after each step.

        Raises:
            MaaskitError: A process ended, or a request to one of our servers failed.
        """
        for group in self._groups:
            for cell in cells.rotated(group, number):
                self._measure_cell(cell)
                done(1)
        for engine in self.running.engines:
            self._start_cold(engine)
            done(1)
            self._load_versions(engine)
            done(1)

    def _measure_cell(self, cell: Cell) -> None:
        """Times a cell; a peer that fails under its load is measured elsewhere."""
        if cell in self.failed:
            return
        try:
            self.timings[cell].append(self._time(cell))
        except MaaskitError as error:
            if cell.contender not in self.running.peers:
                raise
            self.failed[cell] = str(error)
            self.timings.pop(cell, None)

    def _time(self, cell: Cell) -> Timing:
        if cell.protocol in self.running.tools:
            return _bench_tools.measure(self._tools_load(cell), self.running.folder)
        if cell.protocol == cells.CALLS:
            worker = self.running.in_process
            worker.job(
                {
                    "job": "measure",
                    "inputs": str(self.running.requests.inputs(cell.rows)),
                    **self._job(self._seconds),
                }
            )
        else:
            worker = self.running.load
            worker.job(self._load_job(cell, self._seconds))
        return timing(self._samples(worker.answer(self._seconds + _LOAD_LIMIT_S)))

    def _job(self, seconds: float | None) -> dict[str, object]:
        return {
            "warmup_s": self._seconds * _WARMUP,
            "seconds": seconds,
            "samples": str(self._samples_file),
        }

    def _load_job(self, cell: Cell, seconds: float | None) -> dict[str, object]:
        target = self.running.targets[cell.contender, cell.protocol]
        body = self.running.requests.body(cell.protocol, cell.rows)
        return {
            "protocol": cell.protocol,
            "address": target.address,
            "path": target.paths[cell.rows],
            "certificate": target.certificate and str(target.certificate),
            "body": str(body),
            "in_flight": cell.in_flight,
            **self._job(seconds),
        }

    def _tools_load(self, cell: Cell) -> _bench_tools.Load:
        running = self.running
        target = running.targets[cell.contender, cell.protocol]
        return _bench_tools.Load(
            protocol=cell.protocol,
            address=target.address,
            path=target.paths[cell.rows],
            body=running.requests.body(cell.protocol, cell.rows),
            in_flight=cell.in_flight,
            is_encrypted=target.certificate is not None,
            answer_bytes=running.answer_bytes[cell.rows],
            warmup_s=self._seconds * _WARMUP,
            seconds=self._seconds,
        )

    def _samples(self, answer: dict[str, float]) -> Samples:
        starts, ends = np.load(self._samples_file)
        return Samples(answer["begin"], answer["end"], starts, ends)

    def _start_cold(self, engine: str) -> None:
        """From the start of a process to its first answer, and its memory then."""
        begin = time.monotonic()
        process, address, _ = contenders.serve(
            self._processes, engine, self._cold_store
        )
        self.running.requests.check_grpc(engine, address, 1, None)
        self.others[engine, COLD_START_S].append(time.monotonic() - begin)
        self.others[engine, RESIDENT_MB].append(process.resident_mb())
        self._processes.stop(process)

    def _load_versions(self, engine: str) -> None:
        """Publishes versions one after the other while requests come in."""
        cell = Cell(cells.GRPC, 1, LOADING_IN_FLIGHT, engine)
        load = self.running.load
        load.job(self._load_job(cell, None))
        windows = []
        pause_s = self._seconds / _LOADS
        address = self.running.targets[engine, cells.GRPC].address
        try:
            time.sleep(self._seconds * _WARMUP + pause_s)
            with GrpcClient(address) as client:
                for _ in range(_LOADS):
                    windows.append(self._load_version(engine, client))
                    time.sleep(pause_s)
        finally:
            load.tell("stop")
        samples = self._samples(load.answer())
        inside, outside = during(samples, windows)
        self.others[engine, P99_LOADING_MS].append(percentile(inside, 99))
        self.others[engine, P99_QUIET_MS].append(percentile(outside, 99))

    def _load_version(self, engine: str, client: GrpcClient) -> tuple[float, float]:
        """When a new version appeared, and when the one before it was gone."""
        self._newest[engine] += 1
        newest = self._newest[engine]
        base_path = self.running.stores[engine] / self.running.model
        contenders.publish(self.running.version, base_path, newest)
        begin = time.monotonic()
        while time.monotonic() < begin + _LOAD_LIMIT_S:
            states = {s.version: s.state for s in client.status(self.running.model)}
            older = {state for version, state in states.items() if version < newest}
            if states.get(newest) == "AVAILABLE" and not older & _LOADED:
                return begin, time.monotonic()
            time.sleep(_LOOK_S)
        raise MaaskitError(
            f"`{engine}` has not loaded a new version for {_LOAD_LIMIT_S} s. "
            f"Received: {states}."
        )
