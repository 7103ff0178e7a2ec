"""Where the gRPC engine listens: a port, a Unix socket, encrypted or not."""

import grpc
import grpc.aio

from serving import listening, tls
from serving.grpc_options import GrpcOptions


def bind(server: grpc.aio.Server, host: str, port: int, options: GrpcOptions) -> int:
    """Takes the port and the socket for a server that is not started yet.

    Args:
        server: The server.
        host: Name or address to listen on; an IPv6 address without brackets.
        port: Port, 0 for a free one, or -1 for none.
        options: The socket, and the keys for both.

    Returns:
        The port; -1 for none.

    Raises:
        OSError: The port or the socket is taken, or the address is not this machine's.
        InvalidRequestError: The file of keys and certificates is refused.
    """
    ssl_config_file = options.ssl_config_file
    credentials = tls.server_credentials(ssl_config_file) if ssl_config_file else None
    if options.socket_path:
        listening.free_unix_socket(options.socket_path)
        _bind(server, f"unix:{options.socket_path}", credentials)
    if port > 0:
        # gRPC itself would tell why it failed in its own log only.
        listening.open_socket(host, port, "gRPC").close()
    if port < 0:
        return port
    return _bind(server, listening.address(host, port), credentials)


def _bind(
    server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None
) -> int:
    try:
        bound: int = (
            server.add_secure_port(address, credentials)
            if credentials
            else server.add_insecure_port(address)
        )
    except RuntimeError as error:
        reason = str(error).rstrip(".")
        if credentials:
            reason += (
                ". --ssl_config_file must hold a key and its certificate, in PEM, and "
                "certificates alone as custom_ca"
            )
        raise OSError(f"Cannot listen on {address} for gRPC: {reason}.") from error
    return bound
