"""What the Open Inference Protocol asks about models, over a `Predictor`."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

from serving import v2_tensor
from serving.errors import FailedPreconditionError, InvalidRequestError, ServingError
from serving.predictor import ModelSpec, Predictor
from serving.servable import DEFAULT_SIGNATURE
from serving.signatures import SignatureInfo

PLATFORM = "tensorflow_savedmodel"
# A name of Triton's for tensors as bytes behind the JSON.
_EXTENSIONS = ["binary_tensor_data"]
_MAX_VERSION = 2**63 - 1


def server_metadata() -> dict[str, Any]:
    """Returns name, version and extensions of this server."""
    try:
        version = importlib.metadata.version("maaskit")
    except importlib.metadata.PackageNotFoundError:
        version = "0"  # run from its source
    return {"name": "maaskit", "version": version, "extensions": _EXTENSIONS}


def model_spec(name: str, version: str, signature_name: str = "") -> ModelSpec:
    """Returns which servable is meant.

    Args:
        name: Model name.
        version: Version number as text; "" for the one that answers.
        signature_name: Signature, or "" for `serving_default`. The protocol knows of
            none: clients name it in the parameters of a request.

    Raises:
        InvalidRequestError: The version is no number.
    """
    if not version:
        return ModelSpec(name, signature_name=signature_name)
    is_number = version.isascii() and version.isdecimal() and len(version) < 20
    if not is_number or int(version) > _MAX_VERSION:
        raise InvalidRequestError(
            f"A version is a number. Received: {version} for model {name}."
        )
    return ModelSpec(name, int(version), signature_name=signature_name)


async def is_ready(predictor: Predictor, spec: ModelSpec) -> bool:
    """Returns whether a model, or one version of it, can be asked.

    Raises:
        ServableNotFoundError: Nothing is known of it.
    """
    versions = await predictor.status(spec.name, spec.version)
    return any(version.state == "AVAILABLE" for version in versions)


async def metadata(predictor: Predictor, spec: ModelSpec) -> dict[str, Any]:
    """Returns a model's versions, and what `serving_default` takes and returns.

    Raises:
        ServingError: No version of it can be asked.
    """
    _, signature = await signature_of(predictor, spec)
    return {
        "name": spec.name,
        "versions": [str(number) for number in await _available(predictor, spec.name)],
        "platform": PLATFORM,
        "inputs": [v2_tensor.metadata(*item) for item in signature.inputs.items()],
        "outputs": [v2_tensor.metadata(*item) for item in signature.outputs.items()],
    }


async def signature_of(
    predictor: Predictor, spec: ModelSpec
) -> tuple[int, SignatureInfo]:
    """Returns the version and the signature that are meant.

    Raises:
        ServingError: There is no such version, or no such signature in it.
    """
    version, signatures = await predictor.signatures(spec)
    return version, signature_in(signatures, spec.signature_name)


def signature_in(
    signatures: Mapping[str, SignatureInfo], signature_name: str
) -> SignatureInfo:
    """Returns a signature by its name, or `serving_default` by "".

    Raises:
        FailedPreconditionError: There is no such signature.
    """
    name = signature_name or DEFAULT_SIGNATURE
    if name not in signatures:
        raise FailedPreconditionError(f'Serving signature key "{name}" not found.')
    return signatures[name]


async def _available(predictor: Predictor, name: str) -> Sequence[int]:
    try:
        versions = await predictor.status(name)
    except ServingError:  # it went in this moment
        return []
    return [version.version for version in versions if version.state == "AVAILABLE"]
