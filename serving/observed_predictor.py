"""A `Predictor` that tells what it was asked, for protocols without messages."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from serving import request_log_record
from serving.predictor import (
    Classification,
    ModelSpec,
    Prediction,
    Predictor,
    Regression,
    VersionStatus,
)
from serving.request_log import RequestLog
from serving.servable import SignatureInfo
from serving.server_metrics import ServerMetrics


class ObservedPredictor:
    """Implements `Predictor` by another one; counts examples, logs what is sampled."""

    def __init__(
        self, predictor: Predictor, metrics: ServerMetrics, log: RequestLog
    ) -> None:
        """Wraps a predictor.

        Args:
            predictor: Answers.
            metrics: Where examples are counted.
            log: Where requests are written, with their answers.
        """
        self._predictor = predictor
        self._metrics = metrics
        self._log = log

    async def predict(
        self,
        spec: ModelSpec,
        inputs: Mapping[str, np.ndarray],
        *,
        output_filter: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> Prediction:
        """Runs one signature on one batch. See `Predictor.predict`."""
        answer = await self._predictor.predict(
            spec, inputs, output_filter=output_filter, timeout_s=timeout_s
        )
        log_prediction(self._log, spec, inputs, output_filter, answer)
        return answer

    async def classify(
        self,
        spec: ModelSpec,
        examples: Sequence[bytes],
        *,
        timeout_s: float | None = None,
    ) -> Classification:
        """Classifies serialized tf.Examples. See `Predictor.classify`."""
        answer = await self._predictor.classify(spec, examples, timeout_s=timeout_s)
        make = request_log_record.of_classification
        self._took(spec, examples, functools.partial(make, spec, examples, answer))
        return answer

    async def regress(
        self,
        spec: ModelSpec,
        examples: Sequence[bytes],
        *,
        timeout_s: float | None = None,
    ) -> Regression:
        """Gives one value to each serialized tf.Example. See `Predictor.regress`."""
        answer = await self._predictor.regress(spec, examples, timeout_s=timeout_s)
        make = request_log_record.of_regression
        self._took(spec, examples, functools.partial(make, spec, examples, answer))
        return answer

    async def signatures(
        self, spec: ModelSpec
    ) -> tuple[int, Mapping[str, SignatureInfo]]:
        """Returns the version that `spec` means and its signatures by name."""
        return await self._predictor.signatures(spec)

    async def status(
        self, name: str, version: int | None = None
    ) -> list[VersionStatus]:
        """Returns the state of all versions of a model, or of one, newest first."""
        return await self._predictor.status(name, version)

    def models(self) -> Mapping[str, bool]:
        """Returns every known model's name, and whether a version is AVAILABLE."""
        return self._predictor.models()

    def _took(
        self, spec: ModelSpec, examples: Sequence[bytes], make: Callable[[], Any]
    ) -> None:
        """Counts and perhaps logs a request of examples that was answered."""
        self._metrics.took_examples(spec.name, len(examples))
        if options := self._log.sampled(spec.name):
            size = sum(map(len, examples))
            self._log.offer(spec.name, options, size, make)


def log_prediction(
    log: RequestLog,
    spec: ModelSpec,
    inputs: Mapping[str, np.ndarray],
    output_filter: Sequence[str],
    answer: Prediction,
) -> None:
    """Writes a request and its answer down, if it is one of those that are sampled."""
    if options := log.sampled(spec.name):
        size = request_log_record.size(inputs)
        size += request_log_record.size(answer.outputs)
        make = functools.partial(
            request_log_record.of_prediction, spec, inputs, output_filter, answer
        )
        log.offer(spec.name, options, size, make)
