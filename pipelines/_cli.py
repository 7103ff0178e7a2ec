"""What every command shares: flags, and mistakes told in one line."""

import argparse
import errno
import functools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from savedmodels import protos
from savedmodels.errors import MaaskitError
from serving.command_line import Parser, whole_number
from serving.errors import ServingError

STORE = "artifacts/models"
RUNS = "artifacts/runs"
DATASETS = "artifacts/datasets"
EXAMPLES = "artifacts/examples"
SCORES = "artifacts/scores"
BENCH = "artifacts/bench"

# What shells give for a process that Ctrl-C or SIGTERM ended.
EXIT_INTERRUPTED, EXIT_TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM

Main = Callable[[Sequence[str]], int]


class Terminated(KeyboardInterrupt):  # noqa: N818 -- ends a command as Ctrl-C does
    """SIGTERM came. What cleans up after Ctrl-C cleans up after this too."""


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
        # The server replaces this by its own, which drains.
        before = signal.signal(signal.SIGTERM, _terminate)
        try:
            code = main(sys.argv[1:] if argv is None else argv)
            sys.stdout.flush()  # where a full disk is still told in one line
            return code
        except (MaaskitError, ServingError) as error:
            print(f"error: {error}", file=sys.stderr)
            return getattr(error, "exit_code", 1)
        except Terminated:
            print("terminated", file=sys.stderr)
            return EXIT_TERMINATED
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return EXIT_INTERRUPTED
        except BrokenPipeError:
            # The reader (`| head`) has gone: a clean end.
            _discard_stdout()
            return 0
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EIO):
                raise
            print(f"error: The output cannot be written: {error}.", file=sys.stderr)
            _discard_stdout()
            return 1
        finally:
            signal.signal(signal.SIGTERM, before)

    return wrapped


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _discard_stdout() -> None:
    """Keeps the interpreter from failing again when it flushes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser(description: str | None) -> argparse.ArgumentParser:
    """Returns a parser whose help shows defaults and the first docstring line."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    return Parser(
        # What was typed, where it was not the name of a script.
        prog=f"python -m {module.name}" if module else None,
        description=(description or "").strip().splitlines()[0],
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
    arguments.add_argument(
        "--version", type=whole_number, help="version (default: the latest)"
    )
