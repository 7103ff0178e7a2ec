"""The files of a request log: TFRecords, one file after the other by size."""

import datetime
import io
import os
import pathlib
import re

from savedmodels import tfrecord


class RequestLogFile:
    """The file that a model's records go to, and those after it. For one thread.

    Each record is handed to the system as a whole, with nothing kept back: where the
    process is killed, all records but the last one can be read.
    """

    def __init__(self, prefix: pathlib.Path, model: str, max_bytes: int) -> None:
        """Begins without a file: the first record makes it.

        Args:
            prefix: How the names begin, folders included; those are made if missing.
            model: Model name, which is in the names too.
            max_bytes: Where a file is ended and the next one begun.
        """
        self.prefix = prefix
        self._model = re.sub(r"[^\w.-]", "_", model)
        self._max_bytes = max_bytes
        self._file: io.FileIO | None = None
        self._size = 0
        self._number = 0

    def write(self, data: bytes) -> None:
        """Appends one record.

        Raises:
            OSError: It could not be written. The next record begins another file, for
                this one may end inside a record.
        """
        record = tfrecord.framed(data)
        if self._size and self._size + len(record) > self._max_bytes:
            self.close()
        file = self._file = self._file or self._open()
        try:
            left = memoryview(record)
            while left:
                left = left[file.write(left) :]
        except OSError:
            self.close()
            raise
        self._size += len(record)

    def close(self) -> None:
        """Ends the file, if there is one."""
        if self._file is not None:
            self._file.close()
        self._file, self._size = None, 0

    def _open(self) -> io.FileIO:
        self.prefix.parent.mkdir(parents=True, exist_ok=True)
        now = datetime.datetime.now(datetime.UTC)
        self._number += 1
        name = (
            f"{self.prefix.name}-{self._model}-{now:%Y%m%dT%H%M%S}-"
            f"{os.getpid()}-{self._number:05}.tfrecord"
        )
        return io.FileIO(self.prefix.with_name(name), "x")
