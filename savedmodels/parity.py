"""Which signatures of a `model.tflite` were held against the SavedModel beside it.

An export compares the two and leaves a record in `assets.extra/provenance.json`, under
`check.litert`: the SHA-256 of the file that it compared, the largest difference of each
signature that is in it, and why the others are left out. A file with another hash was
put there by somebody else, and the record says nothing of it.
"""

import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

from savedmodels import provenance
from savedmodels.errors import MaaskitError

# Answers may lie this far apart, in parts of the scale of the output.
LIMIT = 1e-5


def record(
    model: bytes | None, differences: Mapping[str, float], left_out: Mapping[str, str]
) -> dict[str, Any]:
    """Returns what an export leaves about a model that it compared.

    Args:
        model: Content of `model.tflite`; None where there is none.
        differences: Signature to its largest difference from the right answers.
        left_out: Signature to why it is not in the model.
    """
    return {
        "sha256": None if model is None else hashlib.sha256(model).hexdigest(),
        "max_difference": dict(differences),
        "left_out": dict(left_out),
    }


def recorded(version_path: pathlib.Path, model: bytes) -> frozenset[str]:
    """Returns the signatures that the export of a version compared.

    Args:
        version_path: Folder of the version.
        model: Content of its `model.tflite`.

    Returns:
        Their names; none where the version or the file was made elsewhere, or the
        record is from before files were hashed.
    """
    try:
        found: Any = provenance.read(version_path)["check"]["litert"]
        if found["sha256"] != hashlib.sha256(model).hexdigest():
            return frozenset()
        return frozenset(found["max_difference"])
    except (MaaskitError, KeyError, OSError, TypeError):
        return frozenset()
