"""A `Predictor` that tells what it was asked, for protocols without messages."""

from collections.abc import Mapping, Sequence

import numpy as np

from serving.predictor import (
    Classification,
    ModelSpec,
    Prediction,
    Predictor,
    Regression,
    VersionStatus,
)
from serving.servable import SignatureInfo
from serving.server_metrics import ServerMetrics


class ObservedPredictor:
    """Implements `Predictor` by another one, and counts the examples it is given."""

    def __init__(self, predictor: Predictor, metrics: ServerMetrics) -> None:
        """Takes the predictor that answers, and where to count."""
        self._predictor = predictor
        self._metrics = metrics

    async def predict(
        self,
        spec: ModelSpec,
        inputs: Mapping[str, np.ndarray],
        *,
        output_filter: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> Prediction:
        """Runs one signature on one batch. See `Predictor.predict`."""
        return await self._predictor.predict(
            spec, inputs, output_filter=output_filter, timeout_s=timeout_s
        )

    async def classify(
        self,
        spec: ModelSpec,
        examples: Sequence[bytes],
        *,
        timeout_s: float | None = None,
    ) -> Classification:
        """Classifies serialized tf.Examples. See `Predictor.classify`."""
        answer = await self._predictor.classify(spec, examples, timeout_s=timeout_s)
        self._metrics.took_examples(spec.name, len(examples))
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
        self._metrics.took_examples(spec.name, len(examples))
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
