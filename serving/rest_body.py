"""The bodies of REST requests, read in TF Serving's order of checks."""

from collections.abc import Mapping

import numpy as np

from serving import example_codec, json_decode, json_document, json_numbers
from serving.errors import InvalidRequestError, ServingError
from serving.servable import DEFAULT_SIGNATURE, SignatureInfo


def predict_inputs(
    body: bytes,
    signatures: Mapping[str, SignatureInfo],
    refusal: ServingError | None,
) -> tuple[str, bool, dict[str, np.ndarray]]:
    """Reads a predict request.

    Args:
        body: JSON, as it came.
        signatures: Those of the version that is asked, by name.
        refusal: Why no version can be asked, to be told after what is wrong with the
            JSON; or None.

    Returns:
        The signature's name, whether rows were sent, and the inputs.

    Raises:
        ServingError: `refusal`, or what is wrong.
    """
    if refusal is None:
        with json_document.one_large_at_a_time(body):
            found = json_numbers.predict_inputs(body, signatures)
        if found is not None:
            return found
    with json_document.reading(body) as document:
        name = json_document.signature_name(document)
        if refusal is not None:
            raise refusal
        wanted = name or DEFAULT_SIGNATURE
        if wanted not in signatures:
            raise InvalidRequestError(
                f'Serving signature name: "{wanted}" not found in signature def'
            )
        inputs = json_decode.predict_inputs(document, signatures[wanted])
        return name, "instances" in document, inputs


def examples(body: bytes) -> tuple[str, list[bytes]]:
    """Reads a classify or regress request.

    Args:
        body: JSON, as it came.

    Returns:
        The signature's name, and the serialized tf.Examples.

    Raises:
        InvalidRequestError: What is wrong.
    """
    with json_document.reading(body) as document:
        name = json_document.signature_name(document)
        return name, example_codec.from_request(document)
