"""What `make bench-score` compares with: tf.data straight into a SavedModel.

    python -m pipelines._bench_bare <version> <rows.tfrecord>

prints the seconds of the loop, without the start of TensorFlow. Answers go nowhere,
which is less than scoring has to do.
"""

import pathlib
import sys
import time

from pipelines import _bench_rows
from savedmodels.protos import import_tensorflow

_BATCH = 128


def main(version: pathlib.Path, rows: pathlib.Path) -> float:
    """Runs the loop, and returns its seconds."""
    tf = import_tensorflow()
    ((alias, info),) = _bench_rows.signature(version).inputs.items()
    shape = [-1, *(info.shape or ())[1:]]
    loaded = tf.saved_model.load(str(version))
    run = loaded.signatures["serving_default"]
    features = {alias: tf.io.FixedLenFeature([], tf.string)}

    def parse(records):  # type: ignore[no-untyped-def]
        raw = tf.io.parse_example(records, features)[alias]
        return tf.reshape(tf.io.decode_raw(raw, info.dtype), shape)

    data = tf.data.TFRecordDataset([str(rows)]).batch(_BATCH)
    data = data.map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    data = data.prefetch(tf.data.AUTOTUNE)
    run(**{alias: next(iter(data))})  # traced before it is timed
    started = time.perf_counter()
    for batch in data:
        for output in run(**{alias: batch}).values():
            output.numpy()
    return time.perf_counter() - started


if __name__ == "__main__":
    print(main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])))
