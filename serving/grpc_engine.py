"""Which engine speaks gRPC: the native front where it can, grpcio otherwise."""

import logging

from serving import native_options
from serving.errors import InvalidRequestError
from serving.grpc_options import AUTO, GRPCIO, NATIVE, GrpcOptions
from serving.grpc_server import GrpcServer
from serving.grpc_sink import Direct
from serving.native_server import NativeServer

logger = logging.getLogger(__name__)


def choose(
    server: GrpcServer, options: GrpcOptions, direct: Direct | None = None
) -> GrpcServer | NativeServer:
    """Returns the server that is to be started.

    Args:
        server: Has the methods; on grpcio.
        options: Which engine is asked for, and what it must be able to do.
        direct: Answers plain calls, where the engine does without an event
            loop.

    Raises:
        InvalidRequestError: The engine that is named cannot do what is asked for.
    """
    if options.engine == GRPCIO:
        return server
    missing = native_options.missing(options)
    if not missing:
        return NativeServer(server, direct)
    if options.engine == NATIVE:
        raise InvalidRequestError(
            f"--grpc_engine={NATIVE} cannot be had: {missing}. "
            f"Expected --grpc_engine={AUTO} or {GRPCIO} with it"
        )
    logger.info("gRPC is spoken by grpcio, not by the native engine: %s.", missing)
    return server
