"""Fetches a data set, checks it and prepares it, without training."""

from collections.abc import Sequence

from pipelines import _cli
from trainers import _catalog


@_cli.command
def main(argv: Sequence[str]) -> int:
    """Prepares one data set and prints its splits and licence."""
    parser = _cli.parser(__doc__)
    parser.add_argument(
        "dataset",
        help="data set name (`make models` lists them), or tfds:<catalogue name>; "
        "several with + between",
    )
    _cli.add_datasets(parser)
    arguments = parser.parse_args(argv)
    _catalog.check_dataset(arguments.dataset)

    from trainers.datasets import _load

    for name in _catalog.joined(arguments.dataset):
        _load.prepare(name, arguments.datasets)
    facts = _load.facts(arguments.dataset, arguments.datasets)
    for key, value in facts.items():
        print(f"{key:12} {value}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
