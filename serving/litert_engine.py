"""Signatures of a `model.tflite`, run by LiteRT on CPUs.

An interpreter is not thread-safe, and is slower where it has to be resized from one
number of rows to another. So each run borrows one, and gets one that ran the same
shapes before, if there is one. As many are kept as ran at the same time; more, for
other shapes, while they are small. An answer does not depend on which requests shared
the batch, and there is no padding.
"""

import dataclasses
import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from serving.errors import InvalidRequestError, ServingError
from serving.signatures import SignatureInfo, check_shapes

# Measured with a small CNN on 2 busy cores: a second thread made runs of 1 to 16 rows
# 10 to 50 % slower. More cores are put to use by more runs at the same time.
_THREADS_PER_RUN = 1
# An interpreter keeps the memory of its largest run, for a small convolutional network
# 300 KB a row, and of its weights, which XNNPACK packs for each anew. With such a
# network one for each number of rows took 850 MiB, and was no faster; with a smaller
# one it saved a fifth to a third of the time of small batches.
_KEPT = 32
_KEPT_BYTES = 32 * 1024 * 1024
# An interpreter that ran more than this is not kept at all.
_LARGEST_BYTES = 256 * 1024 * 1024

# A signature, and the shapes of its inputs in their order.
Shapes: TypeAlias = tuple[str, tuple[tuple[int, ...], ...]]


@dataclasses.dataclass(slots=True, eq=False)
class _Runner:
    """An interpreter, and what it was used for last.

    Attributes:
        interpreter: It.
        shapes: What it is set up for; None while it is new.
        call: Runs the signature that it is set up for.
        size: Bytes that it keeps, about; 0 where that is to be found out.
        counted: Bytes of it that the engine's sum holds.
    """

    interpreter: Interpreter
    shapes: Shapes | None = None
    call: Any = None
    size: int = 0
    counted: int = 0


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
        # The one that was used last stands at the end.
        self._idle: list[_Runner] = []
        self._busy = 0
        self._busiest = 1
        # Of all interpreters there are, as far as they were used.
        self._bytes = 0
        self._lock = threading.Lock()
        runner = self._new()
        carried = runner.interpreter.get_signature_list()
        self._signatures = {
            name: signature
            for name, signature in signatures.items()
            if name in carried
            and set(carried[name]["inputs"]) == set(signature.inputs)
            and set(carried[name]["outputs"]) == set(signature.outputs)
        }
        self._idle.append(runner)

    @property
    def signature_names(self) -> Sequence[str]:
        """The signatures that it answers."""
        return list(self._signatures)

    @property
    def kept(self) -> tuple[int, int]:
        """How many interpreters wait for a run, and how many bytes they keep, about."""
        with self._lock:
            return len(self._idle), sum(runner.size for runner in self._idle)

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
        shapes = (signature_name, tuple(array.shape for array in inputs.values()))
        runner = self._borrow(shapes)
        try:
            outputs = _call(runner, shapes, inputs)
        except (ValueError, RuntimeError) as error:
            # The interpreter may be left half resized.
            self._drop(runner)
            raise InvalidRequestError(
                f"The graph cannot take these inputs: {error}"
            ) from error
        self._give_back(runner)
        return outputs

    def close(self) -> None:
        """Frees the interpreters."""
        with self._lock:
            self._bytes -= sum(runner.counted for runner in self._idle)
            self._idle.clear()

    def _borrow(self, shapes: Shapes) -> _Runner:
        """One that ran these shapes; or a new one, or another one, which is resized."""
        with self._lock:
            self._busy += 1
            self._busiest = max(self._busiest, self._busy)
            for place in reversed(range(len(self._idle))):
                if self._idle[place].shapes in (shapes, None):
                    return self._idle.pop(place)
            if self._idle and not self._has_room(self._idle[-1].size):
                return self._idle.pop(0)
        try:
            return self._new()
        except ServingError:
            with self._lock:
                self._busy -= 1
            raise

    def _has_room(self, more: int) -> bool:
        """Whether there may be one more interpreter, of so many bytes."""
        count = self._busy + len(self._idle)
        return count <= self._busiest or (
            count <= _KEPT and self._bytes + more <= _KEPT_BYTES
        )

    def _give_back(self, runner: _Runner) -> None:
        """Keeps an interpreter for the next run, within the bounds."""
        size = runner.size or _bytes(runner.interpreter)
        if size > max(_LARGEST_BYTES, 2 * len(self._model)):
            self._drop(runner)  # one large request should not take memory for ever
            return
        with self._lock:
            self._busy -= 1
            self._bytes += size - runner.counted
            runner.size = runner.counted = size
            self._idle.append(runner)
            while len(self._idle) > 1 and not self._has_room(0):
                self._bytes -= self._idle.pop(0).counted

    def _drop(self, runner: _Runner) -> None:
        with self._lock:
            self._busy -= 1
            self._bytes -= runner.counted

    def _new(self) -> _Runner:
        try:
            return _Runner(
                Interpreter(model_content=self._model, num_threads=_THREADS_PER_RUN)
            )
        except (ValueError, RuntimeError) as error:
            raise ServingError(f"Cannot read model.tflite: {error}.") from error


def _call(
    runner: _Runner, shapes: Shapes, inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """All outputs of one run, by alias."""
    if runner.shapes != shapes:
        if runner.shapes is None or runner.shapes[0] != shapes[0]:
            runner.call = runner.interpreter.get_signature_runner(shapes[0])
        runner.shapes, runner.size = shapes, 0
    return dict(runner.call(**inputs))


def _bytes(interpreter: Interpreter) -> int:
    """Size of all its tensors: more than they take, since they share room in time."""
    return sum(
        math.prod(map(int, tensor["shape"])) * np.dtype(tensor["dtype"]).itemsize
        for subgraph in range(interpreter.num_subgraphs())
        for tensor in interpreter.get_tensor_details(subgraph)
    )
