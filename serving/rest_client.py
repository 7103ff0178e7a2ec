"""A REST client of TF Serving's API: numpy in, numpy out, no TensorFlow."""

import json
import types
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from google.protobuf import json_format

from savedmodels.protos import get_model_metadata_pb2
from serving import _client, errors, example_codec, json_encode, json_tensor
from serving._http_connection import HttpConnections
from serving.errors import ServingError
from serving.predictor import VersionStatus
from serving.servable import DEFAULT_SIGNATURE, SignatureInfo
from serving.signatures import check_output_filter, from_definitions, select


class RestClient:
    """Asks one server. Thread-safe; use it as a context manager, or `close` it.

    Every method takes `timeout_s`, seconds until it gives up, and raises the
    `ServingError` that the server answered with, its text unchanged. A call is
    repeated only where no connection came about, or where the server had closed an
    idle one. Arrays of many values are far quicker by gRPC.
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
        self._connections = HttpConnections(url)
        self._timeout_s = timeout_s
        # JSON does not say an answer's dtypes, so the metadata are asked once.
        self._signatures: dict[tuple[str, int | None], dict[str, SignatureInfo]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes idle connections."""
        self._connections.close()

    def predict(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        version: int | None = None,
        signature_name: str = "",
        output_filter: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs one signature on one batch.

        Args:
            model: Model name.
            inputs: Alias to array, or to nested lists; strings as bytes or str.
                Numbers only have to fit the signature's dtypes.
            version: Version number; None for the latest.
            signature_name: "" for `serving_default`.
            output_filter: Aliases to return; empty for all. REST has no such filter,
                so all of them travel.
            timeout_s: Seconds; None for the client's own.

        Returns:
            Alias to array of the signature's dtype; strings are object arrays of
            bytes. A string that is not UTF-8 is damaged unless its alias ends with
            `_bytes`.
        """
        tensors = ", ".join(
            # Every string as base64, whatever its alias: so any bytes arrive.
            f"{json.dumps(alias)}: "
            f"{json_encode.tensor(_client.as_array(alias, value), '_bytes')}"
            for alias, value in inputs.items()
        )
        body = (
            f'{{"signature_name": {json.dumps(signature_name)}, '
            f'"inputs": {{{tensors}}}}}'
        )
        path = f"{_path(model, version)}:predict"
        values = self._ask("outputs", "POST", path, body, timeout_s)
        name = signature_name or DEFAULT_SIGNATURE
        try:
            signature = self._known_signatures(model, version, timeout_s)[name]
            outputs = _outputs(values, signature)
        except (KeyError, ServingError):
            # A newer version may answer with other dtypes than those known.
            self._signatures.pop((model, version), None)
            signature = self._known_signatures(model, version, timeout_s)[name]
            outputs = _outputs(values, signature)
        check_output_filter(signature, output_filter)
        return select(outputs, output_filter)

    def classify(
        self,
        model: str,
        examples: Sequence[Mapping[str, Any] | bytes],
        *,
        version: int | None = None,
        signature_name: str = "",
        timeout_s: float | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Classifies examples.

        Args:
            model: Model name.
            examples: Each a dict of features as `example_codec.encode` takes it, or a
                serialized tf.Example.
            version: Version number; None for the latest.
            signature_name: "" for `serving_default`.
            timeout_s: Seconds; None for the client's own.

        Returns:
            Per example, (label, score) pairs in the signature's order of classes.
        """
        path = f"{_path(model, version)}:classify"
        body = _body(examples, signature_name)
        results = self._ask("results", "POST", path, body, timeout_s)
        return [
            # Few digits stand for a float32, as gRPC carries it.
            [(label, float(np.float32(score))) for label, score in pairs]
            for pairs in results
        ]

    def regress(
        self,
        model: str,
        examples: Sequence[Mapping[str, Any] | bytes],
        *,
        version: int | None = None,
        signature_name: str = "",
        timeout_s: float | None = None,
    ) -> np.ndarray:
        """Returns one value for each example, [examples] float32. See `classify`."""
        path = f"{_path(model, version)}:regress"
        body = _body(examples, signature_name)
        results = self._ask("results", "POST", path, body, timeout_s)
        return np.array(results, np.float32)

    def metadata(
        self, model: str, *, version: int | None = None, timeout_s: float | None = None
    ) -> dict[str, SignatureInfo]:
        """Returns a version's signatures, by name."""
        path = f"{_path(model, version)}/metadata"
        metadata = self._ask("metadata", "GET", path, None, timeout_s)
        definitions = get_model_metadata_pb2.SignatureDefMap()
        json_format.ParseDict(
            metadata["signature_def"],
            definitions,
            ignore_unknown_fields=True,
        )
        return from_definitions(definitions.signature_def)

    def status(
        self, model: str, *, version: int | None = None, timeout_s: float | None = None
    ) -> list[VersionStatus]:
        """Returns the state of all versions of a model, or of one."""
        versions = self._ask(
            "model_version_status", "GET", _path(model, version), None, timeout_s
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
        self, model: str, version: int | None, timeout_s: float | None
    ) -> dict[str, SignatureInfo]:
        key = (model, version)
        if key not in self._signatures:
            self._signatures[key] = self.metadata(
                model, version=version, timeout_s=timeout_s
            )
        return self._signatures[key]

    def _ask(
        self,
        key: str,
        method: str,
        path: str,
        body: str | None,
        timeout_s: float | None,
    ) -> Any:
        """What the answer holds under `key`. Raises what the server refused with."""
        status, data = self._connections.exchange(
            method,
            path,
            None if body is None else body.encode(),
            self._timeout_s if timeout_s is None else timeout_s,
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


def _path(model: str, version: int | None) -> str:
    path = f"/v1/models/{urllib.parse.quote(model, safe='')}"
    return path if version is None else f"{path}/versions/{version}"


def _body(examples: Sequence[Mapping[str, Any] | bytes], signature_name: str) -> str:
    texts = ", ".join(example_codec.to_json(example) for example in examples)
    return f'{{"signature_name": {json.dumps(signature_name)}, "examples": [{texts}]}}'


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
