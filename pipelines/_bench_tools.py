"""Load from `h2load` and `wrk`, which leave the cores to the servers.

Both are programs in C (Debian: nghttp2-client, wrk). Where one is not on PATH, and for
what it cannot do, such as going on until it is told to stop, the load generator in
Python does its work.
"""

import dataclasses
import json
import math
import pathlib
import re
import shutil
import struct
import subprocess
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines import _bench_cells as cells
from pipelines._bench_statistics import Samples, Timing, timing
from savedmodels.errors import MaaskitError

H2LOAD, WRK = "h2load", "wrk"
# Which of them speaks what, and the package of Debian that has it.
OF_PROTOCOL = {cells.GRPC: H2LOAD, cells.REST: WRK}
PACKAGES = {H2LOAD: "nghttp2-client", WRK: "wrk"}

CALLS_PER_CONNECTION = 16  # of gRPC
_LONGER = 5  # times the seconds asked for, where a server is slow
_LIMIT_S = 120  # beyond what was asked for
_WHOLE = 0.9  # of the bytes of all answers; less is a status in place of some
_HEADERS = ("content-type: application/grpc", "te: trailers")
# What wrk prints at its end; without it, percentiles are rounded for people.
_SCRIPT = """
local file = assert(io.open({body}, "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "application/json"
file:close()
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{{"requests": %d, "us": %d, "mean_us": %f, "p50_us": %f, "p99_us": %f, '
    .. '"failed": %d}}\\n',
    summary.requests, summary.duration, latency.mean, latency:percentile(50),
    latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What is to be sent.

    Attributes:
        protocol: `cells.GRPC` or `cells.REST`.
        address: `host:port`.
        path: Of the request.
        body: File of the request's bytes.
        in_flight: Requests on their way at any time.
        is_encrypted: Whether the server speaks TLS.
        answer_bytes: Size of the message that is expected; of gRPC alone.
        warmup_s: Seconds before it counts.
        seconds: Seconds that count.
    """

    protocol: str
    address: str
    path: str
    body: pathlib.Path
    in_flight: int
    is_encrypted: bool = False
    answer_bytes: int = 0
    warmup_s: float
    seconds: float


class _NoAnswerError(ValueError):
    """A slow server, perhaps: in a longer time there may be answers."""


def found() -> dict[str, str]:
    """Returns, by protocol, the tool that is on PATH for it."""
    return {
        protocol: tool for protocol, tool in OF_PROTOCOL.items() if shutil.which(tool)
    }


def measure(load: Load, folder: pathlib.Path) -> Timing:
    """Times one cell by the tool of its protocol.

    Args:
        load: What is sent.
        folder: Takes the tool's files.

    Raises:
        MaaskitError: The tool fails, or a request does.
    """
    one = _h2load if load.protocol == cells.GRPC else _wrk
    longer = dataclasses.replace(load, seconds=_LONGER * load.seconds)
    try:
        try:
            answered = one(load, folder)
        except _NoAnswerError:
            answered = one(longer, folder)
        else:
            if answered.requests < load.in_flight:
                answered = one(longer, folder)
    except ValueError as error:
        tool = OF_PROTOCOL[load.protocol]
        raise MaaskitError(f"`{tool}` at {load.address}{load.path}: {error}") from error
    return answered


def _h2load(load: Load, folder: pathlib.Path) -> Timing:
    message = load.body.read_bytes()
    body, log = folder / "h2load.body", folder / "h2load.log"
    body.write_bytes(b"\0" + struct.pack(">I", len(message)) + message)
    log.unlink(missing_ok=True)  # It is appended to.
    connections = math.ceil(load.in_flight / CALLS_PER_CONNECTION)
    scheme = "https" if load.is_encrypted else "http"
    text = _run(
        [
            H2LOAD,
            f"--duration={math.ceil(load.warmup_s + load.seconds)}",
            f"--clients={connections}",
            f"--max-concurrent-streams={math.ceil(load.in_flight / connections)}",
            f"--data={body}",
            *(f"--header={header}" for header in _HEADERS),
            f"--log-file={log}",
            f"{scheme}://{load.address}{load.path}",
        ],
        load,
    )
    if not log.is_file():
        raise ValueError(f"It has measured nothing. {text.strip()[-500:]}")
    rows = np.loadtxt(log, dtype=np.int64, ndmin=2)
    return of_h2load(text, rows, load)


def of_h2load(text: str, rows: np.ndarray, load: Load) -> Timing:
    """Returns the figures of a run of h2load.

    Args:
        text: What it printed.
        rows: Its log: when each request began [us], HTTP status, how long it took [us].
        load: What was sent.

    Raises:
        ValueError: A request failed, or none was answered in time.
    """
    if not len(rows):
        raise _NoAnswerError("No request was answered in time to be counted.")
    wrong = rows[rows[:, 1] != 200]  # noqa: PLR2004 -- HTTP's OK
    if len(wrong):
        raise ValueError(f"{len(wrong)} requests failed. Received: {wrong[0, 1]}.")
    data = re.search(r"\((\d+)\) data$", text, re.MULTILINE)
    expected = _WHOLE * len(rows) * load.answer_bytes
    if data is None or int(data[1]) < max(1, expected):
        # gRPC's statuses are in trailers, which it does not look at.
        raise ValueError(
            "It was answered with a status in place of messages. Expected "
            f"{load.answer_bytes} bytes a request. Received: {data and data[1]} for "
            f"{len(rows)}."
        )
    starts = rows[:, 0] / 1e6
    ends = starts + rows[:, 2] / 1e6
    order = np.argsort(ends)
    begin = float(starts.min()) + load.warmup_s
    return timing(Samples(begin, float(ends.max()), starts[order], ends[order]))


def _wrk(load: Load, folder: pathlib.Path) -> Timing:
    script = folder / "wrk.lua"
    script.write_text(_SCRIPT.format(body=json.dumps(str(load.body))))
    command = [
        WRK,
        "--threads=1",
        f"--connections={load.in_flight}",
        f"--timeout={_LIMIT_S}s",
        f"--script={script}",
    ]
    url = f"http://{load.address}{load.path}"
    for seconds in (load.warmup_s, load.seconds):  # It takes whole ones alone.
        text = _run([*command, f"--duration={math.ceil(seconds)}s", url], load)
    return of_wrk(text)


def of_wrk(text: str) -> Timing:
    """Returns the figures of a run of wrk with the script above.

    Args:
        text: What it printed.

    Raises:
        ValueError: A request failed, or none was answered in time.
    """
    lines = [line for line in text.splitlines() if line.startswith('{"requests"')]
    if not lines:
        raise ValueError(f"It has measured nothing. {text.strip()[-500:]}")
    told: dict[str, Any] = json.loads(lines[-1])
    if told["failed"]:
        raise ValueError(f"{told['failed']} requests failed.")
    if not told["requests"]:
        raise _NoAnswerError("No request was answered in time to be counted.")
    return Timing(
        requests_per_s=told["requests"] / told["us"] * 1e6,
        mean_ms=told["mean_us"] / 1000,
        p50_ms=told["p50_us"] / 1000,
        p99_ms=told["p99_us"] / 1000,
        requests=told["requests"],
    )


def _run(command: Sequence[str], load: Load) -> str:
    """What a tool prints; it ends with this process's own interruption."""
    limit_s = load.warmup_s + load.seconds + _LIMIT_S
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=limit_s
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"It did not end within {limit_s:g} s.") from error
    if done.returncode:
        raise ValueError((done.stderr or done.stdout).strip()[-500:])
    return done.stdout
