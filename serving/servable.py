"""One SavedModel version in memory: its signatures, and answers from them.

Each signature is answered by LiteRT where `model.tflite` carries
it, by TensorFlow otherwise; TensorFlow is imported by the first version that needs it.
"""

import os
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import numpy as np

from savedmodels import store
from serving.errors import FailedPreconditionError
from serving.litert_engine import LiteRtEngine
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
    "Engine",
    "Servable",
    "SignatureInfo",
    "TensorInfo",
    "has_gpu",
    "load",
]

DEFAULT_SIGNATURE = "serving_default"
# TensorFlow writes the op that initialises tables as a signature; nobody may call it.
_INIT_OP = "__saved_model_init_op"


class Engine(Protocol):
    """Runs signatures of one version. Thread-safe; raises `ServingError` to refuse."""

    name: str

    def run(
        self, signature_name: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Returns all outputs by alias; the inputs fit the signature by name, dtype."""
        ...

    def close(self) -> None:
        """Lets go of the graph and its memory."""
        ...


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
    *,
    prefer_litert: bool | None = None,
    only: Collection[str] | None = None,
) -> Servable:
    """Loads one version from its folder.

    Args:
        path: Folder that holds `saved_model.pb`.
        name: Model name.
        version: Version number.
        prefer_litert: Whether `model.tflite` answers the signatures that it carries.
            None means where there is no GPU, on which TensorFlow is the faster one.
        only: Signatures that will be called; None for all. Who needs one that LiteRT
            answers then does not wait for TensorFlow because of another.

    Raises:
        ServingError: The folder holds no complete SavedModel.
    """
    signatures = read_signatures(path)
    wanted = [
        key for key in signatures if key != _INIT_OP and (only is None or key in only)
    ]
    engines: dict[str, Engine] = {}
    litert_file = path / store.LITERT_MODEL
    prefer = not has_gpu() if prefer_litert is None else prefer_litert
    if prefer and litert_file.is_file():
        litert = LiteRtEngine(litert_file.read_bytes(), signatures)
        carried = [key for key in litert.signature_names if key in wanted]
        engines.update(dict.fromkeys(carried, litert))
    missing = [key for key in wanted if key not in engines]
    if missing:
        # Imported late: it brings TensorFlow, 5 seconds and 800 MB.
        from serving import tensorflow_engine

        tensorflow = tensorflow_engine.TensorFlowEngine(path, signatures)
        engines.update(dict.fromkeys(missing, tensorflow))
    return Servable(name, version, signatures, engines)


def has_gpu() -> bool:
    """Whether an NVIDIA GPU is there and not hidden, as far as the system tells."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        return False
    return pathlib.Path("/dev/nvidia0").exists()


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
