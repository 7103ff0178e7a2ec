"""Messages of TF Serving's config files that tensorflow-serving-api leaves out.

Its package has no `session_bundle_config_pb2`, `ssl_config_pb2` and
`monitoring_config_pb2`. The messages are described here field by field, with TF
Serving's names and numbers, so that its text files can be read.
"""

from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    wrappers_pb2,
)

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "tensorflow.serving"
# Of their own pool: a later tensorflow-serving-api may register the same names.
_pool = descriptor_pool.DescriptorPool()
_pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)

_INT64_VALUE = ".google.protobuf.Int64Value"
_STRING_VALUE = ".google.protobuf.StringValue"
_BOOL_VALUE = ".google.protobuf.BoolValue"
_SCALARS = {
    "int64": _Field.TYPE_INT64,
    "bool": _Field.TYPE_BOOL,
    "string": _Field.TYPE_STRING,
}


def _message(name: str, fields: dict[str, tuple[int, str]], *uses: str) -> Any:
    """Makes a message class.

    Args:
        name: Its name in TF Serving's package.
        fields: Name to number and type; `repeated` stands before a type.
        uses: Names of the messages above that are types of fields.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"savedmodels/{name}.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[
            wrappers_pb2.DESCRIPTOR.name,
            *(f"savedmodels/{other}.proto" for other in uses),
        ],
    )
    message = file.message_type.add(name=name)
    for field_name, (number, kind) in fields.items():
        field = message.field.add(name=field_name, number=number)
        repeated = kind.startswith("repeated ")
        kind = kind.removeprefix("repeated ")
        field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
        else:
            field.type = _Field.TYPE_MESSAGE
            field.type_name = kind
    _pool.AddSerializedFile(file.SerializeToString())
    descriptor = _pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")
    return message_factory.GetMessageClass(descriptor)


# tensorflow_serving/servables/tensorflow/session_bundle_config.proto
BatchingParameters = _message(
    "BatchingParameters",
    {
        "max_batch_size": (1, _INT64_VALUE),
        "batch_timeout_micros": (2, _INT64_VALUE),
        "max_enqueued_batches": (3, _INT64_VALUE),
        "num_batch_threads": (4, _INT64_VALUE),
        "thread_pool_name": (5, _STRING_VALUE),
        "allowed_batch_sizes": (6, "repeated int64"),
        "pad_variable_length_inputs": (7, "bool"),
        "enable_large_batch_splitting": (8, _BOOL_VALUE),
        "max_execution_batch_size": (9, _INT64_VALUE),
    },
)

# tensorflow_serving/config/ssl_config.proto
SSLConfig = _message(
    "SSLConfig",
    {
        "server_key": (1, "string"),
        "server_cert": (2, "string"),
        "custom_ca": (3, "string"),
        "client_verify": (4, "bool"),
    },
)

# tensorflow_serving/config/monitoring_config.proto
_message("PrometheusConfig", {"enable": (1, "bool"), "path": (2, "string")})
MonitoringConfig = _message(
    "MonitoringConfig",
    {"prometheus_config": (1, f".{_PACKAGE}.PrometheusConfig")},
    "PrometheusConfig",
)
