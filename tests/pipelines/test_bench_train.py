"""The benchmark of training: its arithmetic, its files, and one run of all of it."""

import json
import re

import PIL.Image
import pytest

from pipelines import _bench_train_report as report
from pipelines import _bench_train_ways as ways
from pipelines import bench_train


def answer(examples_per_second, input_wait=None, processor_seconds=1.0):
    """A round of a thousand examples."""
    seconds = 1000 / examples_per_second
    found = {"examples": 1000, "seconds": seconds}
    found["processor_seconds"] = processor_seconds
    return found if input_wait is None else found | {"input_wait": input_wait}


ROUNDS = {
    ways.FIT: [answer(900, 0.01), answer(500, 0.02), answer(970, 0.03)],
    ways.LIMIT: [answer(1000), answer(500, processor_seconds=2.0), answer(1000)],
    ways.TEXTBOOK: [answer(450), answer(500), answer(485)],
    ways.PIPELINE: [answer(9000), answer(9000), answer(9700)],
    ways.BETWEEN: [answer(900, 0.01), answer(1000, 0.02), answer(800, 0.01)],
    ways.WITHIN: [answer(891, 0.01), answer(960, 0.02), answer(784, 0.01)],
    ways.on_devices(1): [answer(900, 0.0), answer(500, 0.0), answer(970, 0.0)],
    ways.on_devices(4): [answer(450, 0.0), answer(400, 0.0), answer(485, 0.0)],
    ways.on_workers(1): [answer(900, 0.0), answer(500, 0.0), answer(970, 0.0)],
    ways.on_workers(2): [answer(900, 0.0), answer(500, 0.0), answer(970, 0.0)],
}


def test_ratios_are_taken_within_each_round():
    found = {(f.contender, f.name): f for f in report.figures(ROUNDS)}
    of_limit = found[ways.FIT, "of the bare loop"]
    assert of_limit.values == pytest.approx([0.9, 1.0, 0.97])
    assert of_limit.spread.median == pytest.approx(0.97)
    of_textbook = found[ways.FIT, "of the textbook"]
    assert of_textbook.values == pytest.approx([2.0, 1.0, 2.0])
    # A second of processor time in all of them, of twice that in one.
    thrift = found[ways.FIT, "thrift beside the bare loop"]
    assert thrift.values == pytest.approx([1, 2, 1])
    assert found[ways.FIT, "thrift beside the textbook"].values == [1, 1, 1]
    pipeline = found[ways.PIPELINE, "pipeline of fit"]
    assert pipeline.values == pytest.approx([10, 18, 10])
    assert found[ways.FIT, "input wait"].spread.median == 0.02
    costs = found[ways.WITHIN, "checkpoints cost"]
    # A tenth of the seconds that checkpoints at every 10 steps add.
    wanted = [1 - 1 / (1 + 0.1 * (1 / kept - 1)) for kept in (0.99, 0.96, 0.98)]
    assert costs.values == pytest.approx(wanted)
    devices = found["fit, 4 devices", "of one device"]
    assert devices.values == pytest.approx([0.5, 0.8, 0.5])
    assert found["fit, 2 workers", "of one worker"].values == pytest.approx([1, 1, 1])
    assert ("fit, 1 device", "of one device") not in found


def test_a_run_without_the_rarer_ways_has_no_figures_of_them():
    some = (ways.FIT, ways.LIMIT, ways.TEXTBOOK, ways.PIPELINE)
    rounds = {name: ROUNDS[name] for name in some}
    names = {figure.name for figure in report.figures(rounds)}
    assert "checkpoints cost" not in names
    assert not {"of one device", "of one worker"} & names


def test_the_table_shows_every_way_and_defines_every_figure():
    found = report.figures(ROUNDS)
    text = report.table("Training x", {"cores": "2"}, ROUNDS, found)
    assert text.startswith("# Training x\n\n- cores: 2\n")
    (row,) = re.findall(rf"^\| {ways.FIT} +\| (.*) \|$", text, re.MULTILINE)[:1]
    cells = [cell.strip() for cell in row.split("|")]
    # A second of processor time for a thousand examples.
    assert cells == ["900 (500 to 970)", "1 (1 to 1)", "2.00%"]
    for figure in found:
        assert f"- {figure.name}: " in text
    for name in ROUNDS:
        assert f"| {name} " in text


def test_the_plot_is_a_picture(tmp_path):
    report.draw(tmp_path / "plot.png", "Training x", ROUNDS)
    with PIL.Image.open(tmp_path / "plot.png") as image:
        image.load()
        assert min(image.size) >= 400


def test_workers_of_one_cluster_have_addresses_and_places_of_their_own():
    (way,) = [way for way in ways.planned((), (3,)) if way.workers]
    clusters = ways._clusters(way)
    addresses = clusters[0]["cluster"]["worker"]
    assert len(set(addresses)) == 3
    assert all(cluster["cluster"]["worker"] == addresses for cluster in clusters)
    assert [cluster["task"]["index"] for cluster in clusters] == [0, 1, 2]


def test_a_name_that_is_no_model_is_told_before_anything_starts(tmp_path, capsys):
    output = tmp_path / "bench"
    assert bench_train.main(["mnist_clasifier", f"--output={output}"]) == 2
    assert "mnist_classifier" in capsys.readouterr().err
    assert not output.exists()


def run(datasets_dir, tmp_path, capsys):
    """The results of a short run over tiny digits."""
    arguments = ["mnist_classifier", f"--datasets={datasets_dir}", "--rounds=2"]
    arguments += [f"--output={tmp_path}", "--steps=3", "--set=network=dense"]
    assert bench_train.main(arguments) == 0
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("train-")
    printed = capsys.readouterr().out
    assert printed.startswith((folder / "table.md").read_text())
    with PIL.Image.open(folder / "plot.png") as image:
        image.load()
    return json.loads((folder / "results.json").read_text())


def check_rounds(rounds):
    for name, answers in rounds.items():
        assert len(answers) == 2, name
        for found in answers:
            # 3 steps of 128 examples, whatever the way.
            assert found["examples"] == 3 * 128, name
            assert found["seconds"] > 0
            assert found["processor_seconds"] > 0
            if name.startswith("fit"):
                assert 0 <= found["input_wait"] <= 1


@pytest.mark.slow  # eight processes that import TensorFlow
def test_a_run_measures_in_turns_and_writes_table_results_and_plot(
    datasets_dir, tmp_path, capsys
):
    results = run(datasets_dir, tmp_path, capsys)
    rounds = results["rounds"]
    assert list(rounds)[:4] == [ways.FIT, ways.LIMIT, ways.TEXTBOOK, ways.PIPELINE]
    check_rounds(rounds)
    assert {"of the bare loop", "of the textbook", "input wait"} <= {
        figure["name"] for figure in results["figures"]
    }
    assert ways.on_devices(2) in rounds
    assert ways.on_devices(4) in rounds
    assert "tensorflow" in results["about"]
