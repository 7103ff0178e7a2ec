"""The requests that a version carries for its warm-up, as calls of its signatures.

They lie in `assets.extra/tf_serving_warmup_requests`, a TFRecord of PredictionLog, as
TF Serving has it.
"""

import dataclasses
import pathlib
import struct
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from google.protobuf.message import DecodeError

from savedmodels import store
from savedmodels.protos import prediction_log_pb2
from serving import example_input, tensor_codec
from serving.errors import InvalidRequestError, ServingError, UnimplementedError

_MAX_RECORDS = 1000
# TFRecord: length (uint64), its checksum (uint32), data, its checksum (uint32).
_HEADER = struct.Struct("<QI")
_FOOTER_BYTES = 4


@dataclasses.dataclass(frozen=True, slots=True)
class WarmupRequest:
    """One call of one signature.

    Attributes:
        record: Number of the record that it stands in, from 1.
        signature_name: Name of the signature; never empty.
        inputs: Alias to array, as the record has them.
        output_filter: Aliases to return; empty for all.
    """

    record: int
    signature_name: str
    inputs: Mapping[str, np.ndarray]
    output_filter: Sequence[str] = ()


def read(path: pathlib.Path) -> Iterator[WarmupRequest]:
    """Yields a version's warm-up requests, in their order.

    Args:
        path: Its folder; it need not hold any.

    Raises:
        ServingError: The file is broken.
    """
    file = path / store.WARMUP_REQUESTS
    if not file.is_file():
        return
    for number, record in enumerate(_records(file), start=1):
        if number > _MAX_RECORDS:
            raise InvalidRequestError(
                "Number of warmup records exceeds the maximum "
                f"({_MAX_RECORDS}) at {file}"
            )
        try:
            log = prediction_log_pb2.PredictionLog.FromString(record)
        except DecodeError as error:
            raise InvalidRequestError(
                f"Failed to parse warmup record: {number} from {file}."
            ) from error
        yield from _requests(number, log)


def _requests(
    number: int, log: prediction_log_pb2.PredictionLog
) -> Iterator[WarmupRequest]:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        predict = log.predict_log.request
        yield WarmupRequest(
            number,
            predict.model_spec.signature_name or "serving_default",
            {key: tensor_codec.decode(value) for key, value in predict.inputs.items()},
            list(predict.output_filter),
        )
        return
    if kind in ("classify_log", "regress_log"):
        request = getattr(log, kind).request
        names = [request.model_spec.signature_name]
    elif kind == "multi_inference_log":
        request = log.multi_inference_log.request
        names = [task.model_spec.signature_name for task in request.tasks]
    else:
        raise UnimplementedError(f"Unsupported log_type for warmup: {kind}")
    examples = example_input.serialized_examples(request.input)
    inputs = {"inputs": example_input.as_array(examples)}
    for name in names:
        yield WarmupRequest(number, name or "serving_default", inputs)


def _records(file: pathlib.Path) -> Iterator[bytes]:
    """The records of a TFRecord file; checksums are left to whoever wrote it."""
    with file.open("rb") as stream:
        while header := stream.read(_HEADER.size):
            if len(header) < _HEADER.size:
                raise _not_a_tfrecord(file)
            length, _ = _HEADER.unpack(header)
            if length > file.stat().st_size:
                raise _not_a_tfrecord(file)
            record = stream.read(length)
            if len(record) + len(stream.read(_FOOTER_BYTES)) < length + _FOOTER_BYTES:
                raise _not_a_tfrecord(file)
            yield record


def _not_a_tfrecord(file: pathlib.Path) -> ServingError:
    return ServingError(
        f"Failed to read {file}. Please verify your warmup data is in TFRecord format."
    )
