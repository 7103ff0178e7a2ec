"""Encryption between the shim and the servers behind it."""

import argparse
import dataclasses
import pathlib
import ssl

import grpc

from serving.errors import InvalidRequestError
from serving.flag_types import path_or_empty


@dataclasses.dataclass(frozen=True, slots=True)
class UpstreamTls:
    """Files, in PEM.

    Attributes:
        root_certs: Certificates that a server's own must be signed by.
        client_key: The shim's key, for servers that check their clients; or None.
        client_cert: Its certificate, and perhaps those between it and the servers'
            root; or None.
    """

    root_certs: pathlib.Path
    client_key: pathlib.Path | None = None
    client_cert: pathlib.Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Returns what connections are encrypted with.

        Raises:
            InvalidRequestError: A file cannot be read, or does not hold what it should.
        """
        roots = _read(self.root_certs)
        key = None if self.client_key is None else _read(self.client_key)
        certificate = None if self.client_cert is None else _read(self.client_cert)
        # gRPC would tell of none of this before the first connection, and not which.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(self.root_certs)
        except (ssl.SSLError, ValueError) as error:
            raise InvalidRequestError(
                f"`{self.root_certs}` must hold certificates in PEM. Received: {error}"
            ) from error
        if self.client_cert is not None:
            try:
                context.load_cert_chain(self.client_cert, self.client_key, password="")
            except (ssl.SSLError, ValueError) as error:
                raise InvalidRequestError(
                    f"`{self.client_key}` and `{self.client_cert}` must hold a key and "
                    f"its certificate, in PEM. Received: {error}"
                ) from error
        return grpc.ssl_channel_credentials(roots, key, certificate)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that name the files."""
    add = parser.add_argument_group("how to reach --upstream").add_argument
    for name, text in [
        ("root_certs", "encrypt: certificates, in PEM, that its own is signed by"),
        ("client_key", "the key, in PEM, to show where it checks clients"),
        ("client_cert", "the certificate of that key, in PEM"),
    ]:
        add(
            f"--upstream_ssl_{name}",
            type=path_or_empty,
            metavar="FILE",
            help=text,
        )


def of_flags(
    parser: argparse.ArgumentParser, flags: argparse.Namespace
) -> UpstreamTls | None:
    """Returns what the flags say; ends the process where they contradict each other."""
    roots = flags.upstream_ssl_root_certs or None
    key = flags.upstream_ssl_client_key or None
    certificate = flags.upstream_ssl_client_cert or None
    if (key is None) != (certificate is None):
        parser.error(
            "--upstream_ssl_client_key and --upstream_ssl_client_cert go together"
        )
    if key and not roots:
        parser.error("--upstream_ssl_client_key needs --upstream_ssl_root_certs")
    if roots and not flags.upstream:
        parser.error("--upstream_ssl_root_certs needs --upstream")
    return UpstreamTls(roots, key, certificate) if roots else None


def _read(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequestError(f"Cannot read `{path}`: {error.strerror}.") from error
