"""Answers from other TF Serving servers, asked over gRPC.

Signatures are kept for a moment, since REST needs them to read each request: those of
a named version for a minute, those of the latest or of a label for a second. An answer
of another version, or a refusal, ends that at once, so a new latest version is noticed
with the first answer that it gives.
"""

import asyncio
import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import grpc.aio
import numpy as np
from google.protobuf.message import DecodeError

from savedmodels.protos import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
    regression_pb2,
)
from serving import errors, messages
from serving.errors import ServableNotFoundError, ServingError
from serving.predictor import (
    Classification,
    ModelSpec,
    Prediction,
    Regression,
    VersionStatus,
)
from serving.servable import DEFAULT_SIGNATURE
from serving.signatures import SignatureInfo
from serving.upstream_pool import Pool

_PREDICTION = "/tensorflow.serving.PredictionService/"
_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
_MAX_CACHED = 1000

_Signatures: TypeAlias = tuple[int, Mapping[str, SignatureInfo]]
_Key: TypeAlias = tuple[str, int | None, str | None]
_Response = TypeVar("_Response")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CacheOptions:
    """How long signatures are kept.

    Attributes:
        version_s: Seconds for those of a version that was named by its number.
        latest_s: Seconds for those of the latest version, or of a label.
    """

    version_s: float = 60.0
    latest_s: float = 1.0


class UpstreamPredictor:
    """Implements `serving.predictor.Predictor`. For one event loop."""

    def __init__(
        self, pool: Pool, *, timeout_s: float, cache: CacheOptions | None = None
    ) -> None:
        """Makes the predictor.

        Args:
            pool: The servers.
            timeout_s: Seconds for a question that brings no limit of its own.
            cache: How long signatures are kept.
        """
        self._pool = pool
        self._timeout_s = timeout_s
        self._cache_options = cache or CacheOptions()
        self._cached: dict[_Key, tuple[float, asyncio.Task[_Signatures]]] = {}

    async def predict(
        self,
        spec: ModelSpec,
        inputs: Mapping[str, np.ndarray],
        *,
        output_filter: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> Prediction:
        """Runs one signature on one batch. See `Predictor.predict`."""
        request = messages.predict_request(spec, inputs, output_filter)
        response = await self._infer(
            "Predict", spec, request, predict_pb2.PredictResponse, timeout_s
        )
        return Prediction(messages.outputs(response), *_answered(spec, response))

    async def classify(
        self,
        spec: ModelSpec,
        examples: Sequence[bytes],
        *,
        timeout_s: float | None = None,
    ) -> Classification:
        """Classifies serialized tf.Examples. See `Predictor.classify`."""
        request = messages.classify_request(spec, examples)
        kind = classification_pb2.ClassificationResponse
        response = await self._infer("Classify", spec, request, kind, timeout_s)
        results = messages.classifications(response)
        return Classification(results, *_answered(spec, response))

    async def regress(
        self,
        spec: ModelSpec,
        examples: Sequence[bytes],
        *,
        timeout_s: float | None = None,
    ) -> Regression:
        """Gives one value to each serialized tf.Example. See `Predictor.regress`."""
        request = messages.regress_request(spec, examples)
        kind = regression_pb2.RegressionResponse
        response = await self._infer("Regress", spec, request, kind, timeout_s)
        return Regression(messages.regressions(response), *_answered(spec, response))

    async def signatures(self, spec: ModelSpec) -> _Signatures:
        """Returns the version that `spec` means and its signatures by name."""
        key, now = _key(spec), time.monotonic()
        until, task = self._cached.get(key, (0.0, None))
        if task is None or now > until or task.cancelled():
            if len(self._cached) >= _MAX_CACHED:
                self._cached.clear()
            options = self._cache_options
            kept_s = options.latest_s if spec.version is None else options.version_s
            task = asyncio.create_task(self._fetch(spec))
            task.add_done_callback(lambda done: self._drop_failed(key, done))
            self._cached[key] = (now + kept_s, task)
        # Others may wait for the same answer: one that leaves does not end it.
        return await asyncio.shield(task)

    async def status(
        self, name: str, version: int | None = None
    ) -> list[VersionStatus]:
        """Returns the state of all versions of a model, or of one, newest first."""
        request = messages.status_request(ModelSpec(name, version))
        kind = get_model_status_pb2.GetModelStatusResponse
        return messages.statuses(await self._ask(_STATUS, request, kind, None))

    def models(self) -> Mapping[str, bool]:
        """Returns no model: TF Serving's API does not tell which ones there are."""
        return {}

    async def _fetch(self, spec: ModelSpec) -> _Signatures:
        path = f"{_PREDICTION}GetModelMetadata"
        kind = get_model_metadata_pb2.GetModelMetadataResponse
        response = await self._ask(path, messages.metadata_request(spec), kind, None)
        return response.model_spec.version.value, messages.signatures(response)

    def _drop_failed(self, key: _Key, done: asyncio.Task[_Signatures]) -> None:
        # Asking for the exception also tells asyncio that it was seen.
        if done.cancelled() or done.exception():
            if self._cached.get(key, (0.0, None))[1] is done:
                del self._cached[key]

    def _cached_version(self, key: _Key) -> int | None:
        """The version whose signatures are kept; None for none yet."""
        _, task = self._cached.get(key, (0.0, None))
        if task is None or not task.done() or task.cancelled() or task.exception():
            return None
        return task.result()[0]

    async def _infer(
        self,
        method: str,
        spec: ModelSpec,
        request: Any,
        kind: type[_Response],
        timeout_s: float | None,
    ) -> _Response:
        """Asks, and forgets signatures that the answer shows to be out of date."""
        key = _key(spec)
        try:
            path = f"{_PREDICTION}{method}"
            response: Any = await self._ask(path, request, kind, timeout_s)
        except ServingError as error:
            # A version with a number of its own is the same for as long as it is there.
            if spec.version is None or isinstance(error, ServableNotFoundError):
                self._cached.pop(key, None)
            raise
        if self._cached_version(key) not in (None, response.model_spec.version.value):
            self._cached.pop(key, None)
        answer: _Response = response
        return answer

    async def _ask(
        self,
        path: str,
        request: Any,
        kind: type[_Response],
        timeout_s: float | None,
    ) -> _Response:
        """Sends a message and returns the answer's, or raises what it says."""
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        data = request.SerializeToString()
        try:
            reply = await self._pool.call(path, data, timeout_s=timeout_s)
            message: _Response = kind.FromString(reply.data)  # type: ignore[attr-defined]
        except grpc.aio.AioRpcError as error:
            raise errors.of_grpc_code(
                error.code().value[0], error.details() or ""
            ) from error
        except DecodeError as error:
            raise ServingError("The upstream's answer cannot be parsed.") from error
        return message


def _key(spec: ModelSpec) -> _Key:
    return spec.name, spec.version, spec.label


def _answered(spec: ModelSpec, response: Any) -> tuple[int, str]:
    """Which version and signature gave an answer."""
    told = response.model_spec
    name = told.signature_name or spec.signature_name or DEFAULT_SIGNATURE
    return told.version.value, name
