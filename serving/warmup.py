"""Replays the requests that a version carries for its warm-up, before it answers.

They lie in `assets.extra/tf_serving_warmup_requests`, a TFRecord of PredictionLog, as
TF Serving has it. The first requests of a version are slow (graphs are optimised,
memory is taken); this way no client sends them.
"""

import pathlib
import struct
from collections.abc import Iterator

from google.protobuf.message import DecodeError

from savedmodels import store
from savedmodels.protos import prediction_log_pb2
from serving import example_input, tensor_codec
from serving.errors import InvalidRequestError, ServingError, UnimplementedError
from serving.servable import Servable

_MAX_RECORDS = 1000
# TFRecord: length (uint64), its checksum (uint32), data, its checksum (uint32).
_HEADER = struct.Struct("<QI")
_FOOTER_BYTES = 4


def replay(servable: Servable, path: pathlib.Path, iterations: int = 1) -> int:
    """Runs a version's warm-up requests, and returns how many there were.

    Args:
        servable: The loaded version.
        path: Its folder; it need not hold warm-up requests.
        iterations: How often each is run.

    Raises:
        ServingError: The file is broken, or one of its requests fails.
    """
    file = path / store.WARMUP_REQUESTS
    if not file.is_file():
        return 0
    count = 0
    for record in _records(file):
        count += 1
        if count > _MAX_RECORDS:
            raise InvalidRequestError(
                "Number of warmup records exceeds the maximum "
                f"({_MAX_RECORDS}) at {file}"
            )
        try:
            log = prediction_log_pb2.PredictionLog.FromString(record)
        except DecodeError as error:
            raise InvalidRequestError(
                f"Failed to parse warmup record: {count} from {file}."
            ) from error
        for _ in range(iterations):
            _run(servable, log)
    return count


def _run(servable: Servable, log: prediction_log_pb2.PredictionLog) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        predict = log.predict_log.request
        servable.run(
            predict.model_spec.signature_name,
            {key: tensor_codec.decode(value) for key, value in predict.inputs.items()},
            list(predict.output_filter),
        )
    elif kind in ("classify_log", "regress_log"):
        request = getattr(log, kind).request
        examples = example_input.serialized_examples(request.input)
        servable.run(
            request.model_spec.signature_name,
            {"inputs": example_input.as_array(examples)},
        )
    elif kind == "multi_inference_log":
        multi = log.multi_inference_log.request
        examples = example_input.serialized_examples(multi.input)
        for task in multi.tasks:
            servable.run(
                task.model_spec.signature_name,
                {"inputs": example_input.as_array(examples)},
            )
    else:
        raise UnimplementedError(f"Unsupported log_type for warmup: {kind}")


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
