"""`tensorflow.serving.ModelService`: what versions there are, and how they fare."""

import logging
from collections.abc import Callable
from typing import Protocol

from savedmodels.protos import (
    error_codes_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_server_config_pb2,
)
from serving.errors import InvalidRequestError, ServingError, UnimplementedError
from serving.predictor import Predictor

logger = logging.getLogger(__name__)


class Reloader(Protocol):
    """Changes what is served: `serving/config_reloader.py`."""

    async def reload(
        self,
        config: model_server_config_pb2.ModelServerConfig,
        timeout_s: float | None,
    ) -> None:
        """Serves the models of `config` and no others; raises to refuse."""
        ...


class ModelService:
    """Answers the calls of the service from a `Predictor`."""

    def __init__(
        self,
        predictor: Predictor,
        reloader: Reloader | None = None,
        *,
        metric: Callable[[str], int] = lambda name: 0,
    ) -> None:
        """Makes the service.

        Args:
            predictor: Knows the versions.
            reloader: Changes them; without one, such calls are UNIMPLEMENTED.
            metric: Returns the value of a metric, 0 for one that there is not.
        """
        self._predictor = predictor
        self._reloader = reloader
        self._metric = metric

    async def get_model_status(
        self,
        request: get_model_status_pb2.GetModelStatusRequest,
        timeout_s: float | None,
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Tells the state of all versions of a model, or of one.

        A version label is not looked at, as in TF Serving.
        """
        del timeout_s  # Nothing is run.
        if not request.HasField("model_spec"):
            raise InvalidRequestError("Missing ModelSpec")
        spec = request.model_spec
        if not spec.name:
            raise InvalidRequestError("ModelSpec has no name specified.")
        version = spec.version.value if spec.HasField("version") else None
        response = get_model_status_pb2.GetModelStatusResponse()
        states = get_model_status_pb2.ModelVersionStatus.State
        for status in await self._predictor.status(spec.name, version):
            proto = response.model_version_status.add()
            proto.version = status.version
            proto.state = states.Value(status.state)
            proto.status.error_code = error_codes_pb2.Code.Value(status.error_code)
            proto.status.error_message = status.error_message
        return response

    async def handle_reload_config_request(
        self,
        request: model_management_pb2.ReloadConfigRequest,
        timeout_s: float | None,
    ) -> model_management_pb2.ReloadConfigResponse:
        """Serves other models from now on, and waits for those with a new name."""
        if self._reloader is None:
            raise UnimplementedError(
                "This server's models cannot be changed by a call."
            )
        # TF Serving, too, answers 0 for a name that it does not know.
        before = {name: self._metric(name) for name in sorted(request.metric_names)}
        try:
            await self._reloader.reload(request.config, timeout_s)
        except ServingError as error:
            logger.error("ReloadConfig failed: %s", error)
            raise
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = error_codes_pb2.OK
        for name, value in before.items():
            increase = self._metric(name) - value
            response.metric.add(name=name, int64_value_increase=increase)
        return response
