r"""Encryption of both protocols, as TF Serving's SSLConfig says.

There it is of gRPC alone; here of REST too where `--rest_api_enable_tls` says so.

```
server_key: "-----BEGIN PRIVATE KEY-----\n..."
server_cert: "-----BEGIN CERTIFICATE-----\n..."
custom_ca: ""
client_verify: false
```
"""

import os
import pathlib
import ssl
import tempfile
from typing import Any

import grpc

from savedmodels.serving_protos import SSLConfig
from serving import text_config
from serving.errors import InvalidRequestError


def server_credentials(path: pathlib.Path) -> grpc.ServerCredentials:
    """Returns what a gRPC port is encrypted with.

    Args:
        path: SSLConfig as text, with the PEM of keys and certificates inside.

    Raises:
        InvalidRequestError: The file cannot be read, or something is missing in it.
    """
    config = _read(path)
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )


def server_context(path: pathlib.Path) -> ssl.SSLContext:
    """Returns what the REST port is encrypted with.

    Args:
        path: As for `server_credentials`.

    Raises:
        InvalidRequestError: As `server_credentials`, or key and certificate are none,
            or no pair.
    """
    config = _read(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        _load_pair(context, config.server_key, config.server_cert)
        if config.client_verify:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=config.custom_ca)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidRequestError(
            f"`{path}` must hold a key and its certificate, in PEM, and certificates "
            f"alone as custom_ca. Received: {error}"
        ) from error
    return context


def _load_pair(context: ssl.SSLContext, key: str, certificate: str) -> None:
    # OpenSSL is only asked by file name here: a folder that nobody else may enter.
    with tempfile.TemporaryDirectory(prefix="maaskit-") as folder:
        file = os.path.join(folder, "pair.pem")
        with open(file, "x", encoding="utf-8") as pair:
            pair.write(f"{key}\n{certificate}\n")
        # No password is asked for on a terminal: an encrypted key is refused.
        context.load_cert_chain(file, password="")


def _read(path: pathlib.Path) -> Any:
    config = text_config.read(path, SSLConfig())
    if not config.server_key or not config.server_cert:
        raise InvalidRequestError(
            f"`{path}` must hold the PEM of a `server_key` and of its `server_cert`."
        )
    if config.client_verify and not config.custom_ca:
        raise InvalidRequestError(
            f"`{path}` asks for `client_verify`, so it must hold the PEM of the "
            "`custom_ca` that signs clients' certificates."
        )
    return config
