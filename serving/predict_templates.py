"""Predict requests that differ in the values of one tensor alone: parsed once.

A client sends the same bytes around other values, call after call. Where those bytes
are known, the values are taken from between them, and nothing is parsed or checked that
was parsed and checked before.
"""

import dataclasses

import numpy as np
from google.protobuf.message import DecodeError

from savedmodels.protos import predict_pb2
from serving.batch_axis import Arrays, Shapes
from serving.batcher import Batcher
from serving.loaded_version import LoadedVersion
from serving.predictor import ModelSpec

_MOST = 64  # sizes of requests that are known; beyond it all are forgotten
_LEAST_BYTES = 32  # of values; where there are fewer, parsing is as quick
_MOST_BYTES = 4096  # around the values


@dataclasses.dataclass(frozen=True, slots=True)
class Checked:
    """What is known of a request that fits the version it means.

    Attributes:
        spec: The servable and signature that it names.
        output_filter: Aliases that it asks for.
        loaded: The version, which it was held against.
        name: Name of the signature.
        batcher: What batches its requests.
        shapes: See `batch_run.Task`.
        rows: See `batch_run.Task`.
    """

    spec: ModelSpec
    output_filter: tuple[str, ...]
    loaded: LoadedVersion
    name: str
    batcher: Batcher
    shapes: Shapes | None
    rows: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Template:
    before: bytes
    after: bytes
    alias: str
    dtype: np.dtype
    shape: tuple[int, ...]
    count: int
    checked: Checked


class PredictTemplates:
    """The requests of late, one of each size. Thread-safe."""

    def __init__(self) -> None:
        """Knows none."""
        # By size; None for a request that came once, and may be the only one.
        self._templates: dict[int, _Template | None] = {}

    def find(self, data: bytes) -> tuple[Checked, dict[str, np.ndarray]] | None:
        """Returns what is known of a request, and its inputs; None if it is new.

        The version that answers may be another one by now: that is for the caller to
        find out.

        Args:
            data: The request's bytes.
        """
        template = self._templates.get(len(data))
        if (
            template is None
            or not data.startswith(template.before)
            or not data.endswith(template.after)
        ):
            return None
        start = len(template.before)
        array = np.frombuffer(data, template.dtype, template.count, start)
        return template.checked, {template.alias: array.reshape(template.shape)}

    def add(
        self,
        data: bytes,
        request: predict_pb2.PredictRequest,
        inputs: Arrays,
        checked: Checked,
    ) -> None:
        """Takes note of a request, if it is one that may come again.

        Args:
            data: Its bytes.
            request: The same, parsed.
            inputs: Its inputs, with defaults.
            checked: What was found out about it.
        """
        if len(data) not in self._templates:
            if len(self._templates) >= _MOST:
                self._templates = {}
            self._templates[len(data)] = None
            return
        if len(inputs) != 1 or len(request.inputs) != 1:
            return
        ((alias, array),) = inputs.items()
        content = request.inputs[alias].tensor_content
        around = len(data) - len(content)
        is_plain = not array.dtype.hasobject and array.nbytes == len(content)
        if not is_plain or len(content) < _LEAST_BYTES or around > _MOST_BYTES:
            return
        start = data.find(content)
        before, after = data[:start], data[start + len(content) :]
        if _is_around(before, after, content, alias, request):
            self._templates[len(data)] = _Template(
                before, after, alias, array.dtype, array.shape, array.size, checked
            )


def _is_around(
    before: bytes,
    after: bytes,
    content: bytes,
    alias: str,
    request: predict_pb2.PredictRequest,
) -> bool:
    """Whether other values between the same bytes are the same request otherwise."""
    others = (~np.frombuffer(content, np.uint8)).tobytes()
    expected = predict_pb2.PredictRequest()
    expected.CopyFrom(request)
    expected.inputs[alias].tensor_content = others
    try:
        found = predict_pb2.PredictRequest.FromString(before + others + after)
    except DecodeError:  # What was found was not the values.
        return False
    return bool(found == expected)
