"""`inference.GRPCInferenceService`: the Open Inference Protocol over a `Predictor`.

Free of any gRPC engine, as `prediction_service`. Tensors come typed or raw, and an
answer has the form of its request; what has no typed form is always raw.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from serving import v2_model, v2_protos, v2_tensor
from serving.errors import InvalidRequestError
from serving.grpc_observed import counted
from serving.predictor import Predictor
from serving.server_metrics import ServerMetrics
from serving.signatures import SignatureInfo

# Datatype to the field that holds its values.
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    v2_tensor.BYTES: "bytes_contents",
}


class InferenceService:
    """Answers the calls of the service."""

    def __init__(
        self, predictor: Predictor, ready: Callable[[], bool], metrics: ServerMetrics
    ) -> None:
        """Makes the service.

        Args:
            predictor: Computes the answers.
            ready: Whether the server takes requests.
            metrics: Where calls of ModelInfer are counted.
        """
        self._predictor = predictor
        self._ready = ready
        self._metrics = metrics

    async def server_live(self, request: Any, timeout_s: float | None) -> Any:
        """Tells that the process lives."""
        del request, timeout_s
        return v2_protos.ServerLiveResponse(live=True)

    async def server_ready(self, request: Any, timeout_s: float | None) -> Any:
        """Tells whether the server takes requests."""
        del request, timeout_s
        return v2_protos.ServerReadyResponse(ready=self._ready())

    async def model_ready(self, request: Any, timeout_s: float | None) -> Any:
        """Tells whether a model, or one version of it, can be asked."""
        del timeout_s
        spec = v2_model.model_spec(request.name, request.version)
        ready = await v2_model.is_ready(self._predictor, spec)
        return v2_protos.ModelReadyResponse(ready=ready)

    async def server_metadata(self, request: Any, timeout_s: float | None) -> Any:
        """Tells the server's name and version."""
        del request, timeout_s
        return v2_protos.ServerMetadataResponse(**v2_model.server_metadata())

    async def model_metadata(self, request: Any, timeout_s: float | None) -> Any:
        """Tells what a model takes and returns."""
        del timeout_s
        spec = v2_model.model_spec(request.name, request.version)
        told = await v2_model.metadata(self._predictor, spec)
        return v2_protos.ModelMetadataResponse(**told)

    async def model_infer(self, request: Any, timeout_s: float | None) -> Any:
        """Runs a model on one batch."""
        call = self._infer(request, timeout_s)
        return await counted(self._metrics, request.model_name, "ModelInfer", call)

    async def _infer(self, request: Any, timeout_s: float | None) -> Any:
        parameters = request.parameters
        name = ""
        if "signature_name" in parameters:
            name = parameters["signature_name"].string_param
        spec = v2_model.model_spec(request.model_name, request.model_version, name)
        _, signature = await v2_model.signature_of(self._predictor, spec)
        answer = await self._predictor.predict(
            spec,
            _inputs(request, signature),
            output_filter=[output.name for output in request.outputs],
            timeout_s=timeout_s,
        )
        response = v2_protos.ModelInferResponse(
            model_name=spec.name, model_version=str(answer.version), id=request.id
        )
        _fill_outputs(response, answer.outputs, bool(request.raw_input_contents))
        return response


def _inputs(request: Any, signature: SignatureInfo) -> dict[str, np.ndarray]:
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidRequestError(
            f"`raw_input_contents` must hold each of the {len(request.inputs)} inputs. "
            f"Received: {len(raw)}."
        )
    inputs: dict[str, np.ndarray] = {}
    for place, proto in enumerate(request.inputs):
        alias, datatype, shape = proto.name, proto.datatype, list(proto.shape)
        v2_tensor.check(signature, alias, datatype)
        if alias in inputs:
            raise InvalidRequestError(f"Input `{alias}` is there twice.")
        if raw:
            inputs[alias] = v2_tensor.from_raw(raw[place], alias, datatype, shape)
            continue
        if datatype not in _CONTENTS:
            raise InvalidRequestError(
                f"Input `{alias}` is {datatype}, which comes in `raw_input_contents` "
                "alone."
            )
        values = getattr(proto.contents, _CONTENTS[datatype])
        inputs[alias] = v2_tensor.from_values(values, alias, datatype, shape)
    return inputs


def _fill_outputs(
    response: Any, outputs: Mapping[str, np.ndarray], is_raw: bool
) -> None:
    names = {alias: v2_tensor.datatype(a.dtype) for alias, a in outputs.items()}
    is_raw = is_raw or not set(names.values()) <= _CONTENTS.keys()
    for alias, array in outputs.items():
        name = names[alias]
        proto = response.outputs.add(name=alias, datatype=name, shape=array.shape)
        if is_raw:
            response.raw_output_contents.append(v2_tensor.to_raw(array))
            continue
        values = array.reshape(-1).tolist()
        if name == v2_tensor.BYTES:
            values = [v.encode() if isinstance(v, str) else bytes(v) for v in values]
        getattr(proto.contents, _CONTENTS[name]).extend(values)
