"""Serves every model of the store: `python -m serving` with the project's defaults."""

from collections.abc import Sequence

from pipelines import _cli
from serving import server


@_cli.command
def main(argv: Sequence[str]) -> int:
    """Runs the server until Ctrl-C or SIGTERM; its flags are TF Serving's."""
    named = any(
        argument.lstrip("-").startswith(
            ("store", "model_base_path", "model_config", "upstream")
        )
        for argument in argv
    )
    return server.main(list(argv) if named else [f"--store={_cli.STORE}", *argv])


if __name__ == "__main__":
    raise SystemExit(main())
