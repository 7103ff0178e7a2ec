"""The seam behind both protocols: what a server asks, whoever computes the answer.

`grpc_server` and `rest_server` only decode, call a `Predictor` and encode. The
embedded one (`serving/embedded.py`) runs SavedModels in this process; the upstream
one (`serving/upstream_predictor.py`) asks other servers, without either protocol
knowing.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from serving.servable import SignatureInfo


@dataclasses.dataclass(frozen=True, slots=True)
class ModelSpec:
    """Which servable and which of its signatures a request means.

    Attributes:
        name: Model name.
        version: Version number, or None for the latest that is loaded.
        label: Version label, or None. Never set together with `version`.
        signature_name: Signature, or "" for `serving_default`.
    """

    name: str
    version: int | None = None
    label: str | None = None
    signature_name: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """Outputs by alias, and which version and signature gave them."""

    outputs: Mapping[str, np.ndarray]
    version: int
    signature_name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Classification:
    """Per example, (label, score) pairs in the signature's order of classes.

    Attributes:
        results: [examples][classes] pairs; the label is "" where the signature
            gives scores alone, the score 0.0 where it gives classes alone.
        version: The version that answered.
        signature_name: The signature that answered.
    """

    results: Sequence[Sequence[tuple[str, float]]]
    version: int
    signature_name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Regression:
    """One value per example, and which version and signature gave them."""

    values: Sequence[float]
    version: int
    signature_name: str


@dataclasses.dataclass(frozen=True, slots=True)
class VersionStatus:
    """The state of one version, in TF Serving's words.

    Attributes:
        version: Version number.
        state: START, LOADING, AVAILABLE, UNLOADING or END.
        error_code: `grpc.StatusCode` name of what ended it; "OK" where nothing did.
        error_message: Why it ended; "" where nothing went wrong.
    """

    version: int
    state: str
    error_code: str = "OK"
    error_message: str = ""


class Predictor(Protocol):
    """Answers requests. Every method raises a `ServingError` to refuse."""

    async def predict(
        self,
        spec: ModelSpec,
        inputs: Mapping[str, np.ndarray],
        *,
        output_filter: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> Prediction:
        """Runs one signature on one batch.

        Args:
            spec: The servable and signature.
            inputs: Alias to array; strings are object arrays of bytes.
            output_filter: Aliases to return; empty for all.
            timeout_s: Seconds after which the answer is of no use, or None.
        """
        ...

    async def classify(
        self,
        spec: ModelSpec,
        examples: Sequence[bytes],
        *,
        timeout_s: float | None = None,
    ) -> Classification:
        """Classifies serialized tf.Examples."""
        ...

    async def regress(
        self,
        spec: ModelSpec,
        examples: Sequence[bytes],
        *,
        timeout_s: float | None = None,
    ) -> Regression:
        """Gives one value to each serialized tf.Example."""
        ...

    async def signatures(
        self, spec: ModelSpec
    ) -> tuple[int, Mapping[str, SignatureInfo]]:
        """Returns the version that `spec` means and its signatures by name."""
        ...

    async def status(
        self, name: str, version: int | None = None
    ) -> list[VersionStatus]:
        """Returns the state of all versions of a model, or of one, newest first."""
        ...

    def models(self) -> Mapping[str, bool]:
        """Returns every known model's name, and whether a version is AVAILABLE."""
        ...
