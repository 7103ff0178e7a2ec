"""The benchmark: its arithmetic, its load generator, and one run of all of it."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from answering import answering
from scoring_parts import scores_of, write_store

from pipelines import _bench_cells as cells
from pipelines import _bench_figures as figures
from pipelines import _bench_report as report
from pipelines import bench_serving
from pipelines._bench_cells import Cell
from pipelines._bench_processes import Processes
from pipelines._bench_requests import Requests
from pipelines._bench_statistics import Samples, Spread, Timing, during, spread, timing
from savedmodels.errors import MaaskitError

ROOT = pathlib.Path(__file__).parents[2]
ENGINES = [cells.LITERT, cells.TENSORFLOW]
PEERS = [cells.BY_HAND, cells.KERAS]
IMAGES = np.random.default_rng(1).integers(0, 256, (2, 2, 3, 1), dtype=np.uint8)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> pathlib.Path:
    """Models whose answers take no time: `light`, and those that cannot be measured."""
    folder = tmp_path_factory.mktemp("store")
    return write_store(folder, ["light", "pair", "length"])


def samples(latencies_s: list[float], begin: float = 0.0) -> Samples:
    """One request a second from second 0 on."""
    starts = np.arange(len(latencies_s), dtype=float)
    ends = starts + latencies_s
    return Samples(begin, float(max(ends)), starts, ends)


def test_a_timing_counts_what_was_answered_after_the_warm_up():
    found = timing(samples([0.1, 0.2, 0.3, 0.4, 0.5], begin=1.0))
    # Four answers, of seconds 1 to 4, in the 3.5 seconds up to the last of them.
    assert found.requests == 4
    assert found.requests_per_s == pytest.approx(4 / 3.5)
    assert found.mean_ms == pytest.approx(350)
    assert found.p50_ms == pytest.approx(300)
    assert found.p99_ms == pytest.approx(500)


def test_p99_is_a_latency_that_99_of_100_requests_do_not_exceed():
    found = timing(samples([ms / 1000 for ms in range(200, 0, -1)]))
    assert found.p99_ms == pytest.approx(198)
    assert found.p50_ms == pytest.approx(100)


def test_a_round_without_answers_is_an_error():
    with pytest.raises(ValueError, match="No request was answered"):
        timing(Samples(5.0, 6.0, np.array([0.0]), np.array([1.0])))


def test_a_request_that_is_under_way_while_a_version_loads_counts_as_inside():
    # Under way from 0.0 to 0.5, 1.0 to 1.9, 2.0 to 2.5, 3.0 to 3.5; the first warms up.
    times = samples([0.5, 0.9, 0.5, 0.5], begin=1.0)
    inside, outside = during(times, [(1.8, 2.2)])
    assert inside == pytest.approx([900, 500])
    assert outside == pytest.approx([500])


def test_the_spread_of_rounds_is_their_median_and_range():
    assert spread([3.0, 9.0, 1.0]) == Spread(3.0, 1.0, 9.0)


def test_every_contender_is_the_first_of_its_group_in_some_round():
    for group in cells.groups(ENGINES, PEERS, tls=True):
        orders = [cells.rotated(group, number) for number in range(len(group))]
        assert {order[0] for order in orders} == set(group)
        assert all(set(order) == set(group) for order in orders)


def all_timings(rates: dict[str, list[float]]) -> dict[Cell, list[Timing]]:
    """Every cell, with so many requests/s in each round; latencies are 1 / rate."""
    return {
        cell: [
            Timing(rate, 1000 / rate, 1000 / rate, 2000 / rate, 100)
            for rate in rates[cell.contender]
        ]
        for group in cells.groups([cells.LITERT], PEERS, tls=True)
        for cell in group
    }


def test_what_is_not_installed_is_written_by_hand_or_left_out(monkeypatch):
    packages = {
        cells.FASTAPI: "json",
        cells.FLASK: "no_such",
        cells.LITSERVE: "no_such",
    }
    monkeypatch.setattr(cells, "PACKAGES", packages)
    assert cells.peers() == [cells.FASTAPI, cells.KERAS]
    assert cells.missing() == [cells.FLASK, cells.LITSERVE]


def test_every_server_that_may_be_measured_is_explained():
    names = {*cells.PACKAGES, *cells.STAND_INS.values()}
    assert names <= cells.ABOUT.keys()


RATES = {
    cells.LITERT: [100.0, 100.0, 400.0],
    cells.GRPCIO: [50.0, 80.0, 100.0],
    cells.SHIM: [50.0, 50.0, 200.0],
    cells.TLS: [80.0, 80.0, 320.0],
    cells.EMPTY: [200.0, 400.0, 400.0],
    cells.BY_HAND: [50.0, 20.0, 50.0],
    cells.KERAS: [10.0, 10.0, 10.0],
    cells.IN_PROCESS: [50.0, 200.0, 100.0],
}
OTHERS = {
    (cells.LITERT, "cold start, s"): [1.0, 2.0, 3.0],
    (cells.LITERT, "resident memory at the first answer, MB"): [70.0, 71.0, 72.0],
    (cells.LITERT, "p99 while a new version loads, ms"): [10.0, 30.0, 20.0],
    (cells.LITERT, "p99 before and after, ms"): [5.0, 5.0, 20.0],
}


def test_ratios_are_taken_within_rounds_and_then_summed_up():
    lines = figures.figures([cells.LITERT], PEERS, all_timings(RATES), OTHERS)
    found = {line.name: line for line in lines if line.contender != cells.GRPCIO}
    assert found["gRPC / empty gRPC"].values == [0.5, 0.25, 1.0]
    assert found["gRPC / empty gRPC"].spread == Spread(0.5, 0.25, 1.0)
    assert found["gRPC / in process"].values == [2.0, 0.5, 4.0]
    assert found["REST / uvicorn by hand"].values == [2.0, 5.0, 8.0]
    assert found["REST / Keras by hand"].values == [10.0, 10.0, 40.0]
    assert found["rows/s / in process"].values == [2.0, 0.5, 4.0]
    # Latencies are 1 / rate, so this is the other way round.
    assert found["latency / in process"].values == [0.5, 2.0, 0.25]
    assert found["p99 loading / p99 before and after"].values == [2.0, 6.0, 1.0]
    assert found["the shim adds at p50, ms"].values == [10.0, 10.0, 2.5]
    # TLS is compared with the engine that speaks it.
    assert found["TLS adds at p50, ms"].values == [-7.5, 0.0, -6.875]
    assert found["cold start, s"].spread == Spread(2.0, 1.0, 3.0)
    found = {line.name: line for line in lines if line.contender == cells.GRPCIO}
    assert found["gRPC / empty gRPC"].values == [0.25, 0.2, 0.25]
    assert found["gRPC / the native engine"].values == [0.5, 0.8, 0.25]


def test_the_table_shows_every_cell_and_defines_every_figure():
    timings = all_timings(RATES)
    lines = figures.figures([cells.LITERT], PEERS, timings, OTHERS)
    text = report.table("Title", {"processor": "a fast one"}, timings, lines, ["Note"])
    assert text.startswith("# Title\n\n- processor: a fast one\n- Note\n")
    rows = [
        [part.strip() for part in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    # Three in flight for each size: gRPC by five or three servers, REST by three.
    assert len(rows) == 2 + 3 * (5 + 3 + 2 * 3) + 2 + 2 + len(lines)
    rates = ["100 (100 to 400)", "10.0 (2.5 to 10.0)", "20.0 (5 to 20.0)"]
    for protocol in ("gRPC", "REST"):
        assert [protocol, "1", "64", cells.LITERT, *rates] in rows
    for figure in lines:
        assert f"\n- {figure.name}: {figure.definition}.\n" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345.6, "12,346"), (99.94, "99.9"), (1.234, "1.23"), (-0.0123, "-0.0123")],
)
def test_numbers_show_three_digits_that_count(value, text):
    assert report.number(value) == text


def test_a_store_without_the_model_is_one_error_that_says_what_to_type(
    tmp_path, capsys
):
    code = bench_serving.main(["mnist_classifier", f"--store={tmp_path}"])
    assert code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "type `make train MODEL=mnist_classifier`" in error


@pytest.mark.parametrize("model", ["pair", "length"])
def test_a_model_that_takes_anything_but_one_array_of_numbers_is_refused(
    store, tmp_path, model, capsys
):
    output = tmp_path / "bench"
    code = bench_serving.main([model, f"--store={store}", f"--output={output}"])
    assert code == 2
    assert "takes one array of numbers" in capsys.readouterr().err
    assert not output.exists()


@pytest.fixture
def requests(tmp_path) -> Requests:
    """Two rows for `light`, and the right answer to them."""
    scores = scores_of(IMAGES).astype(np.float32)
    np.savez(tmp_path / "inputs-2.npz", image=IMAGES)
    np.savez(tmp_path / "answers-2.npz", scores=scores, class_id=scores.argmax(axis=1))
    return Requests(tmp_path, "light")


def predictions() -> list[dict[str, object]]:
    return [
        {"scores": scores.tolist(), "class_id": int(scores.argmax())}
        for scores in scores_of(IMAGES)
    ]


def test_a_right_answer_passes(requests):
    with answering({"predictions": predictions()}) as server:
        requests.check_rest("it", server.address, 2)
        (body,) = server.bodies
    assert json.loads(body) == {"instances": IMAGES.tolist()}


def test_a_wrong_answer_ends_the_benchmark(requests):
    wrong = predictions()
    wrong[1]["class_id"] = 1 - wrong[1]["class_id"]
    with (
        answering({"predictions": wrong}) as server,
        pytest.raises(MaaskitError, match="`it` gives a wrong answer .* `class_id`"),
    ):
        requests.check_rest("it", server.address, 2)


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """The load generator as a process."""
    with Processes(tmp_path_factory.mktemp("load")) as processes:
        yield processes.start("load generator", "pipelines._bench_load")


def job(tmp_path: pathlib.Path, **more: object) -> dict[str, object]:
    (tmp_path / "body").write_bytes(b'{"instances": [1]}')
    return {
        "body": str(tmp_path / "body"),
        "samples": str(tmp_path / "samples.npy"),
        "warmup_s": 0.1,
        "seconds": 0.3,
        **more,
    }


def measured(load, given: dict[str, object]) -> Timing:
    load.job(given)
    answer = load.answer()
    starts, ends = np.load(given["samples"])
    return timing(Samples(answer["begin"], answer["end"], starts, ends))


def test_as_many_requests_are_in_flight_as_were_asked_for(load, tmp_path):
    with answering("well", wait_s=0.02) as server:
        asked = {"protocol": "REST", "address": server.address, "path": "/"}
        found = measured(load, job(tmp_path, **asked, in_flight=4))
        assert server.most == 4
        assert server.bodies == {b'{"instances": [1]}'}
    assert found.p50_ms >= 20
    assert 4 <= found.requests
    # Each of the four may have begun one before the time that counts.
    seconds = found.requests / found.requests_per_s
    assert found.requests <= 4 * (seconds / 0.02 + 1)


@pytest.mark.parametrize("closes", [False, True])
def test_a_server_that_closes_connections_is_measured_too(load, tmp_path, closes):
    with answering("well", wait_s=0.01, closes=closes) as server:
        asked = {"protocol": "REST", "address": server.address, "path": "/"}
        found = measured(load, job(tmp_path, **asked, in_flight=2))
        if closes:
            assert server.connections >= found.requests
        else:
            assert server.connections == 2


def test_a_request_that_fails_ends_the_benchmark(load, tmp_path):
    with answering("unwell", status=503) as server:
        asked = {"protocol": "REST", "address": server.address, "path": "/"}
        load.job(job(tmp_path, **asked, in_flight=2))
        with pytest.raises(MaaskitError, match="The server said: HTTP/1.1 503"):
            load.answer()


def test_the_empty_server_is_asked_over_real_connections(load, tmp_path):
    with Processes(tmp_path) as processes:
        empty = processes.start("empty", "pipelines._bench_peers", cells.EMPTY, 7)
        asked = {"protocol": "gRPC", "address": empty.line().split()[1]}
        path = {"path": "/empty.Empty/7", "in_flight": 20}
        assert measured(load, job(tmp_path, **asked, **path)).requests >= 20
        load.job(job(tmp_path, **asked, **path | {"path": "/empty.Empty/8"}))
        with pytest.raises(MaaskitError, match="a status and without a message"):
            load.answer()


def test_requests_and_answers_larger_than_the_windows_pass(load, tmp_path):
    size = 3_000_000  # gRPC's limit is 4 MiB
    body = tmp_path / "large"
    body.write_bytes(bytes(size))
    with Processes(tmp_path) as processes:
        empty = processes.start("empty", "pipelines._bench_peers", cells.EMPTY, size)
        asked = {"protocol": "gRPC", "address": empty.line().split()[1]}
        path = {"path": f"/empty.Empty/{size}", "in_flight": 3, "body": str(body)}
        assert measured(load, job(tmp_path, **asked) | path).requests >= 3


def children(pid: int) -> list[int]:
    file = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in file.read_text().split()]


def test_ctrl_c_leaves_no_process_and_no_folder_behind(store, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    bench = subprocess.Popen(
        [sys.executable, "-m", "pipelines.bench_serving", "light"]
        + [f"--store={store}", f"--output={tmp_path / 'bench'}"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 120
    # The SavedModel in process, a server that is up, and one that has just begun.
    while len(started := children(bench.pid)) < 3 and time.monotonic() < end:
        assert bench.poll() is None
        time.sleep(0.05)
    bench.send_signal(signal.SIGINT)
    _, error = bench.communicate(timeout=60)
    assert (bench.returncode, error) == (130, "interrupted\n")
    assert len(started) == 3
    assert [pid for pid in started if pathlib.Path(f"/proc/{pid}").exists()] == []
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_a_whole_run_measures_every_cell_and_writes_table_results_and_plot(
    store, tmp_path, capsys
):
    arguments = [f"--store={store}", f"--output={tmp_path}", "--seconds=0.1"]
    assert bench_serving.main(["light", *arguments, "--rounds=1"]) == 0
    (folder,) = tmp_path.iterdir()
    printed = capsys.readouterr().out
    text = (folder / "table.md").read_text()
    assert printed.startswith(text)
    results = json.loads((folder / "results.json").read_text())
    planned = [
        cell
        for group in cells.groups(ENGINES, cells.peers(), tls=True)
        for cell in group
    ]
    for peer in cells.missing():
        assert f"- {peer} is not installed (`pip install '.[bench]'`), so " in text
    found = {
        tuple(cell[key] for key in ("protocol", "rows", "in_flight", "contender"))
        for cell in results["cells"]
    }
    if "TLS was not measured" not in text:
        assert len(found) == len(planned)
    for cell in results["cells"]:
        assert len(cell["rounds"]) == 1
        for of_round in cell["rounds"]:
            assert of_round["requests_per_s"] > 0
            assert of_round["p50_ms"] <= of_round["p99_ms"]
    for figure in results["figures"]:
        assert len(figure["values"]) == 1
    assert results["about"]["processor"]
    assert re.match(r"\d+\.\d+", results["about"]["tensorflow"])
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")
