"""Which options of the gRPC server its native front has, and in which words."""

import dataclasses
from typing import Any

from serving.grpc_options import GrpcOptions

_RECEIVE = "grpc.max_receive_message_length"
# gRPC's name of a setting to the front's.
_NAMES = {
    "grpc.keepalive_time_ms": "keepalive_time_ms",
    "grpc.keepalive_timeout_ms": "keepalive_timeout_ms",
    "grpc.keepalive_permit_without_calls": "keepalive_permit_without_calls",
    "grpc.max_concurrent_streams": "max_concurrent_streams",
}
_BOOLEANS = ("keepalive_permit_without_calls",)
_INT32_MAX = 2**31 - 1


def missing(options: GrpcOptions) -> str:
    """Returns what of the options the front has not; "" where it has all."""
    if options.ssl_config_file is not None:
        return "it has no TLS (--ssl_config_file)"
    if options.socket_path:
        return "it listens on a port alone (--grpc_socket_path)"
    for name, value in options.channel_arguments:
        if name not in (*_NAMES, _RECEIVE):
            return f"it has no {name} (--grpc_channel_arguments)"
        least = 0 if name == "grpc.keepalive_permit_without_calls" else 1
        if not isinstance(value, int) or not least <= value <= _INT32_MAX:
            return f"it takes no {name}={value} (--grpc_channel_arguments)"
    return ""


def arguments(options: GrpcOptions) -> tuple[dict[str, Any], int | None]:
    """Returns the front's arguments, and the limit of a message's bytes, or None.

    Args:
        options: Such that nothing is `missing`.
    """
    found: dict[str, Any] = {
        # As grpcio has them where nothing is said.
        "keepalive_permit_without_calls": False,
        "max_concurrent_streams": _INT32_MAX,
    }
    max_bytes = None
    for name, value in options.channel_arguments:
        if name == _RECEIVE:
            max_bytes = int(value)
            continue
        own = _NAMES[name]
        found[own] = bool(value) if own in _BOOLEANS else int(value)
    return found, max_bytes


def behind(options: GrpcOptions, socket_path: str) -> GrpcOptions:
    """Returns the options of the grpcio server behind the front.

    Args:
        options: Those of the front.
        socket_path: Where the two meet.
    """
    kept = [
        (name, value) for name, value in options.channel_arguments if name == _RECEIVE
    ]
    return dataclasses.replace(
        options, socket_path=socket_path, channel_arguments=tuple(kept)
    )
