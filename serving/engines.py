"""What runs the signatures of a version, and one that is only loaded when it must."""

import threading
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from serving.errors import UnavailableError


class Engine(Protocol):
    """Runs signatures of one version. Thread-safe; raises `ServingError` to refuse."""

    @property
    def name(self) -> str:
        """`litert` or `tensorflow`."""
        ...

    def run(
        self, signature_name: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Returns all outputs by alias; the inputs fit the signature by name, dtype."""
        ...

    def close(self) -> None:
        """Lets go of the graph and its memory."""
        ...


class DeferredEngine:
    """An engine that its first call loads. Thread-safe."""

    def __init__(self, name: str, make: Callable[[], Engine]) -> None:
        """Loads nothing yet.

        Args:
            name: What the engine is called.
            make: Loads it.
        """
        self.name = name
        self._make = make
        self._engine: Engine | None = None
        self._closed = False
        self._lock = threading.Lock()

    @property
    def is_loaded(self) -> bool:
        """Whether a call finds it ready."""
        return self._engine is not None

    def load(self) -> Engine:
        """Returns the engine, which may take seconds the first time.

        Raises:
            ServingError: It cannot be loaded; the next call tries again.
        """
        with self._lock:
            if self._closed:
                raise UnavailableError("The version is being unloaded.")
            if self._engine is None:
                self._engine = self._make()
            return self._engine

    def run(
        self, signature_name: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Returns all outputs by alias; loads the engine where it is not there yet."""
        engine = self._engine or self.load()
        return engine.run(signature_name, inputs)

    def close(self) -> None:
        """Lets go of the engine, once it is loaded where that has begun."""
        with self._lock:
            self._closed = True
            if self._engine is not None:
                self._engine.close()
                self._engine = None
