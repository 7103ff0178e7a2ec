"""What a client can ask a server, whichever protocol it speaks: numpy in, numpy out.

`GrpcClient` and `RestClient` are used alike; each holds only what its protocol needs.
No TensorFlow is imported.
"""

import abc
import time
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self, TypeAlias

import numpy as np

from serving.errors import InvalidRequestError
from serving.predictor import ModelSpec, VersionStatus
from serving.signatures import SignatureInfo

Example: TypeAlias = Mapping[str, Any] | bytes

# A server that is just starting, or being replaced, is back by then.
CONNECT_WAITS_S = (0.1, 0.4)


class Client(abc.ABC):
    """Asks one server. Thread-safe; use it as a context manager, or `close` it.

    Every method takes `timeout_s`, seconds until it gives up (None for the client's
    own), and raises the `ServingError` that the server answered with, its text
    unchanged. Where no connection comes about it tries again for a moment, then raises
    `UnavailableError`; when the time is up, `DeadlineExceededError`.
    """

    def __init__(self, timeout_s: float) -> None:
        """Prepares; a protocol's own class connects.

        Args:
            timeout_s: Seconds for a call that names no other.
        """
        self._timeout_s = timeout_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self.close()

    @abc.abstractmethod
    def close(self) -> None:
        """Closes the connections; calls under way may end with an error."""

    def predict(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        version: int | None = None,
        label: str | None = None,
        signature_name: str = "",
        output_filter: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs one signature on one batch.

        Args:
            model: Model name.
            inputs: Alias to array [batch, ...], or to nested lists; strings as bytes or
                str. gRPC wants the signature's dtypes, by REST numbers only have to fit
                them.
            version: Version number; None for the latest.
            label: Version label, in place of a number.
            signature_name: "" for `serving_default`.
            output_filter: Aliases to return; empty for all.
            timeout_s: Seconds; None for the client's own.

        Returns:
            Alias to array [batch, ...] of the signature's dtype; strings are object
            arrays of bytes.
        """
        arrays = {alias: _as_array(alias, value) for alias, value in inputs.items()}
        spec = _spec(model, version, label, signature_name)
        return self._predict(spec, arrays, output_filter, self._seconds(timeout_s))

    def classify(
        self,
        model: str,
        examples: Sequence[Example],
        *,
        version: int | None = None,
        label: str | None = None,
        signature_name: str = "",
        timeout_s: float | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Classifies examples.

        Args:
            model: Model name.
            examples: Each a dict of features as `example_codec.encode` takes it, or a
                serialized tf.Example.
            version: Version number; None for the latest.
            label: Version label, in place of a number.
            signature_name: "" for `serving_default`.
            timeout_s: Seconds; None for the client's own.

        Returns:
            Per example, (label, score) pairs in the signature's order of classes.
        """
        spec = _spec(model, version, label, signature_name)
        return self._classify(spec, examples, self._seconds(timeout_s))

    def regress(
        self,
        model: str,
        examples: Sequence[Example],
        *,
        version: int | None = None,
        label: str | None = None,
        signature_name: str = "",
        timeout_s: float | None = None,
    ) -> np.ndarray:
        """Returns one value for each example, [examples] float32. See `classify`."""
        spec = _spec(model, version, label, signature_name)
        values = self._regress(spec, examples, self._seconds(timeout_s))
        return np.array(values, np.float32)

    def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, SignatureInfo]:
        """Returns a version's signatures, by name. See `predict`."""
        spec = _spec(model, version, label)
        return self._metadata(spec, self._seconds(timeout_s))

    def status(
        self, model: str, *, version: int | None = None, timeout_s: float | None = None
    ) -> list[VersionStatus]:
        """Returns the state of all versions of a model, or of one."""
        return self._status(ModelSpec(model, version), self._seconds(timeout_s))

    def _seconds(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else timeout_s

    @abc.abstractmethod
    def _predict(
        self,
        spec: ModelSpec,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str],
        timeout_s: float,
    ) -> dict[str, np.ndarray]: ...

    @abc.abstractmethod
    def _classify(
        self, spec: ModelSpec, examples: Sequence[Example], timeout_s: float
    ) -> list[list[tuple[str, float]]]: ...

    @abc.abstractmethod
    def _regress(
        self, spec: ModelSpec, examples: Sequence[Example], timeout_s: float
    ) -> Sequence[float]: ...

    @abc.abstractmethod
    def _metadata(
        self, spec: ModelSpec, timeout_s: float
    ) -> dict[str, SignatureInfo]: ...

    @abc.abstractmethod
    def _status(self, spec: ModelSpec, timeout_s: float) -> list[VersionStatus]: ...


def connect_waits(deadline: float) -> Iterator[bool]:
    """Paces attempts to connect: yields whether another one follows.

    Args:
        deadline: On `time.monotonic`'s clock; no wait goes beyond it.
    """
    for wait_s in CONNECT_WAITS_S:
        if time.monotonic() + wait_s > deadline:
            break
        yield True
        time.sleep(wait_s)
    yield False


def _spec(
    model: str, version: int | None, label: str | None, signature_name: str = ""
) -> ModelSpec:
    if version is not None and label is not None:
        raise InvalidRequestError(
            f"Both model version ({version}) and model version label ({label}) cannot "
            "be supplied."
        )
    return ModelSpec(model, version, label, signature_name)


def _as_array(alias: str, value: Any) -> np.ndarray:
    """Returns an input as an array; strings as objects of bytes.

    Raises:
        InvalidRequestError: The value is ragged.
    """
    try:
        array = np.asarray(value)
        if array.dtype.kind in "SUO":
            # From the value itself: numpy's own strings lose NULs at their end.
            array = np.asarray(value, np.object_)
            flat = [_to_bytes(alias, item) for item in array.reshape(-1).tolist()]
            encoded = np.empty(len(flat), np.object_)
            encoded[:] = flat
            return encoded.reshape(array.shape)
        return array
    except ValueError as error:
        raise InvalidRequestError(
            f"Input `{alias}` is not an array. Expected numbers, or nested lists of "
            f"one shape. Received: {type(value).__name__} ({error})."
        ) from error


def _to_bytes(alias: str, item: Any) -> bytes:
    if isinstance(item, str):
        return item.encode()
    if isinstance(item, bytes):
        return item
    raise InvalidRequestError(
        f"Input `{alias}` mixes strings with other values, or holds objects. "
        f"Expected bytes or str. Received: {type(item).__name__}."
    )
