"""What is known of a call that passes through, by its path and its first bytes."""

import dataclasses
from collections.abc import Iterable
from typing import TypeAlias

import grpc
import grpc.aio

Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]

_PREDICTION = "/tensorflow.serving.PredictionService/"
_INFERENCE = "/inference.GRPCInferenceService/"
# Its calls that change nothing; some servers have more of them, which do.
_ASKING = frozenset(
    _INFERENCE + name
    for name in (
        "ModelInfer",
        "ModelMetadata",
        "ModelReady",
        "ServerLive",
        "ServerMetadata",
        "ServerReady",
    )
)
_PROFILER = "/tensorflow.ProfilerService/"
_TERMINATE = f"{_PROFILER}Terminate"
_RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
_NO_LABEL = "Unrecognized servable version label"
_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
# What each connection sets for itself.
_OF_THE_CONNECTION = frozenset({"user-agent", "te", "content-type", "host"})
_STATUS_DETAILS = "grpc-status-details-bin"


@dataclasses.dataclass(frozen=True, slots=True)
class Forwarded:
    """What an upstream server answered: bytes, and the metadata that pass on."""

    data: bytes
    initial: Metadata = ()
    trailing: Metadata = ()


def may_run_twice(path: str) -> bool:
    """Returns whether a call changes nothing, so that a lost one is sent again."""
    return path == _STATUS or path in _ASKING or path.startswith(_PREDICTION)


def is_profiling(path: str) -> bool:
    """Returns whether a call is the profiler's, which traces one server.

    It is the first that is ready, and not each in its turn: so a trace that shows
    nothing of interest can be made again, of the same server.
    """
    return path.startswith(_PROFILER)


def is_for_all(path: str) -> bool:
    """Returns whether a call is every server's: which one it means is not known."""
    return path in (_RELOAD, _TERMINATE)


def is_answered_by_any(path: str) -> bool:
    """Returns whether one answer is enough for a call that is every server's.

    To end a session that a server does not have changes nothing there.
    """
    return path == _TERMINATE


def lacks_model(error: grpc.aio.AioRpcError, path: str) -> bool:
    """Returns whether a server says that it has no such model, version or label.

    TF Serving's own does not have the Open Inference Protocol; others may.
    """
    if error.code() == grpc.StatusCode.UNIMPLEMENTED:
        return path.startswith(_INFERENCE)
    return error.code() == grpc.StatusCode.NOT_FOUND or (
        error.code() == grpc.StatusCode.INVALID_ARGUMENT
        and (error.details() or "").startswith(_NO_LABEL)
    )


def model_key(path: str, data: bytes) -> bytes:
    """Returns an inference request's ModelSpec as it is on the wire; b"" for unknown.

    It is the first field, which every library writes first; nothing else is decoded.
    In the Open Inference Protocol that is the model's name.
    """
    if not path.startswith((_PREDICTION, _INFERENCE)) or len(data) < 2:
        return b""
    tag, length = data[0], data[1]
    if tag != 0x0A or length >= 0x80:
        return b""
    found = data[2 : 2 + length]
    return _INFERENCE.encode() + found if path.startswith(_INFERENCE) else found


def passed_on(metadata: Iterable[tuple[str, str | bytes]] | None) -> Metadata:
    """Returns metadata without what belongs to one connection only."""
    return tuple(
        (key, value)
        for key, value in metadata or ()
        if key not in _OF_THE_CONNECTION
        and (key == _STATUS_DETAILS or not key.startswith(("grpc-", ":")))
    )
