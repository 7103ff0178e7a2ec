"""Watches folders of versions, and keeps the newest of each model loaded.

A new version is loaded beside the live one, and takes over when it is ready; the old
one goes when the last call that it answers is done. What fails is kept as a status and
tried again; it touches neither the version that answers nor another model.
"""

import concurrent.futures
import contextlib
import logging
import pathlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeAlias

from savedmodels import store
from serving import version_folders
from serving.errors import ServableNotFoundError, ServingError
from serving.predictor import VersionStatus
from serving.version_state import (
    AVAILABLE,
    END,
    LOADING,
    START,
    UNLOADING,
    Model,
    T,
    Version,
    WatchOptions,
)

logger = logging.getLogger(__name__)

Sources: TypeAlias = Callable[[], Mapping[str, pathlib.Path] | None]


class VersionManager(Generic[T]):
    """The loaded versions of all models. Thread-safe."""

    def __init__(
        self,
        sources: Sources,
        load: Callable[[pathlib.Path, str, int], T],
        options: WatchOptions,
        *,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepares to watch; `start` begins.

        Args:
            sources: Returns model name to base path, at each look; None where it
                cannot tell at the moment, so that nothing changes.
            load: Loads (and warms up) the version in a folder. Called in threads.
            options: When to look and what to keep.
            on_change: Called in the watching thread after the first look, and after
                versions came, went or failed.
        """
        self._sources = sources
        self._load = load
        self._options = options
        self._on_change = on_change
        self._models: dict[str, Model[T]] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._changed = False
        self._looked = False
        self._loaders = concurrent.futures.ThreadPoolExecutor(
            max_workers=options.num_load_threads, thread_name_prefix="load"
        )
        self._watcher = threading.Thread(target=self._watch, name="watch", daemon=True)

    def start(self) -> None:
        """Begins to look for versions and to load them."""
        self._watcher.start()

    def stop(self) -> None:
        """Stops looking, waits for loads that run, and frees every version."""
        self._stopping = True
        self._wake.set()
        self._watcher.join()
        self._loaders.shutdown(cancel_futures=True)
        for model in self._models.values():
            for version in model.versions.values():
                if version.loaded is not None:
                    version.loaded.close()
                    version.loaded = None
                version.state = END

    @contextlib.contextmanager
    def lease(self, name: str, version: int | None = None) -> Iterator[tuple[int, T]]:
        """Gives a version and what it was loaded as, which stays while in use.

        Args:
            name: Model name.
            version: Version number, or None for the highest that is AVAILABLE.

        Raises:
            ServableNotFoundError: No such version is AVAILABLE.
        """
        with self._lock:
            found = self._find(name, version)
            found.calls += 1
            loaded = found.loaded
        if loaded is None:
            raise RuntimeError("A version is AVAILABLE before it is loaded.")
        try:
            yield found.number, loaded
        finally:
            with self._lock:
                found.calls -= 1
                last = found.state == UNLOADING and found.calls == 0
            if last:
                self._submit(self._free, found)

    def status(self, name: str, version: int | None = None) -> list[VersionStatus]:
        """Returns the state of all versions of a model, or of one, newest first.

        Raises:
            ServableNotFoundError: Nothing is known of it.
        """
        with self._lock:
            model = self._models.get(name)
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
        with self._lock:
            return {
                name: [version.number for version in model.available()]
                for name, model in sorted(self._models.items())
            }

    def settled(self) -> bool:
        """Whether the folders were looked at, and nothing waits to be loaded."""
        with self._lock:
            return self._looked and not any(
                version.state in (START, LOADING)
                for model in self._models.values()
                for version in model.versions.values()
            )

    def _find(self, name: str, number: int | None) -> Version[T]:
        model = self._models.get(name)
        available = model.available() if model else []
        for version in available:
            if number is None or version.number == number:
                return version
        wanted = f"Latest({name})" if number is None else f"Specific({name}, {number})"
        raise ServableNotFoundError(f"Servable not found for request: {wanted}")

    def _watch(self) -> None:
        wait_s = self._options.file_system_poll_wait_seconds
        next_look = 0.0
        while not self._stopping:
            # Loads that end wake it early: what they replace can go at once.
            self._wake.clear()
            now = time.monotonic()
            if not self._looked or (wait_s > 0 and now >= next_look):
                self._look()
                next_look = now + wait_s
            self._act()
            with self._lock:
                # The first look counts, even if it finds nothing.
                changed = self._changed or not self._looked
                self._changed, self._looked = False, True
            if changed:
                self._on_change()
            timeout_s = max(0.0, next_look - time.monotonic()) if wait_s > 0 else None
            self._wake.wait(timeout_s)

    def _look(self) -> None:
        """Reads the folders into `on_disk`, model by model."""
        try:
            sources = self._sources()
        except OSError:
            logger.exception("Could not look for models")
            return
        if sources is None:
            return
        for name, base_path in sources.items():
            with self._lock:
                model = self._models.setdefault(name, Model())
            try:
                self._look_at(name, model, base_path)
            except OSError as error:
                self._note_problem(
                    model,
                    f"Could not find base path {base_path} for servable {name} "
                    f"with error {error}",
                )
        for name in self._models.keys() - sources.keys():
            with self._lock:
                self._models[name].on_disk = set()

    def _look_at(self, name: str, model: Model[T], base_path: pathlib.Path) -> None:
        if not base_path.is_dir():
            raise FileNotFoundError(f"{base_path} is not a folder")
        numbers = set(store.list_versions(base_path))
        now = time.monotonic()
        for number in numbers:
            known = model.versions.get(number)
            if known is None:
                path = store.version_path(base_path, number)
                with self._lock:
                    model.versions[number] = Version(name, number, path)
                continue
            if known.state == END:
                # It may have been away, and be back under "007" for "7".
                known.path = store.version_path(base_path, number)
            if known.has_failed():
                files = version_folders.files_of(known.path)
                if known.is_due(files, now, self._options):
                    with self._lock:
                        known.error = None
        with self._lock:
            model.on_disk = numbers
        problem = "" if numbers else version_folders.no_versions(name, base_path)
        self._note_problem(model, problem)

    def _note_problem(self, model: Model[T], problem: str) -> None:
        if problem and problem != model.problem:
            logger.warning(problem)
        model.problem = problem

    def _act(self) -> None:
        """Starts the loads and the unloads that the last look calls for."""
        num_versions = self._options.num_versions
        with self._lock:
            for name, model in list(self._models.items()):
                for version in model.wanted(num_versions):
                    if version.state == END:
                        version.state = START
                        self._submit(self._load_one, version)
                for version in model.unneeded(num_versions):
                    version.state = UNLOADING
                    self._changed = True
                    if not version.calls:
                        self._submit(self._free, version)
                if not model.problem and model.is_over():
                    del self._models[name]
                    self._changed = True

    def _submit(self, work: Callable[[Version[T]], None], version: Version[T]) -> None:
        # After `stop` there are no threads left, and nothing left to do: it freed all.
        with contextlib.suppress(RuntimeError):
            self._loaders.submit(work, version)

    def _load_one(self, version: Version[T]) -> None:
        """Loads one version; runs in a loader thread."""
        label = f"{version.name}/{version.number}"
        files = version_folders.files_of(version.path)
        with self._lock:
            version.state = LOADING
        began = time.monotonic()
        loaded: T | None = None
        error: ServingError | None = None
        try:
            loaded = self._load(version.path, version.name, version.number)
        except ServingError as refused:
            error = refused
        except Exception as unexpected:
            # Whatever a broken folder brings up must not end this thread.
            logger.exception("Unexpected error while loading %s", label)
            error = ServingError(f"{type(unexpected).__name__}: {unexpected}")
        seconds = time.monotonic() - began
        with self._lock:
            version.failures = version.failures + 1 if version.files == files else 1
            version.files = version.files_seen = files
            version.retry_at = (
                time.monotonic() + self._options.load_retry_interval_seconds
            )
            version.error = error
            version.loaded = loaded
            version.state = END if loaded is None else AVAILABLE
            self._changed = True
        if error is None:
            logger.info("Model %s is available, loaded in %.1f s", label, seconds)
        else:
            logger.error("Model %s was not loaded: %s", label, error)
        self._wake.set()

    def _free(self, version: Version[T]) -> None:
        """Frees a version that no call uses any more."""
        with self._lock:
            loaded, version.loaded = version.loaded, None
            version.state = END
            self._changed = True
        if loaded is not None:
            loaded.close()
        logger.info("Model %s/%d is unloaded", version.name, version.number)
        self._wake.set()
