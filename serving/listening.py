"""Ports to listen on, and one clear message where one cannot be had."""

import os
import socket
import stat

# Connections that wait to be accepted; beyond it the kernel refuses them.
_BACKLOG = 2048


def address(host: str, port: int) -> str:
    """Returns `host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def open_socket(host: str, port: int, protocol: str) -> socket.socket:
    """Returns a listening TCP socket.

    Args:
        host: Name or address of this machine.
        port: Port, or 0 for a free one.
        protocol: What it is for, as it is told to the person: gRPC or REST.

    Raises:
        OSError: The port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        flag = "port" if protocol == "gRPC" else "rest_api_port"
        variable = "PORT" if protocol == "gRPC" else "REST_PORT"
        raise OSError(
            f"Cannot listen on {address(host, port)} for {protocol}: "
            f"{error.strerror}. To take another port, type --{flag}=N "
            f"(with make: {variable}=N); 0 takes a free one."
        ) from error


def free_unix_socket(path: str) -> None:
    """Removes what a server that is gone left where a Unix socket is to be.

    Args:
        path: The socket's path.

    Raises:
        OSError: A server listens there, something else than a socket is there, or
            its folder is missing.
    """
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise OSError(
            f"Cannot listen on unix:{path} for gRPC: there is no folder {folder}."
        )
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(
            f"Cannot listen on unix:{path} for gRPC: there is something else than a "
            "socket."
        )
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(path)
        except OSError:
            os.unlink(path)
            return
    raise OSError(f"Cannot listen on unix:{path} for gRPC: another server does.")
