"""`tensorflow.serving.ModelService`: what versions there are, and how they fare."""

from savedmodels.protos import error_codes_pb2, get_model_status_pb2
from serving.errors import InvalidRequestError
from serving.predictor import Predictor


class ModelService:
    """Answers the calls of the service from a `Predictor`."""

    def __init__(self, predictor: Predictor) -> None:
        """Makes the service.

        Args:
            predictor: Knows the versions.
        """
        self._predictor = predictor

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
