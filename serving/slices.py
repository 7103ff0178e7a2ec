"""How many rows of a large request run at a time: more, for as long as that is quick.

A run of a small graph costs TensorFlow 0.6 ms for 32 rows and for 16,000. In slices of
a batch's rows, a request of three million took a minute.
"""

from serving.batch_axis import Arrays
from serving.batching_options import BatchingOptions

MAX_RUN_S = 0.005  # what a request that comes meanwhile waits longer, at most
_MAX_BYTES = 4 * 1024 * 1024  # of a slice's inputs, and of its outputs
# Of a batch's rows. On a GPU runs stay quick while their memory grows.
_MAX_GROWTH = 64


class Slices:
    """The rows of the next slice of one request."""

    def __init__(self, options: BatchingOptions) -> None:
        """Begins with as many rows as a batch has.

        Args:
            options: Those of the queue. Where they name the sizes of batches, or the
                rows of a request, slices keep to the size of a batch.
        """
        self.rows = self._least = options.max_batch_size
        fixed = options.max_request_rows is not None or options.allowed_batch_sizes
        self._most = self._least * (1 if fixed else _MAX_GROWTH)

    def adapt(self, rows: int, seconds: float, *arrays: Arrays) -> None:
        """Takes twice the rows where the last ones were quick, half where slow.

        Args:
            rows: Those that a slice had.
            seconds: What its run took.
            arrays: Its inputs and its outputs.
        """
        if seconds > MAX_RUN_S:
            self.rows = max(self._least, self.rows // 2)
            return
        largest = max(sum(a.nbytes for a in part.values()) for part in arrays)
        grown = 2 * self.rows
        is_small = largest * grown <= _MAX_BYTES * rows
        if 2 * seconds <= MAX_RUN_S and grown <= self._most and is_small:
            self.rows = grown
