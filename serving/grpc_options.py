"""How the gRPC engine is set up, whatever it answers from."""

import argparse
import dataclasses
import pathlib


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GrpcOptions:
    """Settings of the gRPC server.

    Attributes:
        socket_path: Unix socket to listen on besides the port; "" for none.
        channel_arguments: gRPC's own settings by name, as in
            ("grpc.max_connection_age_ms", 2000).
        ssl_config_file: What encrypts both, see `serving/tls.py`; None for plain text.
        serves_health: Whether `grpc.health.v1.Health` is answered.
    """

    socket_path: str = ""
    channel_arguments: tuple[tuple[str, int | str], ...] = ()
    ssl_config_file: pathlib.Path | None = None
    serves_health: bool = True


def parse_channel_arguments(text: str) -> tuple[tuple[str, int | str], ...]:
    """The type of `--grpc_channel_arguments`; a value that is a number becomes one."""
    found: list[tuple[str, int | str]] = []
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not key or not equals:
            raise argparse.ArgumentTypeError(
                f"key=value,key=value... was expected. Received: {text}"
            )
        try:
            found.append((key, int(value)))
        except ValueError:
            found.append((key, value))
    return tuple(found)
