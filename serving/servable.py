"""One SavedModel version in memory: its signatures, and answers from them.

`serving/engine_choice.py` says what answers each of them, LiteRT or TensorFlow.
"""

import pathlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from serving import engine_choice
from serving.engine_choice import LoadOptions
from serving.engines import DeferredEngine, Engine
from serving.errors import FailedPreconditionError
from serving.signatures import (
    SignatureInfo,
    TensorInfo,
    check_inputs,
    check_output_filter,
    read_signatures,
    select,
)

__all__ = [
    "DEFAULT_SIGNATURE",
    "LoadOptions",
    "Servable",
    "SignatureInfo",
    "TensorInfo",
    "load",
]

DEFAULT_SIGNATURE = "serving_default"
# TensorFlow writes the op that initialises tables as a signature; nobody may call it.
_INIT_OP = "__saved_model_init_op"


class Servable:
    """One loaded version. Thread-safe."""

    def __init__(
        self,
        name: str,
        version: int,
        signatures: Mapping[str, SignatureInfo],
        engines: Mapping[str, Engine],
    ) -> None:
        """Puts the parts together; `load` is the way to one.

        Args:
            name: Model name.
            version: Version number.
            signatures: By name.
            engines: The engine of each signature that may be called.
        """
        self.name = name
        self.version = version
        self.signatures = signatures
        self._engines = dict(engines)

    def engine(self, signature_name: str = DEFAULT_SIGNATURE) -> str:
        """Returns what answers a signature: `litert` or `tensorflow`."""
        return self._engines[signature_name].name

    def is_deferred(self, signature_name: str) -> bool:
        """Whether the first call of a signature waits for TensorFlow to be loaded."""
        engine = self._engines.get(signature_name)
        return isinstance(engine, DeferredEngine) and not engine.is_loaded

    def prepare(self, signature_name: str) -> None:
        """Loads what answers a signature, if that is deferred; takes seconds.

        Raises:
            ServingError: It cannot be loaded.
        """
        engine = self._engines.get(signature_name)
        if isinstance(engine, DeferredEngine):
            engine.load()

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Runs one signature on one batch, and waits for the answer.

        Args:
            signature_name: Signature, or "" for `serving_default`.
            inputs: Alias to array; strings are object arrays of bytes.
            output_filter: Aliases to return; empty for all.

        Raises:
            ServingError: The request does not fit the signature, or the graph failed.
        """
        signature_name = signature_name or DEFAULT_SIGNATURE
        checked = self.check(signature_name, inputs, output_filter)
        return select(self.execute(signature_name, checked), output_filter)

    def check(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Returns the inputs with defaults filled in, in the signature's order.

        Raises:
            FailedPreconditionError: There is no such signature.
            InvalidRequestError: Aliases or dtypes are not the signature's.
        """
        signature = self.signature(signature_name)
        checked = check_inputs(signature, inputs)
        check_output_filter(signature, output_filter)
        return checked

    def signature(self, signature_name: str) -> SignatureInfo:
        """Returns a signature that may be called.

        Raises:
            FailedPreconditionError: There is no such signature.
        """
        if signature_name not in self._engines:
            raise FailedPreconditionError(
                f'Serving signature key "{signature_name}" not found.'
            )
        return self.signatures[signature_name]

    def execute(
        self, signature_name: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Runs inputs that `check` returned, and returns all outputs.

        Raises:
            ServingError: The graph refused the values, or failed.
        """
        engine = self._engines[signature_name]
        if not _is_empty_batch(self.signatures[signature_name], inputs):
            return engine.run(signature_name, inputs)
        # Neither engine's convolutions take 0 rows: run one of zeros, return none.
        row = {key: np.zeros((1, *a.shape[1:]), a.dtype) for key, a in inputs.items()}
        outputs = engine.run(signature_name, row)
        return {alias: array[:0] for alias, array in outputs.items()}

    def close(self) -> None:
        """Frees what the version holds. Nothing may run it any more."""
        for engine in set(self._engines.values()):
            engine.close()
        self._engines.clear()


def load(
    path: pathlib.Path,
    name: str,
    version: int,
    options: LoadOptions = LoadOptions(),  # noqa: B008 -- it cannot be changed
    *,
    only: Collection[str] | None = None,
) -> Servable:
    """Loads one version from its folder.

    Args:
        path: Folder that holds `saved_model.pb`.
        name: Model name.
        version: Version number.
        options: Which graph is loaded, and what runs it.
        only: Signatures that will be called; None for all. Who needs one that LiteRT
            answers then does not wait for TensorFlow because of another.

    Raises:
        ServingError: The folder holds no complete SavedModel.
    """
    signatures = read_signatures(path, options.saved_model_tags)
    wanted = [
        key for key in signatures if key != _INIT_OP and (only is None or key in only)
    ]
    engines = engine_choice.choose(path, signatures, wanted, options)
    return Servable(name, version, signatures, engines)


def _is_empty_batch(signature: SignatureInfo, inputs: Mapping[str, np.ndarray]) -> bool:
    """Whether a batch has 0 rows of numbers, so that rows of zeros can stand in."""
    return (
        bool(inputs)
        and signature.has_free_batch_axis
        and all(
            array.ndim and not len(array) and array.dtype != np.object_
            for array in inputs.values()
        )
    )
