"""Messages of TensorFlow's profiler service, `tensorflow.ProfilerService`.

The tensorflow package has their options, and not the messages themselves. They are
described here with TensorFlow's names and numbers.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from savedmodels.protos import profiler_options_pb2

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "tensorflow"
_SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "double": _Field.TYPE_DOUBLE,
    "int32": _Field.TYPE_INT32,
    "string": _Field.TYPE_STRING,
    "uint64": _Field.TYPE_UINT64,
}
# Message to its fields, name to number and type; `repeated` stands before a type.
_MESSAGES: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "ToolRequestOptions": {
        "output_formats": (2, "string"),
        "save_to_repo": (3, "bool"),
    },
    "ProfileRequest": {
        "duration_ms": (1, "uint64"),
        "max_events": (2, "uint64"),
        "tools": (3, "repeated string"),
        "opts": (4, "ProfileOptions"),
        "repository_root": (5, "string"),
        "session_id": (6, "string"),
        "host_name": (7, "string"),
        "tool_options": (8, "repeated ProfileRequest.ToolOptionsEntry"),
    },
    "ProfileToolData": {"name": (1, "string"), "data": (2, "bytes")},
    "ProfileResponse": {
        "tool_data": (6, "repeated ProfileToolData"),
        "empty_trace": (7, "bool"),
    },
    "TerminateRequest": {"session_id": (1, "string")},
    "TerminateResponse": {},
    "MonitorRequest": {
        "duration_ms": (1, "uint64"),
        "monitoring_level": (2, "int32"),
        "timestamp": (3, "bool"),
    },
    "MonitorResponse": {"data": (1, "string")},
}
_TOOL_OPTIONS_ENTRY = {"key": (1, "string"), "value": (2, "ToolRequestOptions")}


def _file() -> descriptor_pb2.FileDescriptorProto:
    options = profiler_options_pb2.DESCRIPTOR
    file = descriptor_pb2.FileDescriptorProto(
        name="tsl/profiler/protobuf/profiler_service.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[options.name],
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        _add_fields(message, fields)
        if name == "ProfileRequest":
            entry = message.nested_type.add(name="ToolOptionsEntry")
            entry.options.map_entry = True
            _add_fields(entry, _TOOL_OPTIONS_ENTRY)
    return file


def _add_fields(message: Any, fields: Mapping[str, tuple[int, str]]) -> None:
    for name, (number, kind) in fields.items():
        field = message.field.add(name=name, number=number)
        is_repeated = kind.startswith("repeated ")
        field.label = _Field.LABEL_REPEATED if is_repeated else _Field.LABEL_OPTIONAL
        kind = kind.removeprefix("repeated ")
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
        else:
            field.type = _Field.TYPE_MESSAGE
            field.type_name = f".{_PACKAGE}.{kind}"


# Of their own pool: a profiler's package may register the same names.
_pool = descriptor_pool.DescriptorPool()
_pool.AddSerializedFile(profiler_options_pb2.DESCRIPTOR.serialized_pb)
_pool.AddSerializedFile(_file().SerializeToString())


def _class(name: str) -> Any:
    descriptor = _pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")
    return message_factory.GetMessageClass(descriptor)


ProfileRequest = _class("ProfileRequest")
ProfileResponse = _class("ProfileResponse")
TerminateRequest = _class("TerminateRequest")
TerminateResponse = _class("TerminateResponse")
MonitorRequest = _class("MonitorRequest")
MonitorResponse = _class("MonitorResponse")
