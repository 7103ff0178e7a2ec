"""What every command shares: flags, and mistakes told in one line."""

import argparse
import functools
import os
import sys
from collections.abc import Callable, Sequence

from savedmodels import protos
from savedmodels.errors import MaaskitError
from serving.errors import ServingError
from serving.help_format import HelpFormatter

STORE = "artifacts/models"
RUNS = "artifacts/runs"
DATASETS = "artifacts/datasets"
EXAMPLES = "artifacts/examples"
SCORES = "artifacts/scores"

EXIT_INTERRUPTED = 130  # what shells give for Ctrl-C

Main = Callable[[Sequence[str]], int]


def command(main: Main) -> Callable[..., int]:
    """Wraps a `main` so that expected failures print one message, not a traceback.

    Args:
        main: Takes the arguments after the command's name, returns the exit code.

    Returns:
        The same function; arguments default to `sys.argv[1:]`.
    """

    @functools.wraps(main)
    def wrapped(argv: Sequence[str] | None = None) -> int:
        protos.quiet_tensorflow()
        try:
            return main(sys.argv[1:] if argv is None else argv)
        except (MaaskitError, ServingError) as error:
            print(f"error: {error}", file=sys.stderr)
            return getattr(error, "exit_code", 1)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return EXIT_INTERRUPTED
        except BrokenPipeError:
            # The reader (`| head`) has gone: a clean end, and no second complaint
            # when the interpreter flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0

    return wrapped


def parser(description: str | None) -> argparse.ArgumentParser:
    """Returns a parser whose help shows defaults and the first docstring line."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    return argparse.ArgumentParser(
        # What was typed, where it was not the name of a script.
        prog=f"python -m {module.name}" if module else None,
        description=(description or "").strip().splitlines()[0],
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )


def add_model(arguments: argparse.ArgumentParser) -> None:
    """Adds the positional `model`."""
    arguments.add_argument("model", help="model name; `make models` lists them")


def add_store(arguments: argparse.ArgumentParser) -> None:
    """Adds `--store`."""
    arguments.add_argument(
        "--store", metavar="DIR", default=STORE, help="folder of <model>/<version>"
    )


def add_datasets(arguments: argparse.ArgumentParser) -> None:
    """Adds `--datasets`."""
    arguments.add_argument(
        "--datasets", metavar="DIR", default=DATASETS, help="folder of data sets"
    )


def add_version(arguments: argparse.ArgumentParser) -> None:
    """Adds `--version`."""
    arguments.add_argument("--version", type=int, help="version (default: the latest)")
