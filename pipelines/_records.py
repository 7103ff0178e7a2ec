"""TFRecords as instances: tf.Examples, or requests that a server logged."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines import _files, _images, _logged
from pipelines._inputs import MismatchError, UnreadableError
from pipelines._reading import Instance, Item, Reading, check_columns, no_columns
from savedmodels import tfrecord
from savedmodels.protos import feature_pb2

_Features = Mapping[str, feature_pb2.Feature]


def instances(reading: Reading) -> Iterator[Item]:
    """Yields the instances of a part of a file.

    A logged request is all its rows, so that only a whole file of them can number
    them: where a part meets one, it is refused.
    """
    span = reading.span
    whole = span.begin == 0 and span.end is None
    with _files.opened(reading.path) as file:
        if span.begin:
            file.seek(span.begin)
        records = tfrecord.read(file)
        while span.end is None or file.tell() < span.end:
            try:
                record = next(records)
            except StopIteration:
                return
            except tfrecord.TFRecordError as error:
                raise UnreadableError(str(error)) from error
            if record is None:
                yield UnreadableError("The record does not fit its checksum.")
                continue
            yield from _of_record(record, reading, whole)


def _of_record(record: bytes, reading: Reading, whole: bool) -> Iterator[Item]:
    log = _logged.read(record)
    if log is None:
        yield _of_example(record, reading)
    elif not whole:
        yield UnreadableError("A logged request stands among tf.Examples.")
    else:
        no_columns(reading, "A logged request")
        for item in _logged.instances(log, reading.signature, reading.note):
            yield item if isinstance(item, Exception) else Instance(None, item)


def _of_example(record: bytes, reading: Reading) -> Item:
    signature, wanted = reading.signature, reading.wanted
    try:
        if not wanted.names:
            inputs = _images.from_example(record, signature, reading.note)
            return Instance(None, inputs)
        features = _images.features(record)
        check_columns([*signature.inputs, *features], reading, sorted(features))
        inputs = _images.from_example(record, signature, reading.note)
        key = None if wanted.key is None else _value(features[wanted.key])
        carried = tuple(_value(features[name]) for name in wanted.columns)
        return Instance(key, inputs, carried)
    except (MismatchError, UnreadableError) as error:
        return error


def _value(feature: feature_pb2.Feature) -> Any:
    """The value of a feature as JSON has it: alone if it is one, bytes as text."""
    kind = feature.WhichOneof("kind")
    values = [] if kind is None else list(getattr(feature, kind).value)
    if kind == "bytes_list":
        values = [value.decode("utf-8", "replace") for value in values]
    return values[0] if len(values) == 1 else values
