"""A `.json` file as instances: one, a list of them, or a whole TF Serving request."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

from pipelines import _inputs
from pipelines._inputs import Inputs, MismatchError
from pipelines._sources import Row
from savedmodels.errors import UsageError
from serving import json_decode
from serving.servable import SignatureInfo

_REQUEST_KEYS = {"instances", "inputs", "signature_name"}


def load(path: pathlib.Path) -> Any:
    """Returns what the file holds.

    Raises:
        UsageError: It cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}.") from error


def signature_name(document: Any) -> str | None:
    """Returns the signature that a request names, or None."""
    return document.get("signature_name") if _is_request(document) else None


def rows(document: Any, signature: SignatureInfo, file: str) -> Iterator[Row]:
    """Yields the instances of a document.

    Args:
        document: From `load`: one instance, a list of instances, or an object with
            `instances` or `inputs` as clients of TF Serving send it.
        signature: What the model takes.
        file: The file's name, for messages.

    Raises:
        MismatchError: Aliases, shape or dtype are not those of the signature.
        ServingError: `inputs` is none that the server would take.
    """
    for row, inputs in enumerate(_instances(document, signature)):
        yield Row(row, file, row, inputs)


def _is_request(document: Any) -> bool:
    return (
        isinstance(document, dict)
        and bool({"instances", "inputs"} & set(document))
        and set(document) <= _REQUEST_KEYS
    )


def _instances(document: Any, signature: SignatureInfo) -> Iterator[Inputs]:
    if _is_request(document) and "inputs" in document:
        columns = json_decode.predict_inputs(document, signature)
        sizes = {len(array) if array.ndim else None for array in columns.values()}
        if len(sizes) != 1 or None in sizes:
            raise MismatchError(
                "All values of `inputs` must have one number of instances on axis 0. "
                f"Received: {[list(a.shape) for a in columns.values()]}."
            )
        for row in range(len(next(iter(columns.values())))):
            yield {alias: array[row, ...] for alias, array in columns.items()}
        return
    if _is_request(document):
        instances = document["instances"]
        if not isinstance(instances, list):
            raise MismatchError("`instances` must be a list.")
    else:
        instances = _as_list(document, signature)
    for row, instance in enumerate(instances):
        try:
            yield _inputs.from_json(instance, signature)
        except MismatchError as error:
            raise MismatchError(f"Instance {row}: {error}") from error


def _as_list(document: Any, signature: SignatureInfo) -> list[Any]:
    """A list of instances; a list that is one instance by itself is not taken apart."""
    if not isinstance(document, list):
        return [document]
    try:
        _inputs.from_json(document, signature)
    except MismatchError:
        return document
    return [document]
