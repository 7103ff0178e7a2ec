"""What is known of the versions of all models, and which of them answer a call."""

import collections
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Generic

from serving.errors import ServableNotFoundError
from serving.predictor import VersionStatus
from serving.version_state import UNLOADING, Model, T, Version


class VersionTable(Generic[T]):
    """The versions of all models, as calls ask for them. Thread-safe."""

    def __init__(self, on_last_call: Callable[[Version[T]], None]) -> None:
        """Makes an empty table.

        Args:
            on_last_call: Called once nothing uses a version any more that is to go.
        """
        self.models: dict[str, Model[T]] = {}
        self.lock = threading.Lock()
        self._on_last_call = on_last_call

    @contextlib.contextmanager
    def lease(self, name: str, version: int | None = None) -> Iterator[tuple[int, T]]:
        """Gives a version and what it was loaded as, which stays while in use.

        Args:
            name: Model name.
            version: Version number, or None for the highest that is AVAILABLE.

        Raises:
            ServableNotFoundError: No such version is AVAILABLE.
        """
        found, loaded = self.acquire(name, version)
        try:
            yield found.number, loaded
        finally:
            self.release(found)

    def acquire(self, name: str, version: int | None = None) -> tuple[Version[T], T]:
        """Returns a version and what it was loaded as; `release` ends its use.

        Args:
            name: Model name.
            version: Version number, or None for the highest that is AVAILABLE.

        Raises:
            ServableNotFoundError: No such version is AVAILABLE.
        """
        with self.lock:
            found = self._find(name, version)
            loaded = found.loaded
            if loaded is None:
                raise RuntimeError("A version is AVAILABLE before it is loaded.")
            found.calls += 1
        return found, loaded

    def release(self, version: Version[T]) -> None:
        """Tells that a version is no longer used by whom `acquire` gave it to."""
        with self.lock:
            version.calls -= 1
            last = version.state == UNLOADING and version.calls == 0
        if last:
            self._on_last_call(version)

    def status(self, name: str, version: int | None = None) -> list[VersionStatus]:
        """Returns the state of all versions of a model, or of one, newest first.

        Raises:
            ServableNotFoundError: Nothing is known of it.
        """
        with self.lock:
            model = self.models.get(name)
            if model is None or not model.versions:
                problem = f". {model.problem}" if model and model.problem else ""
                raise ServableNotFoundError(
                    f"Could not find any versions of model {name}{problem}"
                )
            if version is None:
                numbers = sorted(model.versions, reverse=True)
                return [model.versions[number].status for number in numbers]
            if version not in model.versions:
                raise ServableNotFoundError(
                    f"Could not find version {version} of model {name}"
                )
            return [model.versions[version].status]

    def available(self) -> dict[str, list[int]]:
        """Returns every model's name, and its AVAILABLE versions, newest first."""
        with self.lock:
            return {
                name: [version.number for version in model.available()]
                for name, model in sorted(self.models.items())
            }

    def states(self) -> dict[tuple[str, ...], float]:
        """Returns how many versions there are, by model and state."""
        with self.lock:
            return dict(
                collections.Counter(
                    (name, version.state)
                    for name, model in self.models.items()
                    for version in model.versions.values()
                )
            )

    def settled(self) -> bool:
        """Whether nothing waits to be loaded."""
        with self.lock:
            return all(model.is_settled() for model in self.models.values())

    def failures(self, name: str) -> list[VersionStatus] | None:
        """Returns what kept a model from being AVAILABLE, newest version first.

        Empty where it is AVAILABLE; None where that is not known yet.
        """
        with self.lock:
            model = self.models.get(name)
            if model is None:
                return None
            if model.available():
                return []
            failed = [model.versions[n] for n in sorted(model.on_disk, reverse=True)]
            statuses = [version.status for version in failed if version.has_failed()]
            return statuses if statuses and model.is_settled() else None

    def _find(self, name: str, number: int | None) -> Version[T]:
        model = self.models.get(name)
        found = model.answering(number) if model else None
        if found is not None:
            return found
        wanted = f"Latest({name})" if number is None else f"Specific({name}, {number})"
        raise ServableNotFoundError(f"Servable not found for request: {wanted}")
