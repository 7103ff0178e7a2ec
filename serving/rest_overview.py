"""What REST tells of the server as a whole: its models, and whether it is ready."""

import json
from collections.abc import Mapping
from typing import Any

from serving import json_encode
from serving.errors import ServingError
from serving.predictor import Predictor, VersionStatus


async def models(predictor: Predictor) -> str:
    """Lays out every model's name and the state of its versions, for `/v1/models`."""
    found = [
        {"name": name} | json_encode.status_document(await _versions(predictor, name))
        for name in predictor.models()
    ]
    return json.dumps({"models": found}, indent=4)


async def readiness(
    predictor: Predictor, is_ready: bool, beside: Mapping[str, Any]
) -> str:
    """Lays out whether each model can be asked, for `/readyz`.

    Args:
        predictor: Knows the models.
        is_ready: Whether the server as a whole is.
        beside: What else is told.
    """
    found = {
        name: {
            "available": available,
            "versions": {
                str(version.version): version.state
                for version in await _versions(predictor, name)
            },
        }
        for name, available in predictor.models().items()
    }
    return json.dumps({"ready": is_ready, "models": found, **beside}, indent=4)


async def _versions(predictor: Predictor, name: str) -> list[VersionStatus]:
    """The versions of a model; none for one of which no version was seen yet."""
    try:
        return await predictor.status(name)
    except ServingError:
        return []
