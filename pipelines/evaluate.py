"""Judges an exported version on held-out data: metrics and a confusion matrix."""

import argparse
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines import _cli
from savedmodels import paths, provenance, store
from serving import servable
from trainers import _catalog

SIGNATURE = "serving_default"


@_cli.command
def main(argv: Sequence[str]) -> int:
    """Runs the version over a split and prints what it is worth."""
    arguments = _parser().parse_args(argv)
    if arguments.dataset:
        _catalog.check_dataset(arguments.dataset)
    version = store.version_path(
        paths.of(arguments.store) / arguments.model, arguments.version
    )
    with paths.here(version) as folder:
        _judge(folder, arguments)
    return 0


def _judge(path: pathlib.Path, arguments: argparse.Namespace) -> None:
    """Prints what the version in a folder is worth."""
    module = _catalog.load_model(arguments.model)

    from trainers import _config

    # In their place from the beginning: what it was trained on may be gone.
    changes = {"datasets_dir": arguments.datasets}
    if arguments.dataset:
        changes["dataset"] = arguments.dataset
    config = _config.from_dict(module.Config, _trained_config(path) | changes)

    version = int(path.name)
    loaded = servable.load(path, arguments.model, version, only=[SIGNATURE])

    def answer(inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return loaded.run(SIGNATURE, inputs)

    engine = loaded.engine(SIGNATURE)
    try:
        evaluation = module.evaluate(answer, config, split=arguments.split)
    finally:
        loaded.close()
    print(
        f"{arguments.model} version {version} ({engine}) "
        f"on the {arguments.split} split of {config.dataset}\n"
    )
    print(evaluation.text, "\n")
    # Those of single classes stand in the table.
    whole = {n: value for n, value in evaluation.metrics.items() if "/" not in n}
    width = max(map(len, whole), default=0)
    for name, value in whole.items():
        # Small errors would lose their digits.
        shown = f"{value:.4f}" if value >= 0.01 else f"{value:.3g}"
        print(f"{name:{width}} {shown}")


def _trained_config(path: pathlib.Path) -> dict[str, Any]:
    """What the version was trained with; nothing for a version made elsewhere."""
    return dict(provenance.read(path).get("config", {}))


def _parser() -> argparse.ArgumentParser:
    parser = _cli.parser(__doc__)
    _cli.add_model(parser)
    _cli.add_store(parser)
    _cli.add_version(parser)
    parser.add_argument(
        "--dataset", metavar="NAME", help="another data set than it was trained on"
    )
    _cli.add_datasets(parser)
    parser.add_argument(
        "--split",
        default="test",
        choices=("validation", "test"),
        help="what it is judged on",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
