"""The PredictionService with its calls counted, as TF Serving counts them, and logged.

Those that were answered and drawn by chance are written where the model's
`logging_config` says.
"""

import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any

from savedmodels.protos import (
    classification_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)
from serving import request_log_record
from serving.errors import ServingError
from serving.prediction_service import PredictionService
from serving.predictor import Predictor
from serving.request_log import RequestLog
from serving.server_metrics import ServerMetrics

_ENTRYPOINT = "GRPC"


class ObservedPredictionService(PredictionService):
    """Counts what it answers and what it refuses.

    Like TF Serving it leaves GetModelMetadata out, and of MultiInference it counts the
    examples alone.
    """

    def __init__(
        self,
        predictor: Predictor,
        metrics: ServerMetrics,
        log: RequestLog,
        *,
        as_content: bool = False,
    ) -> None:
        """Makes the service.

        Args:
            predictor: Computes the answers.
            metrics: Where they are counted.
            log: Where they are written.
            as_content: See `PredictionService`.
        """
        super().__init__(predictor, as_content=as_content)
        self._metrics = metrics
        self._log = log

    async def predict(
        self, request: predict_pb2.PredictRequest, timeout_s: float | None
    ) -> predict_pb2.PredictResponse:
        """Runs one signature on one batch."""
        return await self._counted("Predict", super().predict, request, timeout_s)

    async def classify(
        self,
        request: classification_pb2.ClassificationRequest,
        timeout_s: float | None,
    ) -> classification_pb2.ClassificationResponse:
        """Classifies tf.Examples."""
        response = await self._counted("Classify", super().classify, request, timeout_s)
        count = len(response.result.classifications)
        self._metrics.took_examples(request.model_spec.name, count)
        return response

    async def regress(
        self, request: regression_pb2.RegressionRequest, timeout_s: float | None
    ) -> regression_pb2.RegressionResponse:
        """Gives one value to each tf.Example."""
        response = await self._counted("Regress", super().regress, request, timeout_s)
        count = len(response.result.regressions)
        self._metrics.took_examples(request.model_spec.name, count)
        return response

    async def multi_inference(
        self, request: inference_pb2.MultiInferenceRequest, timeout_s: float | None
    ) -> inference_pb2.MultiInferenceResponse:
        """Runs several signatures on the same tf.Examples."""
        response = await super().multi_inference(request, timeout_s)
        first = response.results[0]
        count = len(first.classification_result.classifications)
        count = count or len(first.regression_result.regressions)
        self._metrics.took_examples(first.model_spec.name, count)
        self._logged("multi_inference_log", first.model_spec.name, request, response)
        return response

    async def _counted(
        self,
        api: str,
        method: Callable[[Any, float | None], Awaitable[Any]],
        request: Any,
        timeout_s: float | None,
    ) -> Any:
        model = request.model_spec.name
        response = await counted(self._metrics, model, api, method(request, timeout_s))
        self._logged(f"{api.lower()}_log", model, request, response)
        return response

    def _logged(self, kind: str, model: str, request: Any, response: Any) -> None:
        if options := self._log.sampled(model):
            size = request.ByteSize() + response.ByteSize()
            make = functools.partial(
                request_log_record.of_messages, kind, request, response
            )
            self._log.offer(model, options, size, make)


async def counted(
    metrics: ServerMetrics, model: str, api: str, call: Awaitable[Any]
) -> Any:
    """Returns what a call over gRPC answers, and counts how it ended.

    Args:
        metrics: Where it is counted.
        model: The name that the request gives.
        api: What metrics call it.
        call: Returns the answer, or raises a `ServingError`.
    """
    began = time.perf_counter()
    status = "CANCELLED"  # unless something else ends the call
    try:
        response = await call
        status = ""
    except ServingError as error:
        status = error.grpc_code.name
        raise
    except Exception:
        status = "INTERNAL"
        raise
    finally:
        if status:
            metrics.ended(model, status)
    metrics.answered(model, api, _ENTRYPOINT, time.perf_counter() - began)
    return response
