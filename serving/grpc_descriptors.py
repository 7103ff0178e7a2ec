"""Descriptors of the gRPC services that are served, for clients that ask for them.

Of some services the packages have no descriptors that can be imported, and messages
that are described in this project lie in pools of their own. So all are put into one
pool here, with a file for each service.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from serving.grpc_methods import Methods

# Where TensorFlow and TF Serving define them; others get a name of their own.
_FILES = {
    "tensorflow.serving.PredictionService": (
        "tensorflow_serving/apis/prediction_service.proto"
    ),
    "tensorflow.serving.ModelService": "tensorflow_serving/apis/model_service.proto",
}


def add_reflection(
    server: grpc.aio.Server, services: Mapping[str, Methods], *, serves_health: bool
) -> None:
    """Adds `grpc.reflection.v1alpha.ServerReflection` to a server.

    Args:
        server: A server that is not started yet.
        services: Full name of each service to its methods.
        serves_health: Whether it answers health checks too.
    """
    pool = make_pool(services)
    others = [reflection.SERVICE_NAME]
    if serves_health:
        others.append(health.SERVICE_NAME)
    reflection.enable_server_reflection([*services, *others], server, pool)


def make_pool(services: Mapping[str, Methods]) -> descriptor_pool.DescriptorPool:
    """Returns a pool that describes services and all their messages.

    Args:
        services: Full name of each service to its methods.
    """
    pool = descriptor_pool.DescriptorPool()
    added: set[str] = set()
    for module in (health_pb2, reflection_pb2):
        _add(pool, module.DESCRIPTOR, added)
    for service, methods in services.items():
        files = _files_of(methods)
        for file in files:
            _add(pool, file, added)
        pool.AddSerializedFile(
            _service_file(service, methods, files).SerializeToString()
        )
    return pool


def _files_of(methods: Methods) -> list[Any]:
    messages = [kind for _, *kinds in methods.values() for kind in kinds]
    files = {kind.DESCRIPTOR.file.name: kind.DESCRIPTOR.file for kind in messages}
    return list(files.values())


def _add(pool: descriptor_pool.DescriptorPool, file: Any, added: set[str]) -> None:
    """Adds a file after those that it needs."""
    if file.name in added:
        return
    added.add(file.name)
    for needed in file.dependencies:
        _add(pool, needed, added)
    pool.AddSerializedFile(file.serialized_pb)


def _service_file(
    service: str, methods: Methods, files: Iterable[Any]
) -> descriptor_pb2.FileDescriptorProto:
    """A .proto file that holds one service and nothing else."""
    package, _, name = service.rpartition(".")
    file = descriptor_pb2.FileDescriptorProto(
        name=_FILES.get(service, f"serving/{service}.proto"),
        package=package,
        syntax="proto3",
        dependency=[needed.name for needed in files],
    )
    described = file.service.add(name=name)
    for method, (_, request, response) in methods.items():
        described.method.add(
            name=method,
            input_type=f".{request.DESCRIPTOR.full_name}",
            output_type=f".{response.DESCRIPTOR.full_name}",
        )
    return file
