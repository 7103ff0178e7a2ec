"""A version as the embedded server keeps it: loaded, warmed up, with its queues."""

import asyncio
import dataclasses
import pathlib
import time

from serving import batching_options, servable, warmup
from serving.batcher import Batcher
from serving.batching_options import BatchingOptions
from serving.errors import DeadlineExceededError, ServingError
from serving.servable import LoadOptions, Servable
from serving.server_metrics import ServerMetrics
from serving.version_state import WatchOptions


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddedOptions:
    """How versions are loaded and run.

    Attributes:
        watch: When to look for versions and what to keep.
        enable_batching: Whether requests that wait together run together.
        batching: Limits of the queues, with batching or without.
        per_model_batching: Whether each version says itself how, in a file of its own;
            one without it is not batched.
        enable_model_warmup: Whether a version's warm-up requests are replayed.
        warmup_iterations: How often each of them is replayed.
        load: Which graph of a version is loaded, and what runs it.
        check_method_names: See `classify_regress.check_method_name`.
    """

    watch: WatchOptions = WatchOptions()
    enable_batching: bool = True
    batching: BatchingOptions = BatchingOptions()
    per_model_batching: bool = False
    enable_model_warmup: bool = True
    warmup_iterations: int = 1
    load: LoadOptions = LoadOptions()
    check_method_names: bool = False


class LoadedVersion:
    """A loaded version and the queues in front of its signatures."""

    def __init__(self, version: Servable, batching: BatchingOptions | None) -> None:
        """Begins without queues.

        Args:
            version: The version.
            batching: How its requests share runs; None where they do not.
        """
        self.servable = version
        self.batching = batching
        self.batchers: dict[str, Batcher] = {}
        self._preparing: dict[str, asyncio.Task[None]] = {}

    async def prepare(self, signature_name: str, timeout_s: float | None) -> None:
        """Waits until what answers a signature is loaded, off the event loop.

        Args:
            signature_name: Name of the signature.
            timeout_s: Seconds after which nobody waits; it goes on being loaded.

        Raises:
            DeadlineExceededError: `timeout_s` passed.
            ServingError: It cannot be loaded.
        """
        task = self._preparing.get(signature_name)
        if task is None:
            work = asyncio.to_thread(self.servable.prepare, signature_name)
            task = asyncio.get_running_loop().create_task(work)
            task.add_done_callback(lambda _: self._preparing.pop(signature_name))
            self._preparing[signature_name] = task
        # asyncio.wait leaves the task alone, and others that wait for it.
        await asyncio.wait([task], timeout=timeout_s)
        if not task.done():
            raise DeadlineExceededError(
                f"TensorFlow was not loaded for `{signature_name}` after "
                f"{timeout_s:g} seconds. It goes on loading: try again."
            )
        task.result()

    def close(self) -> None:
        """Frees it; nothing uses it any more."""
        self.batchers.clear()
        self.servable.close()


def load(
    path: pathlib.Path,
    name: str,
    version: int,
    options: EmbeddedOptions,
    metrics: ServerMetrics,
) -> LoadedVersion:
    """Loads a version and replays its warm-up requests.

    Args:
        path: Folder of the version.
        name: Model name.
        version: Version number.
        options: How to load it.
        metrics: Where both are counted.

    Raises:
        ServingError: It cannot be loaded, or a warm-up request fails.
    """
    batching: BatchingOptions | None = None
    if options.enable_batching:
        batching = options.batching
        if options.per_model_batching:
            batching = batching_options.of_version(path, batching)
    began = time.perf_counter()
    try:
        loaded = servable.load(path, name, version, options.load)
    except Exception:
        metrics.loaded(path, None)
        raise
    metrics.loaded(path, time.perf_counter() - began)
    if options.enable_model_warmup:
        try:
            _warm_up(loaded, path, options.warmup_iterations, metrics)
        except ServingError:
            loaded.close()
            raise
    return LoadedVersion(loaded, batching)


def _warm_up(
    loaded: Servable, path: pathlib.Path, iterations: int, metrics: ServerMetrics
) -> None:
    began = time.perf_counter()
    try:
        found = warmup.replay(loaded, path, iterations)
    except ServingError as error:
        seconds = time.perf_counter() - began
        metrics.warmed_up(path, error.grpc_code.name, seconds)
        raise
    if found:
        metrics.warmed_up(path, "OK", time.perf_counter() - began, found)
