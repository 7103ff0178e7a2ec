"""Watches folders of versions, and keeps those loaded that each model's policy wants.

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
from collections.abc import Callable, Mapping
from typing import TypeAlias

from savedmodels import store
from serving import turns, version_folders
from serving.errors import ResourceExhaustedError, ServingError
from serving.version_policy import Source
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
from serving.version_table import VersionTable

logger = logging.getLogger(__name__)

Sources: TypeAlias = Callable[[], Mapping[str, Source] | None]


class VersionManager(VersionTable[T]):
    """Loads and unloads the versions of all models. Thread-safe."""

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
            sources: Returns model name to where its versions lie, at each look; None
                where it cannot tell at the moment, so that nothing changes.
            load: Loads (and warms up) the version in a folder. Called in threads.
            options: When to look and what to keep.
            on_change: Called in the watching thread after the first look, and after
                versions came, went or failed.
        """
        super().__init__(on_last_call=lambda version: self._submit(self._free, version))
        self._sources = sources
        self._load = load
        self._options = options
        self._on_change = on_change
        self._wake = threading.Event()
        self._stopping = False
        self._changed = False
        self._looked = False
        self._asked: list[concurrent.futures.Future[None]] = []
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
        for model in self.models.values():
            for version in model.versions.values():
                if version.loaded is not None:
                    version.loaded.close()
                    version.loaded = None
                version.state = END

    def settled(self) -> bool:
        """Whether the folders were looked at, and nothing waits to be loaded."""
        return self._looked and super().settled()

    def look_again(self) -> concurrent.futures.Future[None]:
        """Looks for versions at once; done when what it found begins to load."""
        done: concurrent.futures.Future[None] = concurrent.futures.Future()
        with self.lock:
            self._asked.append(done)
        self._wake.set()
        return done

    def _watch(self) -> None:
        wait_s = self._options.file_system_poll_wait_seconds
        next_look = 0.0
        while not self._stopping:
            # Loads that end wake it early: what they replace can go at once.
            self._wake.clear()
            now = time.monotonic()
            with self.lock:
                asked, self._asked = self._asked, []
            # Whoever did not leave yet cannot any more, and is answered below.
            asked = [done for done in asked if done.set_running_or_notify_cancel()]
            is_due = not self._looked or (wait_s > 0 and now >= next_look)
            if wait_s >= 0 and (asked or is_due):
                self._look()
                next_look = now + wait_s
            self._act()
            with self.lock:
                # The first look counts, even if it finds nothing.
                changed = self._changed or not self._looked
                self._changed, self._looked = False, True
            if changed:
                self._on_change()
            for done in asked:
                done.set_result(None)
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
        for name, source in sources.items():
            with self.lock:
                model = self.models.setdefault(name, Model())
            try:
                numbers = self._look_at(name, model, source)
                problem = version_folders.problem_with(name, source, numbers)
            except OSError as error:
                problem = (
                    f"Could not find base path {source.base_path} for servable {name} "
                    f"with error {error}"
                )
            if problem and problem != model.problem:
                logger.warning(problem)
            model.problem = problem
        for name in self.models.keys() - sources.keys():
            with self.lock:
                self.models[name].on_disk = set()
                self.models[name].problem = ""

    def _look_at(self, name: str, model: Model[T], source: Source) -> set[int]:
        """Reads one folder, and returns the versions there."""
        if not source.base_path.is_dir():
            raise FileNotFoundError(f"{source.base_path} is not a folder")
        paths = store.version_paths(source.base_path)
        now = time.monotonic()
        for number, path in paths.items():
            known = model.versions.get(number)
            if known is None:
                with self.lock:
                    model.versions[number] = Version(name, number, path)
                continue
            if known.state == END:
                # It may have been away, and be back elsewhere, or as "007" for "7".
                with self.lock:
                    known.error = known.error if path == known.path else None
                    known.path = path
            if known.has_failed():
                files = version_folders.files_of(known.path)
                if known.is_due(files, now, self._options):
                    with self.lock:
                        known.error = None
        with self.lock:
            model.on_disk = set(paths)
            model.policy = source.policy
        return set(paths)

    def _act(self) -> None:
        """Starts the loads and the unloads that the last look calls for."""
        with self.lock:
            for name, model in list(self.models.items()):
                for version in model.wanted():
                    if version.state == END:
                        version.state = START
                        self._submit(self._load_one, version)
                for version in model.unneeded():
                    version.state = UNLOADING
                    self._changed = True
                    if not version.calls:
                        self._submit(self._free, version)
                if not model.problem and model.is_over():
                    del self.models[name]
                    self._changed = True

    def _submit(self, work: Callable[[Version[T]], None], version: Version[T]) -> None:
        # After `stop` there are no threads left, and nothing left to do: it freed all.
        with contextlib.suppress(RuntimeError):
            self._loaders.submit(work, version)

    def _load_one(self, version: Version[T]) -> None:
        """Loads one version; runs in a loader thread."""
        label = f"{version.name}/{version.number}"
        files = version_folders.files_of(version.path)
        with self.lock:
            version.state = LOADING
        began = time.monotonic()
        loaded: T | None = None
        error: ServingError | None = None
        try:
            with turns.short():
                loaded = self._load(version.path, version.name, version.number)
        except ServingError as refused:
            error = refused
        except MemoryError:
            error = ResourceExhaustedError(
                f"There is not enough memory to load {label}."
            )
        except Exception as unexpected:
            # Whatever a broken folder brings up must not end this thread.
            logger.exception("Unexpected error while loading %s", label)
            error = ServingError(f"{type(unexpected).__name__}: {unexpected}")
        seconds = time.monotonic() - began
        with self.lock:
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
        with self.lock:
            loaded, version.loaded = version.loaded, None
            version.state = END
            self._changed = True
        if loaded is not None:
            loaded.close()
        logger.info("Model %s/%d is unloaded", version.name, version.number)
        self._wake.set()
