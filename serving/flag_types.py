"""The kinds of values that the server's flags take."""

import argparse
import pathlib


def add_switch(
    group: argparse._ArgumentGroup, name: str, default: bool | None, text: str
) -> None:
    """Adds a flag that may stand alone, or have the value true or false.

    Args:
        group: Where `--help` shows it.
        name: With its dashes.
        default: What it is where it is not given.
        text: What it does.
    """
    group.add_argument(
        name,
        metavar="true|false",
        type=switch,
        nargs="?",
        const=True,
        default=default,
        help=text,
    )


def switch(text: str) -> bool:
    """The type of a flag that is on or off."""
    values = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"expected true or false. Received: {text}")
    return values[text.lower()]


def path_or_empty(text: str) -> pathlib.Path | str:
    """The type of a flag that is a path; left empty, as scripts do, it stays so."""
    return pathlib.Path(text) if text else ""


def positive(text: str) -> int:
    """The type of a flag that counts, and not from 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more. Received: {text}")
    return int(text)


def port(text: str) -> int:
    """The type of a flag that is a TCP port."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected 0 to 65535. Received: {text}")
    return int(text)


def port_or_none(text: str) -> int:
    """The type of a flag that is a TCP port, or -1 for none."""
    return -1 if text == "-1" else port(text)
