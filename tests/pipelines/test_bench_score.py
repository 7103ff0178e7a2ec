"""The benchmark of batch scoring: its arithmetic, and one short run of all of it."""

import json

import PIL.Image
import pytest

from pipelines import _bench_score_cells as cells
from pipelines import bench_score

ROUNDS = [
    {cells.BARE: 100.0, cells.LITERT: 160.0, cells.JSONL: 50.0, cells.BEAM: 120.0},
    {cells.BARE: 200.0, cells.LITERT: 260.0, cells.JSONL: 120.0, cells.BEAM: 260.0},
    {cells.BARE: 100.0, cells.LITERT: 170.0, cells.JSONL: 70.0, cells.BEAM: 153.0},
]


def test_ratios_are_taken_within_each_round():
    text = cells.table(1_000, ROUNDS, {100: 50 * 2**20, 2_000: 52 * 2**20})
    (litert,) = (line for line in text.splitlines() if line.startswith(cells.LITERT))
    assert litert.split()[2:5] == ["170", "160", "260"]
    assert f"1.60 of `{cells.BARE}`, hoped for 1.5" in litert
    (beam,) = (line for line in text.splitlines() if line.startswith(cells.BEAM))
    assert f"0.90 of `{cells.LITERT}`, hoped for 0.8" in beam
    (more,) = (line for line in text.splitlines() if "2,000 rows" in line)
    assert "52 MiB, 1.04 of the first" in more


@pytest.fixture
def store(workplace, trained):
    del trained  # only needed to have happened
    return workplace.store


def test_too_few_rows_are_refused_before_anything_is_written(store, tmp_path, capsys):
    output = tmp_path / "bench"
    typed = ["mnist_classifier", f"--store={store}", "--rows=9", f"--output={output}"]
    assert bench_score.main(typed) == 2
    assert "10 or more" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.slow  # seven processes, two of which import TensorFlow
def test_a_run_scores_in_every_way_and_writes_table_results_and_plot(
    store, tmp_path, capsys
):
    typed = ["mnist_classifier", f"--store={store}", "--rows=300", "--rounds=1"]
    assert bench_score.main([*typed, f"--output={tmp_path}", "--workers=1"]) == 0
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("score-")
    assert capsys.readouterr().out.startswith((folder / "table.md").read_text())
    results = json.loads((folder / "results.json").read_text())
    (rates,) = results["rows_per_s"]
    ways = {cells.BARE, cells.LITERT, cells.TENSORFLOW, cells.PARQUET, cells.JSONL}
    assert ways <= set(rates)
    assert min(rates.values()) > 0
    assert set(results["peak_bytes"]) == {"30", "600"}
    with PIL.Image.open(folder / "plot.png") as image:
        image.load()
    # What is scored and written on the way is gone.
    assert {path.name for path in folder.iterdir()} == {
        "table.md",
        "results.json",
        "plot.png",
    }
