"""TFRecords are read as TensorFlow wrote them, and written as it reads them."""

import io
import pathlib
import random

import pytest

from savedmodels import protos, tfrecord

RECORDS = [b"", b"a", b"abcd", bytes(1000), random.Random(1).randbytes(5000)]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> bytes:
    path: pathlib.Path = tmp_path_factory.mktemp("tfrecord") / "x.tfrecord"
    tf = protos.import_tensorflow()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in RECORDS:
            writer.write(record)
    return path.read_bytes()


def test_writes_what_tensorflow_writes(written):
    assert b"".join(map(tfrecord.framed, RECORDS)) == written


def test_reads_what_tensorflow_wrote(written):
    assert list(tfrecord.read(io.BytesIO(written))) == RECORDS
    assert len(list(tfrecord.places(io.BytesIO(written)))) == len(RECORDS)


def test_a_changed_byte_of_data_costs_that_record_only(written):
    start_of_abcd = 16 + 17 + 12
    damaged = bytearray(written)
    damaged[start_of_abcd] ^= 1
    assert list(tfrecord.read(io.BytesIO(damaged))) == [
        None if record == b"abcd" else record for record in RECORDS
    ]


def test_a_changed_byte_of_a_length_ends_the_file(written):
    damaged = bytearray(written)
    damaged[16] ^= 1  # the length of the second record
    records = tfrecord.read(io.BytesIO(damaged))
    assert next(records) == RECORDS[0]
    with pytest.raises(tfrecord.TFRecordError, match="length does not fit"):
        next(records)
    assert len(list(tfrecord.places(io.BytesIO(damaged)))) == 1


@pytest.mark.parametrize("missing", [1, 4, 5, 5003, 5005, 5015])
def test_a_file_cut_short_says_so_after_its_whole_records(written, missing):
    records = tfrecord.read(io.BytesIO(written[:-missing]))
    assert [next(records) for _ in RECORDS[:-1]] == RECORDS[:-1]
    with pytest.raises(tfrecord.TFRecordError, match="cut short"):
        next(records)


def test_text_is_no_tfrecord():
    with pytest.raises(tfrecord.TFRecordError, match="no TFRecord"):
        list(tfrecord.read(io.BytesIO(b"just some text, long enough")))
