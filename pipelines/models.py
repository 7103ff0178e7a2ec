"""Lists the models, the data sets with their licences, and what the store holds."""

import ast
import pathlib
from collections.abc import Sequence

import trainers
from pipelines import _cli
from savedmodels import paths, provenance, store
from savedmodels.errors import UsageError
from trainers import _catalog


@_cli.command
def main(argv: Sequence[str]) -> int:
    """Prints the three lists."""
    parser = _cli.parser(__doc__)
    _cli.add_store(parser)
    _cli.add_datasets(parser)
    arguments = parser.parse_args(argv)
    folder = paths.of(arguments.store)
    if folder.exists() and not folder.is_dir():
        raise UsageError(
            f"The store is no folder. Expected one of <model>/<version>. "
            f"Received: {folder}."
        )
    print("Models (MODEL=)")
    for name in _catalog.model_names():
        print(f"  {name:22} {_purpose(name)}")
    print("\nData sets (DATASET=)")
    for name in _catalog.dataset_names():
        print(_dataset(name, arguments.datasets))
    print("  tfds:<name>            any public data set of the same features")
    print("  coco:<images>,<annotations.json>")
    print("  voc:<folder>           your own images with boxes around objects")
    print(f"\nVersions in {arguments.store}")
    for line in _versions(folder):
        print(f"  {line}")
    return 0


def _purpose(model: str) -> str:
    """The first sentence of a model's docstring, read without importing it."""
    folder = pathlib.Path(trainers.__path__[0])
    source = (folder / f"{model}.py").read_text(encoding="utf-8")
    sentence = (ast.get_docstring(ast.parse(source)) or "").partition("\n\n")[0]
    return " ".join(sentence.partition(": ")[2].split() or sentence.split())


def _dataset(name: str, datasets_dir: str) -> str:
    """Summary, sizes, licence and source of one data set, over three lines."""
    from trainers.datasets import _load  # late: the other lists need no TFDS
    from trainers.datasets._builder import GENERATED

    facts = _load.facts(name, datasets_dir)
    splits = ", ".join(f"{split} {size:,}" for split, size in facts["splits"].items())
    generated = str(facts["package"]).startswith(GENERATED)
    first = "made" if generated else "fetched"
    ready = "prepared" if facts["prepared"] else f"{first} at first use"
    return (
        f"  {name:22} {facts['summary']}\n"
        f"  {'':22} {splits}; {ready}\n"
        f"  {'':22} licence {facts['licence']}; source: {facts['source']}"
        + (f"; {facts['package']}" if generated else "")
    )


def _versions(folder: pathlib.Path) -> list[str]:
    """A line for each version, newest first, with its test metric where known."""
    lines = []
    for model in store.list_models(folder):
        for version in reversed(store.list_versions(folder / model)):
            known = provenance.read(store.version_path(folder / model, version))
            metrics = known.get("metrics") or {}
            name, value = next(iter(metrics.items()), ("no provenance", None))
            judged = name if value is None else f"test {name} {value:.4f}"
            created = str(known.get("created", ""))[:16].replace("T", " ")
            lines.append(f"{model:22} version {version:<4} {judged}  {created}")
    return lines or ["none yet: make one with `make train MODEL=mnist_classifier`"]


if __name__ == "__main__":
    raise SystemExit(main())
