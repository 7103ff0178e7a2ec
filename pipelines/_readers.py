"""The instances of one file, or of a part of it, by its ending.

    .png .jpg .jpeg      one instance
    .npy                 an array for the only input
    .npz                 an array for each alias; others of one value a row are columns
    .parquet .csv        a row a line, columns named as the inputs
    .jsonl               an instance a line, as TF Serving's `instances`, or with more
    .txt                 a text a line, for an only input of strings
    .tfrecord            a tf.Example a record, or a request that a server logged, with
                         all its rows; shards (-00000-of-00004) too

Lines and records may be compressed by gzip. Every reader streams: memory holds a few
instances, whatever the size of the file.
"""

from collections.abc import Callable, Iterator

from pipelines import _arrays, _csv_lines, _files, _images, _inputs, _lines
from pipelines import _records as records
from pipelines._inputs import MismatchError
from pipelines._reading import Instance, Item, Reading, no_columns


def read(reading: Reading) -> Iterator[Item]:
    """Yields what stands in the places of a file, one after the other.

    Args:
        reading: A file of a known kind.

    Yields:
        An instance; or why that one cannot be had, while the next ones can; or None
        for an empty line.

    Raises:
        MismatchError: The whole file does not fit the signature.
        UnreadableError: Nothing more can be read.
        OSError: Nothing more can be read.
    """
    readers: dict[str | None, Callable[[Reading], Iterator[Item]]] = {
        "image": _image,
        "array": _arrays.instances,
        "parquet": _parquet,
        "jsonl": _lines.instances,
        "csv": _csv_lines.instances,
        "text": _lines.texts,
        "tfrecord": records.instances,
    }
    return readers[_files.kind(reading.path.name)](reading)


def _image(reading: Reading) -> Iterator[Item]:
    signature = reading.signature
    no_columns(reading, "An image file")
    alias = _images.image_alias(signature)
    if alias is None:
        raise MismatchError(
            "An image file fills one input of strings or of [height, width, channels]. "
            f"Received: a signature that takes {_inputs.describe(signature)}."
        )
    encoded = reading.path.read_bytes()
    image = _images.from_image(encoded, alias, signature.inputs[alias], reading.note)
    yield Instance(None, {alias: image})


def _parquet(reading: Reading) -> Iterator[Item]:
    from pipelines import _parquet  # it brings pyarrow

    return _parquet.instances(reading)
