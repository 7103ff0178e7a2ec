"""Which method of each gRPC service answers which call, and in which messages."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from savedmodels.protos import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)
from serving import profiler_protos, v2_protos
from serving.model_service import ModelService
from serving.prediction_service import PredictionService
from serving.profiler_service import ProfilerService
from serving.v2_service import InferenceService

Method: TypeAlias = Callable[[Any, float | None], Awaitable[Any]]
# Name of the call to its method, and the classes of its request and its response.
Methods: TypeAlias = Mapping[str, tuple[Method, Any, Any]]


def of_prediction(service: PredictionService) -> Methods:
    """Returns the methods of `tensorflow.serving.PredictionService`."""
    return {
        "Predict": (
            service.predict,
            predict_pb2.PredictRequest,
            predict_pb2.PredictResponse,
        ),
        "Classify": (
            service.classify,
            classification_pb2.ClassificationRequest,
            classification_pb2.ClassificationResponse,
        ),
        "Regress": (
            service.regress,
            regression_pb2.RegressionRequest,
            regression_pb2.RegressionResponse,
        ),
        "MultiInference": (
            service.multi_inference,
            inference_pb2.MultiInferenceRequest,
            inference_pb2.MultiInferenceResponse,
        ),
        "GetModelMetadata": (
            service.get_model_metadata,
            get_model_metadata_pb2.GetModelMetadataRequest,
            get_model_metadata_pb2.GetModelMetadataResponse,
        ),
    }


def of_inference(service: InferenceService) -> Methods:
    """Returns the methods of `inference.GRPCInferenceService`."""
    methods = {
        "ServerLive": service.server_live,
        "ServerReady": service.server_ready,
        "ModelReady": service.model_ready,
        "ServerMetadata": service.server_metadata,
        "ModelMetadata": service.model_metadata,
        "ModelInfer": service.model_infer,
    }
    return {
        name: (
            method,
            getattr(v2_protos, f"{name}Request"),
            getattr(v2_protos, f"{name}Response"),
        )
        for name, method in methods.items()
    }


def of_profiler(service: ProfilerService) -> Methods:
    """Returns the methods of `tensorflow.ProfilerService`."""
    return {
        "Profile": (
            service.profile,
            profiler_protos.ProfileRequest,
            profiler_protos.ProfileResponse,
        ),
        "Terminate": (
            service.terminate,
            profiler_protos.TerminateRequest,
            profiler_protos.TerminateResponse,
        ),
        "Monitor": (
            service.monitor,
            profiler_protos.MonitorRequest,
            profiler_protos.MonitorResponse,
        ),
    }


def of_model(service: ModelService) -> Methods:
    """Returns the methods of `tensorflow.serving.ModelService`."""
    return {
        "GetModelStatus": (
            service.get_model_status,
            get_model_status_pb2.GetModelStatusRequest,
            get_model_status_pb2.GetModelStatusResponse,
        ),
        "HandleReloadConfigRequest": (
            service.handle_reload_config_request,
            model_management_pb2.ReloadConfigRequest,
            model_management_pb2.ReloadConfigResponse,
        ),
    }
