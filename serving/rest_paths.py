"""What the paths of TF Serving's REST API name."""

import re
import urllib.parse

from serving.errors import InvalidRequestError
from serving.predictor import ModelSpec

_VERSION_OR_LABEL = r"(?:/versions/(\d+)|/labels/([^/:]+))?"
# Groups of both: name, version, label, and what is asked.
CALL = re.compile(
    rf"/v1/models/([^/:]+){_VERSION_OR_LABEL}:(classify|regress|predict)",
    re.IGNORECASE | re.ASCII,
)
QUESTION = re.compile(
    rf"/v1/models(?:/([^/:]+))?{_VERSION_OR_LABEL}(?:/(metadata))?",
    re.IGNORECASE | re.ASCII,
)
_MAX_VERSION = 2**63 - 1


def model_spec(match: re.Match[str]) -> ModelSpec:
    """Returns what a path names, still without a signature.

    Args:
        match: Of `CALL` or `QUESTION`.

    Raises:
        InvalidRequestError: It names no model, or a version out of range.
    """
    name, version, label = match.groups()[:3]
    if name is None:
        raise InvalidRequestError("Missing model name in request.")
    # Digits beyond 19 are out of range; `int` need not see thousands of them.
    if version is not None and (len(version) > 99 or int(version) > _MAX_VERSION):
        raise InvalidRequestError(f"Failed to convert version: {version} to numeric.")
    return ModelSpec(
        urllib.parse.unquote(name),
        None if version is None else int(version),
        None if label is None else urllib.parse.unquote(label),
    )
