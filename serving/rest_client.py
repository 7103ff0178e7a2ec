"""A REST client of TF Serving's API: numpy in, numpy out, no TensorFlow."""

import dataclasses
import json
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf import json_format

from savedmodels.protos import get_model_metadata_pb2
from serving import errors, example_codec, json_encode, json_tensor
from serving._http_connection import HttpConnections
from serving.client import Client, Example
from serving.errors import ServingError
from serving.predictor import ModelSpec, VersionStatus
from serving.servable import DEFAULT_SIGNATURE, SignatureInfo
from serving.signatures import check_output_filter, from_definitions, select


class RestClient(Client):
    """A `Client` that speaks REST. Arrays of many values are far quicker by gRPC.

    JSON says less than a TensorProto, hence: a string output that is not UTF-8 is
    damaged unless its alias ends with `_bytes`, and all outputs travel, whichever are
    asked for. A call is also repeated where the server had closed an idle connection.
    """

    def __init__(self, url: str, *, timeout_s: float = 30.0) -> None:
        """Connects with the first call.

        Args:
            url: As in `http://127.0.0.1:8501`; `https` checks the certificate. A path
                is put before `/v1`.
            timeout_s: Seconds for a call that names no other.

        Raises:
            InvalidRequestError: `url` is no URL of a server.
        """
        super().__init__(timeout_s)
        self._connections = HttpConnections(url)
        # JSON does not say an answer's dtypes, so the metadata are asked once.
        self._signatures: dict[ModelSpec, dict[str, SignatureInfo]] = {}

    def close(self) -> None:
        """Closes idle connections."""
        self._connections.close()

    def _predict(
        self,
        spec: ModelSpec,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str],
        timeout_s: float,
    ) -> dict[str, np.ndarray]:
        tensors = ", ".join(
            # Every string as base64, whatever its alias: so any bytes arrive.
            f"{json.dumps(alias)}: {json_encode.tensor(array, '_bytes')}"
            for alias, array in inputs.items()
        )
        body = (
            f'{{"signature_name": {json.dumps(spec.signature_name)}, '
            f'"inputs": {{{tensors}}}}}'
        )
        values = self._ask("outputs", "POST", f"{_path(spec)}:predict", body, timeout_s)
        name = spec.signature_name or DEFAULT_SIGNATURE
        try:
            signature = self._known_signatures(spec, timeout_s)[name]
            outputs = _outputs(values, signature)
        except (KeyError, ServingError):
            # A newer version may answer with other dtypes than those known.
            self._signatures.pop(_whole(spec), None)
            signature = self._known_signatures(spec, timeout_s)[name]
            outputs = _outputs(values, signature)
        check_output_filter(signature, output_filter)
        return select(outputs, output_filter)

    def _classify(
        self, spec: ModelSpec, examples: Sequence[Example], timeout_s: float
    ) -> list[list[tuple[str, float]]]:
        results = self._ask_about(examples, spec, "classify", timeout_s)
        return [
            # Few digits stand for a float32, as gRPC carries it.
            [(label, float(np.float32(score))) for label, score in pairs]
            for pairs in results
        ]

    def _regress(
        self, spec: ModelSpec, examples: Sequence[Example], timeout_s: float
    ) -> list[float]:
        values: list[float] = self._ask_about(examples, spec, "regress", timeout_s)
        return values

    def _metadata(self, spec: ModelSpec, timeout_s: float) -> dict[str, SignatureInfo]:
        path = f"{_path(spec)}/metadata"
        metadata = self._ask("metadata", "GET", path, None, timeout_s)
        definitions = get_model_metadata_pb2.SignatureDefMap()
        json_format.ParseDict(
            metadata["signature_def"],
            definitions,
            ignore_unknown_fields=True,
        )
        return from_definitions(definitions.signature_def)

    def _status(self, spec: ModelSpec, timeout_s: float) -> list[VersionStatus]:
        versions = self._ask(
            "model_version_status", "GET", _path(spec), None, timeout_s
        )
        return [
            VersionStatus(
                int(version["version"]),
                version["state"],
                version["status"]["error_code"],
                version["status"]["error_message"],
            )
            for version in versions
        ]

    def _known_signatures(
        self, spec: ModelSpec, timeout_s: float
    ) -> dict[str, SignatureInfo]:
        key = _whole(spec)
        if key not in self._signatures:
            self._signatures[key] = self._metadata(spec, timeout_s)
        return self._signatures[key]

    def _ask_about(
        self,
        examples: Sequence[Example],
        spec: ModelSpec,
        method: str,
        timeout_s: float,
    ) -> Any:
        """The results of a classify or regress request, one per example."""
        texts = ", ".join(example_codec.to_json(example) for example in examples)
        name = json.dumps(spec.signature_name)
        body = f'{{"signature_name": {name}, "examples": [{texts}]}}'
        return self._ask("results", "POST", f"{_path(spec)}:{method}", body, timeout_s)

    def _ask(
        self, key: str, method: str, path: str, body: str | None, timeout_s: float
    ) -> Any:
        """What the answer holds under `key`. Raises what the server refused with."""
        status, data = self._connections.exchange(
            method, path, None if body is None else body.encode(), timeout_s
        )
        try:
            document = json.loads(data)
            if status < 400:
                return document[key]
            text = document["error"]
        except (ValueError, KeyError, TypeError) as error:
            raise errors.of_http_status(
                status,
                f"{self._connections.url}{path} did not answer as TF Serving does. "
                f"Received: HTTP {status}, {data[:100]!r}.",
            ) from error
        raise errors.of_http_status(status, text)


def _path(spec: ModelSpec) -> str:
    path = f"/v1/models/{urllib.parse.quote(spec.name, safe='')}"
    if spec.label is not None:
        return f"{path}/labels/{urllib.parse.quote(spec.label, safe='')}"
    return path if spec.version is None else f"{path}/versions/{spec.version}"


def _whole(spec: ModelSpec) -> ModelSpec:
    """The version that `spec` means, whichever of its signatures."""
    return dataclasses.replace(spec, signature_name="")


def _outputs(values: Any, signature: SignatureInfo) -> dict[str, np.ndarray]:
    """The arrays of a columnar answer: a bare value where there is one output."""
    infos = signature.outputs
    if len(infos) == 1:
        values = dict.fromkeys(infos, values)
    try:
        return {
            alias: json_tensor.tensor(values[alias], info)
            for alias, info in infos.items()
        }
    except (KeyError, TypeError) as error:
        raise ServingError(
            "The server's answer does not fit its metadata. "
            f"Expected outputs: {', '.join(infos)}."
        ) from error
