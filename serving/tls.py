r"""Encryption of gRPC, as TF Serving's SSLConfig says.

```
server_key: "-----BEGIN PRIVATE KEY-----\n..."
server_cert: "-----BEGIN CERTIFICATE-----\n..."
custom_ca: ""
client_verify: false
```
"""

import pathlib

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
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )
