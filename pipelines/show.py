"""Shows an exported version: signatures, shapes, ops and where it comes from."""

from collections.abc import Sequence

from pipelines import _cli
from savedmodels import describe, paths, store


@_cli.command
def main(argv: Sequence[str]) -> int:
    """Prints the description of one version."""
    parser = _cli.parser(__doc__)
    _cli.add_model(parser)
    _cli.add_store(parser)
    _cli.add_version(parser)
    arguments = parser.parse_args(argv)
    path = store.version_path(
        paths.of(arguments.store) / arguments.model, arguments.version
    )
    with paths.here(path) as folder:
        print(describe.format(describe.describe(folder)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
