"""TF Serving's text config files as messages."""

import pathlib
from typing import Any

from google.protobuf import text_format

from serving.errors import InvalidRequestError


def read(path: pathlib.Path, message: Any, opening: str | None = None) -> Any:
    """Fills a message from a file of protobuf's text format, and returns it.

    Args:
        path: The file.
        message: Where to put what it says.
        opening: How the refusal begins; TF Serving's words where it is None.

    Raises:
        InvalidRequestError: The file cannot be read, or is none of that message.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"Cannot read `{path}`: {error}.") from error
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        opening = opening or f"Invalid protobuf file: '{path}'"
        raise InvalidRequestError(f"{opening}: {path}:{error}") from error
