"""Requests that a server logged, or that a version is warmed up with, as instances."""

from collections.abc import Iterator

import numpy as np
from google.protobuf.message import DecodeError

from pipelines import _images, _inputs
from pipelines._images import Note
from pipelines._inputs import Inputs, MismatchError, UnreadableError
from savedmodels.protos import predict_pb2, prediction_log_pb2
from serving import example_input, tensor_codec
from serving.servable import SignatureInfo


def read(record: bytes) -> prediction_log_pb2.PredictionLog | None:
    """Returns the PredictionLog that a record holds; None where it holds none.

    A tf.Example is never taken for one: it has the one field that a PredictionLog
    cannot do with alone.
    """
    if _is_one_field(record):
        return None
    try:
        log = prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError:
        return None
    return log if log.WhichOneof("log_type") else None


def _is_one_field(record: bytes) -> bool:
    """Whether field 1 is all of a record, as of a tf.Example, and never of a log."""
    length = 0
    for place in range(1, min(len(record), 6)):
        length |= (record[place] & 0x7F) << 7 * (place - 1)
        if record[place] < 0x80:
            return record[0] == 0x0A and place + 1 + length == len(record)
    return False


def instances(
    log: prediction_log_pb2.PredictionLog, signature: SignatureInfo, note: Note
) -> Iterator[Inputs | MismatchError | UnreadableError]:
    """Yields what a logged request asked about, one instance after the other.

    Args:
        log: The request; its answer is left alone.
        signature: What the model takes.
        note: As for `_images.from_example`.

    Yields:
        Alias to array, without the batch axis; or why that instance cannot be had.
    """
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        yield from _rows(log.predict_log.request, signature)
        return
    if kind not in ("classify_log", "regress_log", "multi_inference_log"):
        yield UnreadableError(f"A logged request of this kind has no inputs: {kind}.")
        return
    for example in example_input.serialized_examples(getattr(log, kind).request.input):
        try:
            yield _images.from_example(example, signature, note)
        except (MismatchError, UnreadableError) as error:
            yield error


def _rows(
    request: predict_pb2.PredictRequest, signature: SignatureInfo
) -> Iterator[Inputs | MismatchError | UnreadableError]:
    try:
        columns = _columns(request, signature)
    except (MismatchError, UnreadableError) as error:
        yield error
        return
    for row in range(min(map(len, columns.values()), default=0)):
        yield {alias: column[row, ...] for alias, column in columns.items()}


def _columns(
    request: predict_pb2.PredictRequest, signature: SignatureInfo
) -> dict[str, np.ndarray]:
    """The inputs of a request as the signature wants them, with the batch axis."""
    try:
        found = {alias: tensor_codec.decode(p) for alias, p in request.inputs.items()}
    except tensor_codec.TensorParseError as error:
        raise UnreadableError(f"The logged request is broken: {error}.") from error
    _inputs.check_aliases(found, signature)
    columns = {}
    for alias, array in found.items():
        info = signature.inputs[alias]
        if not array.ndim or _inputs.is_string(info) != (array.dtype == np.object_):
            raise MismatchError(
                f"`{alias}` must be {_inputs.describe_tensor(info)}. "
                f"Received: {array.dtype.name} of shape {list(array.shape)}."
            )
        _inputs.check_shape(array.shape[1:], alias, info)
        is_string = array.dtype == np.object_
        columns[alias] = array if is_string else _inputs.numbers(array, alias, info)
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise MismatchError(
            "All inputs of a logged request must have the same number of instances. "
            f"Received: {sorted(lengths)}."
        )
    return columns
