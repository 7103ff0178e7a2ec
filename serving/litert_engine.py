"""Signatures of a `model.tflite`, run by LiteRT on CPUs.

An interpreter is not thread-safe, so each run borrows one. Resizing it to another
number of rows was measured to cost nothing against one kept per size, so there is no
padding, and an answer does not depend on which requests shared the batch.
"""

import threading
from collections.abc import Mapping, Sequence

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from serving.errors import InvalidRequestError, ServingError
from serving.signatures import SignatureInfo, check_shapes

# Measured with a small CNN on 2 busy cores: a second thread made runs of 1 to 16 rows
# 10 to 50 % slower. More cores are put to use by more runs at the same time.
_THREADS_PER_RUN = 1
# An interpreter keeps the memory of its last run, for a small convolutional network
# 100 KB a row: one that ran more rows than this is not kept.
_KEPT_ROWS = 512


class LiteRtEngine:
    """Runs the signatures that a LiteRT model carries. Thread-safe."""

    name = "litert"

    def __init__(self, model: bytes, signatures: Mapping[str, SignatureInfo]) -> None:
        """Opens the model.

        Args:
            model: Content of `model.tflite`.
            signatures: The signatures of the SavedModel beside it.

        Raises:
            ServingError: The model is broken.
        """
        self._model = model
        self._idle: list[Interpreter] = []
        self._lock = threading.Lock()
        interpreter = self._interpreter()
        carried = interpreter.get_signature_list()
        self._signatures = {
            name: signature
            for name, signature in signatures.items()
            if name in carried
            and set(carried[name]["inputs"]) == set(signature.inputs)
            and set(carried[name]["outputs"]) == set(signature.outputs)
        }
        self._idle.append(interpreter)

    @property
    def signature_names(self) -> Sequence[str]:
        """The signatures that it answers."""
        return list(self._signatures)

    def run(
        self, signature_name: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Returns all outputs by alias.

        Args:
            signature_name: One of `signature_names`.
            inputs: Alias to array, of the signature's dtypes.

        Raises:
            InvalidRequestError: An input's shape is not the signature's.
        """
        # TF Serving leaves shapes to the ops; LiteRT's do not all check them.
        check_shapes(self._signatures[signature_name], inputs)
        interpreter = self._borrow()
        try:
            outputs = interpreter.get_signature_runner(signature_name)(**inputs)
        except (ValueError, RuntimeError) as error:
            # The interpreter may be left half resized: it is not given back.
            raise InvalidRequestError(
                f"The graph cannot take these inputs: {error}"
            ) from error
        if all(a.ndim == 0 or len(a) <= _KEPT_ROWS for a in inputs.values()):
            with self._lock:
                self._idle.append(interpreter)
        return dict(outputs)

    def close(self) -> None:
        """Frees the interpreters."""
        with self._lock:
            self._idle.clear()

    def _borrow(self) -> Interpreter:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._interpreter()

    def _interpreter(self) -> Interpreter:
        try:
            return Interpreter(model_content=self._model, num_threads=_THREADS_PER_RUN)
        except (ValueError, RuntimeError) as error:
            raise ServingError(f"Cannot read model.tflite: {error}.") from error
