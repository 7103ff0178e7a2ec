"""Answers from SavedModels in this process."""

import collections
import contextlib
import functools
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from serving import classify_regress, loaded_version, version_state
from serving.batch_axis import Arrays
from serving.batcher import Batcher
from serving.errors import InvalidRequestError, ServingError
from serving.example_input import as_array
from serving.loaded_version import EmbeddedOptions, LoadedVersion
from serving.predictor import (
    Classification,
    ModelSpec,
    Prediction,
    Regression,
    VersionStatus,
)
from serving.run_threads import RunThreads
from serving.servable import DEFAULT_SIGNATURE, Servable
from serving.server_metrics import ServerMetrics
from serving.signatures import SignatureInfo, check_output_filter, select
from serving.version_manager import Sources, VersionManager


class EmbeddedPredictor:
    """Implements `serving.predictor.Predictor`. For one event loop."""

    def __init__(
        self,
        sources: Sources,
        options: EmbeddedOptions | None = None,
        *,
        on_change: Callable[[], None] = lambda: None,
        labelled: Callable[[str, str], int | None] = lambda name, label: None,
        metrics: ServerMetrics | None = None,
    ) -> None:
        """Prepares; `start` begins to load.

        Args:
            sources: Returns model name to its source; see `VersionManager`.
            options: How versions are loaded and run.
            on_change: Called, by any thread, after the first look for versions, and
                after versions came, went, failed or had more loaded of them.
            labelled: Returns the version that a label of a model stands for.
            metrics: Where loads, runs and batches are counted.
        """
        self._metrics = metrics or ServerMetrics()
        self._labelled = labelled
        self._on_change = on_change
        self._options = options or EmbeddedOptions()
        self.threads = RunThreads(self._options.batching.num_batch_threads)
        self.versions: VersionManager[LoadedVersion] = VersionManager(
            sources, self._load, self._options.watch, on_change=on_change
        )

    def start(self) -> None:
        """Begins to look for versions and to load them."""
        self.versions.start()

    def stop(self) -> None:
        """Frees everything. The calls in flight are over by then."""
        self.threads.shutdown()
        self.versions.stop()

    async def predict(
        self,
        spec: ModelSpec,
        inputs: Mapping[str, np.ndarray],
        *,
        output_filter: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> Prediction:
        """Runs one signature on one batch. See `Predictor.predict`."""
        with self._lease(spec) as (version, loaded):
            name, checked = self.prepare(loaded, spec, inputs, output_filter)
            outputs = await self._run("Predict", loaded, name, checked, timeout_s)
            return Prediction(select(outputs, output_filter), version, name)

    def acquire(
        self, spec: ModelSpec
    ) -> tuple[version_state.Version[LoadedVersion], LoadedVersion]:
        """Returns the version that `spec` means, until `versions.release`.

        For who does not wait on the event loop for what `predict` returns.

        Raises:
            ServingError: There is none.
        """
        return self.versions.acquire(spec.name, self._wanted(spec))

    def prepare(
        self,
        loaded: LoadedVersion,
        spec: ModelSpec,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str],
    ) -> tuple[str, Arrays]:
        """Holds a Predict request against its signature.

        Args:
            loaded: The version that `spec` means.
            spec: The servable and signature.
            inputs: Alias to array.
            output_filter: Aliases to return; empty for all.

        Returns:
            Name of the signature, and the inputs as `Batcher` takes them.

        Raises:
            ServingError: It does not fit.
        """
        name = spec.signature_name or DEFAULT_SIGNATURE
        signature = loaded.servable.signature(name)
        self._check_method(signature, classify_regress.PREDICT)
        checked = loaded.servable.check(name, inputs)
        check_output_filter(signature, output_filter)
        return name, checked

    def batcher(self, loaded: LoadedVersion, name: str) -> Batcher:
        """Returns what batches the requests of a version's signature. Thread-safe."""
        batcher = loaded.batchers.get(name)
        if batcher is None:
            # Of two that were made at the same time, both take the first.
            made = self._make_batcher(loaded, name)
            batcher = loaded.batchers.setdefault(name, made)
        return batcher

    async def classify(
        self,
        spec: ModelSpec,
        examples: Sequence[bytes],
        *,
        timeout_s: float | None = None,
    ) -> Classification:
        """Classifies serialized tf.Examples. See `Predictor.classify`."""
        with self._lease(spec) as (version, loaded):
            name = spec.signature_name or DEFAULT_SIGNATURE
            signature = _example_signature(loaded.servable, name)
            self._check_method(signature, classify_regress.CLASSIFY)
            classify_regress.check_classify(signature)
            outputs = await self._run_examples(
                "Classify", loaded, name, examples, timeout_s
            )
            results = classify_regress.classifications(outputs, len(examples))
            return Classification(results, version, name)

    async def regress(
        self,
        spec: ModelSpec,
        examples: Sequence[bytes],
        *,
        timeout_s: float | None = None,
    ) -> Regression:
        """Gives one value to each serialized tf.Example. See `Predictor.regress`."""
        with self._lease(spec) as (version, loaded):
            name = spec.signature_name or DEFAULT_SIGNATURE
            signature = _example_signature(loaded.servable, name)
            self._check_method(signature, classify_regress.REGRESS)
            classify_regress.check_regress(signature)
            outputs = await self._run_examples(
                "Regress", loaded, name, examples, timeout_s
            )
            values = classify_regress.regressions(outputs, len(examples))
            return Regression(values, version, name)

    async def signatures(
        self, spec: ModelSpec
    ) -> tuple[int, Mapping[str, SignatureInfo]]:
        """Returns the version that `spec` means and its signatures by name."""
        with self._lease(spec) as (version, loaded):
            return version, loaded.servable.signatures

    async def status(
        self, name: str, version: int | None = None
    ) -> list[VersionStatus]:
        """Returns the state of all versions of a model, or of one, newest first."""
        return self.versions.status(name, version)

    def models(self) -> Mapping[str, bool]:
        """Returns every model's name, and whether a version of it is AVAILABLE."""
        return {name: bool(found) for name, found in self.versions.available().items()}

    def waiting(self) -> dict[tuple[str, ...], float]:
        """Returns how many requests wait to be run, by model and signature."""
        waiting: collections.Counter[tuple[str, ...]] = collections.Counter()
        with self.versions.lock:
            for name, model in self.versions.models.items():
                for version in model.versions.values():
                    queues = version.loaded.batchers if version.loaded else {}
                    for signature, batcher in list(queues.items()):
                        waiting[name, signature] += batcher.queue.waiting
        return dict(waiting)

    def _load(self, path: pathlib.Path, name: str, version: int) -> LoadedVersion:
        return loaded_version.load(path, name, version, self._options, self._metrics)

    @contextlib.contextmanager
    def _lease(self, spec: ModelSpec) -> Iterator[tuple[int, LoadedVersion]]:
        with self.versions.lease(spec.name, self._wanted(spec)) as found:
            yield found

    def _wanted(self, spec: ModelSpec) -> int | None:
        """The version that is asked for; None for the latest."""
        if not spec.name:
            raise InvalidRequestError("ModelSpec has no name specified.")
        if spec.label is None:
            return spec.version
        version = self._labelled(spec.name, spec.label)
        if version is None:
            raise InvalidRequestError(
                f"Unrecognized servable version label: {spec.label}"
            )
        return version

    def _check_method(self, signature: SignatureInfo, method: str) -> None:
        if self._options.check_method_names:
            classify_regress.check_method_name(signature, method)

    async def _run_examples(
        self,
        api: str,
        loaded: LoadedVersion,
        name: str,
        examples: Sequence[bytes],
        timeout_s: float | None,
    ) -> Arrays:
        if not examples:
            raise InvalidRequestError("Input is empty.")
        inputs = {classify_regress.INPUTS: as_array(examples)}
        checked = loaded.servable.check(name, inputs)
        return await self._run(api, loaded, name, checked, timeout_s)

    async def _run(
        self,
        api: str,
        loaded: LoadedVersion,
        name: str,
        inputs: Arrays,
        timeout_s: float | None,
    ) -> Arrays:
        began = time.perf_counter()
        if loaded.servable.is_deferred(name):
            await loaded.prepare(name, timeout_s)
            self._on_change()
            if timeout_s is not None:
                timeout_s = max(0.0, timeout_s - (time.perf_counter() - began))
        outputs = await self.batcher(loaded, name).submit(inputs, timeout_s)
        self._metrics.ran(loaded.servable.name, api, time.perf_counter() - began)
        return outputs

    def _make_batcher(self, loaded: LoadedVersion, name: str) -> Batcher:
        version = loaded.servable
        may_batch = version.signature(name).has_free_batch_axis
        options = loaded.batching
        return Batcher(
            self._metrics.graph.counted(functools.partial(version.execute, name)),
            self.threads,
            options or self._options.batching,
            may_batch=may_batch and options is not None,
            observer=self._metrics.of_batches(options) if options else None,
        )


def _example_signature(version: Servable, name: str) -> SignatureInfo:
    """The signature, refused in the words of Classify and Regress if not there."""
    try:
        return version.signature(name)
    except ServingError:
        raise InvalidRequestError(
            f"No signature was found with the name: {name}"
        ) from None
