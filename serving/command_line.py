"""How the server and every command read flags, and how their `--help` looks."""

import argparse
import pathlib
from typing import NoReturn

EXIT_USAGE = 2


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults of flags that have one, and short names of their values."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        # None and [] are how argparse says "nothing"; a flag without a value is off.
        is_on_off = action.nargs == 0
        if is_on_off or action.default is None or action.default == []:
            return action.help
        return super()._get_help_string(action)

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        if action.type is None:
            return super()._get_default_metavar_for_optional(action)
        return "DIR" if action.type is pathlib.Path else "N"


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one line, without the usage of all flags above it."""

    def __init__(self, **options: object) -> None:
        """Takes what `argparse.ArgumentParser` takes; flags must be spelled out."""
        super().__init__(allow_abbrev=False, formatter_class=HelpFormatter, **options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Ends the process with code 2."""
        self.exit(
            EXIT_USAGE,
            f"error: {message}. `{self.prog} --help` explains every flag.\n",
        )


def addresses(text: str) -> tuple[str, ...]:
    """The type of a flag that names one or more servers."""
    found = tuple(text.split(","))
    for address in found:
        host, _, port = address.rpartition(":")
        is_port = port.isdecimal() and 0 < int(port) < 65536
        is_host = host and "/" not in host and (":" not in host or host[0] == "[")
        if not address.startswith("unix:") and not (is_port and is_host):
            raise argparse.ArgumentTypeError(
                f"host:port[,host:port...] was expected. Received: {text}"
            )
    if len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"a server is named twice. Received: {text}")
    return found


def whole_number(text: str) -> int:
    """The type of a flag that counts or numbers something."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(
            f"a whole number was expected. Received: {text}"
        )
    return int(text)
