"""Load by h2load and wrk: what is read from their output, and a run of each."""

import pathlib
import shutil
import threading

import numpy as np
import pytest
from answering import answering
from pygrpc_native import NativeGrpcFront

from pipelines import _bench_cells as cells
from pipelines import _bench_tools as tools
from savedmodels.errors import MaaskitError

PATH = "/package.Service/Method"
# Of h2load 1.52: two clients, eight calls each, one second; the end of it.
H2LOAD = """
finished in 1.03s, 1695.00 req/s, 256.71KB/s
requests: 1695 total, 1711 started, 1695 done, 1695 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 1695 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 256.71KB (262869) total, 3.33KB (3414) headers (space savings 94.70%), 206.91KB (211875) data
                     min         max         mean         sd        +/- sd
time for request:      313us     41.30ms      9.27ms      7.61ms    76.93%
"""  # noqa: E501
# Of wrk 4.1: four connections, one second.
WRK = """Running 1s test @ http://127.0.0.1:39279/ok
  1 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    45.62ms    3.77ms  56.06ms   83.72%
    Req/Sec    85.30      8.59   100.00     70.00%
  86 requests in 1.03s, 9.92KB read
Requests/sec:     83.78
Transfer/sec:      9.67KB
{"requests": 86, "us": 1026446, "mean_us": 45622.511628, "p50_us": 44484.000000, "p99_us": 56065.000000, "failed": 0}
"""  # noqa: E501


def load(**values):
    given = {
        "protocol": cells.GRPC,
        "address": "127.0.0.1:1",
        "path": PATH,
        "body": pathlib.Path("/dev/null"),
        "in_flight": 4,
        "answer_bytes": 120,
        "warmup_s": 0.25,
        "seconds": 0.5,
    }
    return tools.Load(**{**given, **values})


def rows(count=1695, status=200):
    """Requests one after the other, each of a millisecond and its number in us."""
    starts = 1795812367847745 + 1000 * np.arange(count)
    return np.stack([starts, np.full(count, status), 1000 + np.arange(count)], axis=1)


def test_h2loads_log_is_counted_from_the_end_of_the_warm_up():
    found = tools.of_h2load(H2LOAD, rows(), load())
    # The first to end after 250 ms is number 249: 250 ms and its 249 us.
    assert found.requests == 1695 - 249
    assert found.p50_ms == pytest.approx(1.249 + (1694 - 249) / 2 / 1000, abs=0.001)
    # The last one begins after 1,694 ms and takes 2.694 ms.
    assert found.requests_per_s == pytest.approx(1446 / (1.694 + 0.002694 - 0.25))


@pytest.mark.parametrize(
    ("text", "log", "problem"),
    [
        (H2LOAD, rows(0), "No request was answered"),
        (H2LOAD, rows(3, status=-1), "3 requests failed. Received: -1"),
        (H2LOAD.replace("(211875)", "(0)"), rows(), "a status in place of messages"),
        (H2LOAD.replace("(211875)", "(150000)"), rows(), "Received: 150000 for 1695"),
        ("connect failed", rows(), "a status in place of messages"),
    ],
)
def test_a_run_of_h2load_with_failures_is_none(text, log, problem):
    with pytest.raises(ValueError, match=problem):
        tools.of_h2load(text, log, load())


def test_wrks_last_line_has_its_figures():
    found = tools.of_wrk(WRK)
    assert found.requests == 86
    assert found.requests_per_s == pytest.approx(86 / 1.026446)
    assert (found.mean_ms, found.p50_ms) == pytest.approx((45.622511628, 44.484))
    assert found.p99_ms == pytest.approx(56.065)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (WRK.replace('"failed": 0', '"failed": 96'), "96 requests failed"),
        (WRK.replace('"requests": 86', '"requests": 0'), "No request was answered"),
        ("attempt to call nil", "attempt to call nil"),
    ],
)
def test_a_run_of_wrk_with_failures_is_none(text, problem):
    with pytest.raises(ValueError, match=problem):
        tools.of_wrk(text)


def test_tools_that_are_not_on_path_leave_their_work_to_python(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tools.found() == {}
    (tmp_path / tools.WRK).touch(mode=0o755)
    assert tools.found() == {cells.REST: tools.WRK}


@pytest.fixture
def front():
    """Answers every call with 120 bytes, and knows one method."""
    front = NativeGrpcFront("127.0.0.1:0", [(PATH, False)], call_details=True)
    front.start()

    def serve():
        while (events := front.recv_batch_details(64)) is not None:
            for event in events:
                front.respond(event[1], bytes(120))

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"127.0.0.1:{front.bound_port}"
    front.close()
    thread.join()


@pytest.mark.skipif(not shutil.which(tools.H2LOAD), reason="h2load is not on PATH")
def test_h2load_measures_a_server_and_tells_of_statuses(front, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(b"request")
    asked = load(address=front, body=body, in_flight=20)
    found = tools.measure(asked, tmp_path)
    assert found.requests >= 20
    assert 0 < found.p50_ms <= found.p99_ms
    wrong = load(address=front, body=body, path="/package.Service/Nosuch")
    with pytest.raises(MaaskitError, match="a status in place of messages"):
        tools.measure(wrong, tmp_path)


@pytest.mark.skipif(not shutil.which(tools.WRK), reason="wrk is not on PATH")
def test_wrk_measures_a_server_and_tells_of_refusals(tmp_path):
    body = tmp_path / "it's a body"
    body.write_text('{"instances": [1]}')
    given = {"protocol": cells.REST, "body": body}
    with answering("well", wait_s=0.01) as server:
        asked = load(**given, address=server.address)
        found = tools.measure(asked, tmp_path)
        assert server.bodies == {body.read_bytes()}
        # Those of the warm-up may be under way when it is over.
        assert 2 <= server.most <= 2 * asked.in_flight
    assert found.requests >= 4
    assert 10 <= found.p50_ms <= found.p99_ms
    with (
        answering("badly", status=400) as server,
        pytest.raises(MaaskitError, match="requests failed"),
    ):
        tools.measure(load(**given, address=server.address), tmp_path)


@pytest.mark.skipif(not shutil.which(tools.WRK), reason="wrk is not on PATH")
def test_a_server_slower_than_a_cell_is_measured_for_longer(tmp_path):
    body = tmp_path / "body"
    body.write_text('{"instances": [1]}')
    with answering("slowly", wait_s=1.5) as server:
        asked = load(protocol=cells.REST, body=body, address=server.address)
        found = tools.measure(asked, tmp_path)
    assert found.requests >= asked.in_flight
    assert found.p50_ms >= 1500
