"""Messages that no installed package has, made of what a module tells of their fields.

A kind of field is the name of a scalar or of a message. Before it may stand `repeated`,
`map` (from strings to this kind), or `one <name>` before those of which one alone is
set. A message that another holds has a dot in its name.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Messages = Mapping[str, Mapping[str, tuple[int, str]]]

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
    "float": _Field.TYPE_FLOAT,
    "double": _Field.TYPE_DOUBLE,
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
}


def make(
    file_name: str, package: str, messages: Messages, imports: Sequence[Any] = ()
) -> Callable[[str], Any]:
    """Returns what gives the class of a message by its name.

    Args:
        file_name: Of the .proto file that would describe them.
        package: Of the messages.
        messages: Message to its fields, field name to number and kind.
        imports: Descriptors of files whose messages are kinds too.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=file_name,
        package=package,
        syntax="proto3",
        dependency=[imported.name for imported in imports],
    )
    # Those that are nested stand before the message that holds them.
    made = {
        name: file.message_type.add(name=name) for name in messages if "." not in name
    }
    for name, fields in messages.items():
        outer, _, inner = name.partition(".")
        message = made[outer].nested_type.add(name=inner) if inner else made[outer]
        for field_name, (number, kind) in fields.items():
            _add_field(f"{package}.{name}", message, field_name, number, kind)
    # Of their own pool: a client's package may register the same names.
    pool = descriptor_pool.DescriptorPool()
    for imported in imports:
        pool.AddSerializedFile(imported.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())

    def class_of(name: str) -> Any:
        descriptor = pool.FindMessageTypeByName(f"{package}.{name}")
        return message_factory.GetMessageClass(descriptor)

    return class_of


def _add_field(owner: str, message: Any, name: str, number: int, kind: str) -> None:
    label, _, kind = kind.rpartition(" ")
    package = owner.partition(".")[0]
    field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if label in ("repeated", "map"):
        field.label = _Field.LABEL_REPEATED
    elif label:
        if not message.oneof_decl:
            message.oneof_decl.add(name=label.removeprefix("one "))
        field.oneof_index = 0
    if label == "map":
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        entry_name = f"{owner}.{entry.name}"
        _add_field(entry_name, entry, "key", 1, "string")
        _add_field(entry_name, entry, "value", 2, kind)
        kind = entry_name.removeprefix(f"{package}.")
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{package}.{kind}"
