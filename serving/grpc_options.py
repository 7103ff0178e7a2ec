"""How the gRPC engine is set up, whatever it answers from."""

import argparse
import dataclasses
import pathlib

AUTO, NATIVE, GRPCIO = "auto", "native", "grpcio"
ENGINES = (AUTO, NATIVE, GRPCIO)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GrpcOptions:
    """Settings of the gRPC server.

    Attributes:
        socket_path: Unix socket to listen on besides the port; "" for none.
        channel_arguments: gRPC's own settings by name, as in
            ("grpc.max_connection_age_ms", 2000).
        ssl_config_file: What encrypts both, see `serving/tls.py`; None for plain text.
        serves_health: Whether `grpc.health.v1.Health` is answered.
        serves_reflection: Whether clients may ask which services and messages there
            are.
        engine: `native`, `grpcio`, or `auto`, see `serving/grpc_engine.py`.
    """

    socket_path: str = ""
    channel_arguments: tuple[tuple[str, int | str], ...] = ()
    ssl_config_file: pathlib.Path | None = None
    serves_health: bool = True
    serves_reflection: bool = False
    engine: str = AUTO


def channel_arguments(text: str) -> str:
    """The type of `--grpc_channel_arguments`: `key=value,key=value`."""
    if any(not key or not equals for key, equals, _ in _parts(text)):
        raise argparse.ArgumentTypeError(
            f"key=value,key=value... was expected. Received: {text}"
        )
    return text


def parse_channel_arguments(text: str) -> tuple[tuple[str, int | str], ...]:
    """Returns keys and values; a value that is a number becomes one."""
    return tuple((key, _number_or_text(value)) for key, _, value in _parts(text))


def _parts(text: str) -> list[tuple[str, str, str]]:
    return [part.partition("=") for part in text.split(",") if part]


def _number_or_text(value: str) -> int | str:
    try:
        return int(value)
    except ValueError:
        return value
