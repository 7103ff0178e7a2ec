"""A run that is killed is taken up again, and comes out as if nothing had happened."""

import fcntl
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from scoring_parts import scores_of, write_store

from pipelines import _lanes, score

IMAGES = np.random.default_rng(1).integers(0, 256, (10_000, 2, 3, 1), dtype=np.uint8)
SHARD_ROWS = 1_000


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> pathlib.Path:
    return write_store(tmp_path_factory.mktemp("store"), ["light"])


def arguments(store: pathlib.Path, given: object, output: object, *more: str):
    return [
        "light",
        f"--store={store}",
        f"--input={given}",
        f"--output={output}",
        f"--shard-rows={SHARD_ROWS}",
        "--batch-size=100",
        *more,
    ]


def run(store: pathlib.Path, given: object, output: object, *more: str) -> int:
    return score.main(arguments(store, given, output, "--workers=1", *more))


def write_npy(folder: pathlib.Path, rows: int) -> pathlib.Path:
    np.save(folder / "x.npy", IMAGES[:rows])
    return folder / "x.npy"


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    """All files of an output, without what takes another time in each run."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "manifest.json" not in path.name
    }


def start(store: pathlib.Path, given: object, output: object, *more: str):
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.score"]
        + arguments(store, given, output, *more),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def manifests(folder: pathlib.Path) -> dict[str, int]:
    """The finished shards, and which file each manifest is: a new one is another."""
    return {
        path.name: path.stat().st_ino
        for work in [*folder.glob("_*"), *folder.glob(".*.parts")]
        for path in work.glob("0*.json")
        if "errors" not in path.name
    }


def kill_at_random(
    process: subprocess.Popen, folder: pathlib.Path, more: int, how: signal.Signals
) -> int:
    """Waits for so many more finished shards and a moment; how the process ended."""
    already = len(manifests(folder))
    deadline = time.monotonic() + 120
    while len(manifests(folder)) < already + more and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(random.random() * 0.1)
    process.send_signal(how)
    process.communicate(timeout=60)
    return process.returncode


def check_killed(tmp_path, store, name, kills, how=signal.SIGKILL) -> None:
    given = write_npy(tmp_path, len(IMAGES))
    assert run(store, given, tmp_path / "whole" / name) == 0
    folder = tmp_path / "killed"
    folder.mkdir()
    for _ in range(kills):
        before = manifests(folder)
        process = start(store, given, folder / name, "--workers=2")
        code = kill_at_random(process, folder, random.randrange(1, 5), how)
        if code == 0:
            break  # it was faster than the hand that killed it
        assert (
            code == {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}[how]
        )
        # What was finished before was not done a second time.
        assert before.items() <= manifests(folder).items()
        for manifest in folder.glob("_*/0*[0-9].json"):
            assert (folder / json.loads(manifest.read_text())["file"]).exists()
    before = manifests(folder)
    process = start(store, given, folder / name, "--workers=2")
    _, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    if "*" in name:
        assert before.items() <= manifests(folder).items()
    assert contents(folder) == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("name", "how"),
    [("s-*.jsonl", signal.SIGKILL), ("s.csv", signal.SIGTERM)],
)
def test_a_killed_run_goes_on_and_comes_out_as_an_uninterrupted_one(
    tmp_path, store, name, how
):
    check_killed(tmp_path, store, name, 1, how)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["s-*.csv", "s.jsonl", "s.parquet", "s-*.tfrecord", "s.jsonl.gz"]
)
def test_any_number_of_kills_changes_nothing(tmp_path, store, name):
    check_killed(tmp_path, store, name, 5)


def test_processes_end_with_the_one_that_started_them(tmp_path, store):
    given = write_npy(tmp_path, len(IMAGES))
    folder = tmp_path / "out"
    folder.mkdir()
    process = start(store, given, folder / "s-*.jsonl", "--workers=2")
    deadline = time.monotonic() + 120
    while not manifests(folder):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    pids = children.read_text().split()
    process.kill()
    process.communicate(timeout=60)
    assert len(pids) >= 2
    while any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_process_that_dies_ends_the_run_and_not_the_finished_shards(
    tmp_path, store, monkeypatch
):
    monkeypatch.setattr(_lanes, "_work", os._exit)
    given = write_npy(tmp_path, 3_000)
    output = tmp_path / "s-*.jsonl"
    assert score.main(arguments(store, given, output, "--workers=2")) == 1
    monkeypatch.undo()
    assert run(store, given, output) == 0


def one_shard_less(folder: pathlib.Path, shard: int) -> None:
    (folder / "_s.manifests" / f"{shard:05}.json").unlink()


def test_only_what_is_missing_is_done_again(tmp_path, store, capsys):
    given = write_npy(tmp_path, 5_000)
    output = tmp_path / "s-*.jsonl"
    run(store, given, output)
    whole, done = contents(tmp_path), manifests(tmp_path)
    one_shard_less(tmp_path, 3)
    capsys.readouterr()
    assert run(store, given, output) == 0
    assert "Kept     4,000 of these rows" in capsys.readouterr().out
    assert contents(tmp_path) == whole
    again = manifests(tmp_path)
    assert {name for name in done if done[name] != again[name]} == {"00003.json"}


@pytest.mark.parametrize("damage", ["gone", "shorter", "other"])
def test_a_shard_that_is_not_what_its_manifest_says_is_done_again(
    tmp_path, store, damage
):
    given = write_npy(tmp_path, 3_000)
    run(store, given, tmp_path / "s-*.csv")
    whole = contents(tmp_path)
    shard = tmp_path / "s-00001-of-00003.csv"
    data = shard.read_bytes()
    if damage == "gone":
        shard.unlink()
    else:
        shard.write_bytes(data[:-1] + (b"" if damage == "shorter" else b"9"))
    assert run(store, given, tmp_path / "s-*.csv") == 0
    assert contents(tmp_path) == whole


@pytest.mark.parametrize("change", ["input", "version", "options"])
def test_what_fits_no_longer_is_taken_away_and_done_anew(
    tmp_path, store, change, capsys
):
    models = shutil.copytree(store, tmp_path / "store")
    given = write_npy(tmp_path, 3_000)
    out = tmp_path / "out"
    run(models, given, out / "s-*.jsonl")
    one_shard_less(out, 2)  # it was interrupted
    more = []
    if change == "input":
        given = write_npy(tmp_path, 2_000)
    elif change == "version":
        shutil.copytree(models / "light" / "3", models / "light" / "4")
    else:
        more = ["--batch-size=7"]
    assert run(models, given, out / "s-*.jsonl", *more) == 0
    assert "starting over" in capsys.readouterr().err
    whole = json.loads((out / "_s.manifests" / "manifest.json").read_text())
    assert whole["rows"] == (2_000 if change == "input" else 3_000)
    assert whole["version"] == (4 if change == "version" else 3)
    shards = sorted(path.name for path in out.glob("s-*"))
    assert shards == [shard["file"] for shard in whole["shards"]]


def test_two_runs_do_not_write_one_output(tmp_path, store, capsys, monkeypatch):
    monkeypatch.setattr("pipelines._folder._LOCK_WAIT_S", 0.1)
    given = write_npy(tmp_path, 2_000)
    (tmp_path / "_s.manifests").mkdir()
    other = os.open(tmp_path / "_s.manifests", os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    assert run(store, given, tmp_path / "s-*.jsonl") == 1
    assert "Another run is writing" in capsys.readouterr().err
    os.close(other)
    assert run(store, given, tmp_path / "s-*.jsonl") == 0


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_error_and_the_same_command_goes_on(
    tmp_path, store, capfd, lanes
):
    given = write_npy(tmp_path, 3_000)
    output = tmp_path / "s-*.jsonl"
    run(store, given, output)
    whole = contents(tmp_path)
    one_shard_less(tmp_path, 0)
    one_shard_less(tmp_path, 1)
    # No byte may be written to a file that is larger than this.
    limited = ["bash", "-c", 'ulimit -f 8; trap "" XFSZ; exec "$@"', "-"]
    command = [sys.executable, "-m", "pipelines.score"]
    typed = arguments(store, given, output, f"--workers={lanes}")
    done = subprocess.run(
        [*limited, *command, *typed], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert "Cannot write" in told[0]
    assert "Traceback" not in done.stderr
    assert run(store, given, output) == 0
    assert contents(tmp_path) == whole


def test_more_refused_than_allowed_ends_the_run_and_allowing_them_goes_on(
    tmp_path, store, capsys
):
    lines = [json.dumps({"image": image.tolist()}) for image in IMAGES[:3_000]]
    for bad in (5, 1_500, 1_501, 2_999):
        lines[bad] = "{"
    given = tmp_path / "x.jsonl"
    given.write_text("\n".join(lines) + "\n")
    output = tmp_path / "s-*.jsonl"
    assert run(store, given, output, "--max-errors=2") == 4
    told = capsys.readouterr().err
    assert "Expected at most 2." in told
    assert "row 1501: The line is not JSON" in told
    listed = (tmp_path / "errors.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in listed] == [5, 1_500, 1_501]
    done = manifests(tmp_path)
    assert list(done) == ["00000.json"]
    assert run(store, given, output, "--max-errors=4") == 3
    assert done.items() <= manifests(tmp_path).items()
    listed = (tmp_path / "errors.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in listed] == [5, 1_500, 1_501, 2_999]
    whole = json.loads((tmp_path / "_s.manifests" / "manifest.json").read_text())
    assert (whole["rows"], whole["refused"]) == (2_996, 4)
    found = [
        json.loads(line)
        for path in sorted(tmp_path.glob("s-*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    kept = np.delete(np.arange(3_000), [5, 1_500, 1_501, 2_999])
    assert [row["key"] for row in found] == kept.tolist()
    scores = [row["scores"] for row in found]
    np.testing.assert_allclose(scores, scores_of(IMAGES[kept]), atol=1e-6)


@pytest.mark.parametrize("ending", ["jsonl", "csv", "tfrecord", "parquet", "jsonl.gz"])
def test_one_file_of_many_parts_is_that_of_one_part(tmp_path, store, ending):
    given = write_npy(tmp_path, 2_500)
    run(store, given, tmp_path / f"parts.{ending}")
    run(store, given, tmp_path / f"whole.{ending}", "--shard-rows=100000")
    parts, whole = (
        (tmp_path / f"{n}.{ending}").read_bytes() for n in ("parts", "whole")
    )
    if ending == "parquet":
        import pyarrow.parquet as pq

        tables = [pq.read_table(tmp_path / f"{n}.{ending}") for n in ("parts", "whole")]
        assert tables[0].equals(tables[1])
    elif ending.endswith(".gz"):
        import gzip

        assert gzip.decompress(parts) == gzip.decompress(whole)
    else:
        assert parts == whole
    assert not list(tmp_path.glob(".*"))
