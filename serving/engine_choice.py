"""Which engine answers each signature of a version, so that nobody can tell which.

On a CPU LiteRT is several times faster than TensorFlow. `auto` lets it answer what a
version's `model.tflite` carries:

* A version that was exported here carries the record of its export, which held the two
  against each other. It is loaded without TensorFlow. A signature that LiteRT does not
  have, as those that take strings, brings TensorFlow with its first call.
* In any other version, and where `model.tflite` is made while loading, LiteRT's answers
  to the warm-up requests are compared with TensorFlow's first. Where they differ, or
  where there is nothing to compare, TensorFlow answers.
"""

import dataclasses
import functools
import logging
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from savedmodels import compare, convert, parity, protos, saved_model, store
from serving import warmup_requests
from serving.engines import DeferredEngine, Engine
from serving.errors import ServingError
from serving.litert_engine import LiteRtEngine
from serving.signatures import SignatureInfo, check_inputs

logger = logging.getLogger(__name__)

AUTO, LITERT, TENSORFLOW = "auto", "litert", "tensorflow"
CPU_ENGINES = (AUTO, LITERT, TENSORFLOW)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LoadOptions:
    """Which graph of a version is loaded, and what runs it.

    Attributes:
        cpu_engine: `auto`; `litert`, to let LiteRT answer what `model.tflite` carries
            without comparing; or `tensorflow`. `auto` is `tensorflow` where there is a
            GPU, on which that is the faster one.
        convert_on_load: Whether a version without `model.tflite` is converted.
        saved_model_tags: Tags of the graph.
    """

    cpu_engine: str = AUTO
    convert_on_load: bool = False
    saved_model_tags: tuple[str, ...] = (saved_model.SERVE_TAG,)


def choose(
    path: pathlib.Path,
    signatures: Mapping[str, SignatureInfo],
    wanted: Sequence[str],
    options: LoadOptions,
) -> dict[str, Engine]:
    """Loads what answers a version's signatures, and returns it by their names.

    Args:
        path: Folder of the version.
        signatures: All its signatures, by name.
        wanted: Names of those that may be called.
        options: What to load.

    Raises:
        ServingError: It cannot be loaded.
    """
    return _Choice(path, signatures, wanted, options).engines()


def has_gpu() -> bool:
    """Whether an NVIDIA GPU is there and not hidden, as far as the system tells."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        return False
    return pathlib.Path("/dev/nvidia0").exists()


class _Choice:
    """The choice for one version."""

    def __init__(
        self,
        path: pathlib.Path,
        signatures: Mapping[str, SignatureInfo],
        wanted: Sequence[str],
        options: LoadOptions,
    ) -> None:
        self._path = path
        self._signatures = signatures
        self._wanted = wanted
        self._options = options
        self._recorded: frozenset[str] = frozenset()

    def engines(self) -> dict[str, Engine]:
        """What answers, by signature."""
        found: dict[str, Engine] = {}
        if self._may_be_litert():
            found.update(self._by_litert())
        left = [name for name in self._wanted if name not in found]
        if left:
            # TensorFlow takes 5 seconds and 700 MB: not for what may never be asked.
            may_wait = bool(self._recorded & found.keys()) and protos.light()
            engine = self._deferred() if may_wait else self._tensorflow
            found.update(dict.fromkeys(left, engine))
        elif "_tensorflow" in vars(self):
            self._tensorflow.close()
        return found

    def _may_be_litert(self) -> bool:
        if self._options.cpu_engine == AUTO:
            return not has_gpu()
        return self._options.cpu_engine == LITERT

    def _by_litert(self) -> dict[str, Engine]:
        """Those signatures that LiteRT answers."""
        file = self._path / store.LITERT_MODEL
        is_converted = self._options.convert_on_load and not file.is_file()
        model = self._converted() if is_converted else _content(file)
        if model is None:
            return {}
        try:
            litert = LiteRtEngine(model, self._signatures)
        except ServingError as error:
            if not is_converted:
                raise
            logger.warning("%s: what it was converted to: %s", self._path, error)
            return {}
        carried = [name for name in litert.signature_names if name in self._wanted]
        if self._options.saved_model_tags == (saved_model.SERVE_TAG,):
            self._recorded = parity.recorded(self._path, model)
        right = set(carried)
        if is_converted or self._options.cpu_engine == AUTO:
            right &= self._recorded
            unknown = [name for name in carried if name not in right]
            right |= self._compared(litert, unknown) if unknown else set()
        if not right:
            litert.close()
        return dict.fromkeys(sorted(right), litert)

    def _converted(self) -> bytes | None:
        names = [
            name
            for name in self._wanted
            if not _has_strings(self._signatures[name])
            and self._signatures[name].has_free_batch_axis
        ]
        return convert.in_fresh_process(self._path, names) if names else None

    def _compared(self, litert: LiteRtEngine, names: Sequence[str]) -> set[str]:
        """Those signatures that LiteRT answers as TensorFlow does, by warm-up."""
        compared: set[str] = set()
        refused: dict[str, str] = {}
        try:
            for request in warmup_requests.read(self._path):
                name = request.signature_name
                if name not in names or name in refused:
                    continue
                compared.add(name)
                inputs = check_inputs(self._signatures[name], request.inputs)
                expected = self._tensorflow.run(name, inputs)
                reason = _difference(litert, name, inputs, expected)
                if reason:
                    refused[name] = reason
        except ServingError as error:
            # Where warm-up is on, the load ends with the same error.
            logger.warning("%s: %s", self._path / store.WARMUP_REQUESTS, error)
            compared.clear()
        for name in names:
            if name in refused or name not in compared:
                logger.warning(
                    "%s: `%s` is answered by TensorFlow: %s",
                    self._path,
                    name,
                    refused.get(name, "no warm-up request tells whether LiteRT may"),
                )
        return compared - refused.keys()

    @functools.cached_property
    def _tensorflow(self) -> Engine:
        # Imported late: it brings TensorFlow.
        from serving import tensorflow_engine

        return tensorflow_engine.TensorFlowEngine(
            self._path, self._signatures, self._options.saved_model_tags
        )

    def _deferred(self) -> Engine:
        return DeferredEngine(TENSORFLOW, lambda: self._tensorflow)


def _content(file: pathlib.Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


def _has_strings(signature: SignatureInfo) -> bool:
    """LiteRT has hardly an op for them."""
    tensors = [*signature.inputs.values(), *signature.outputs.values()]
    return any(info.dtype == np.object_ for info in tensors)


def _difference(
    litert: LiteRtEngine,
    name: str,
    inputs: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
) -> str:
    """Why LiteRT may not answer; "" where it does as expected."""
    try:
        received = litert.run(name, inputs)
        compare.share_of_scale(expected, received, parity.LIMIT)
    except (ServingError, ValueError) as error:
        return f"LiteRT answers otherwise: {error}"
    return ""
