"""Messages of the Open Inference Protocol's gRPC service, `inference.*`.

Packages that have them bring a whole client or server along, so they are described
here, with the names and numbers of the specification:
github.com/kserve/open-inference-protocol, specification/protocol.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "inference"
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
# Message to its fields, name to number and type. `repeated` stands before a type, `one`
# before those of which one alone is set, and `parameters` is a map of InferParameter.
_TENSOR = {
    "name": (1, "string"),
    "datatype": (2, "string"),
    "shape": (3, "repeated int64"),
}
_TENSOR_WITH_CONTENTS = {
    **_TENSOR,
    "parameters": (4, "parameters"),
    "contents": (5, "InferTensorContents"),
}
_NAME_AND_VERSION = {"name": (1, "string"), "version": (2, "string")}
_MESSAGES: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "ServerLiveRequest": {},
    "ServerLiveResponse": {"live": (1, "bool")},
    "ServerReadyRequest": {},
    "ServerReadyResponse": {"ready": (1, "bool")},
    "ModelReadyRequest": _NAME_AND_VERSION,
    "ModelReadyResponse": {"ready": (1, "bool")},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {
        **_NAME_AND_VERSION,
        "extensions": (3, "repeated string"),
    },
    "ModelMetadataRequest": _NAME_AND_VERSION,
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "ModelMetadataResponse": {
        "name": (1, "string"),
        "versions": (2, "repeated string"),
        "platform": (3, "string"),
        "inputs": (4, "repeated ModelMetadataResponse.TensorMetadata"),
        "outputs": (5, "repeated ModelMetadataResponse.TensorMetadata"),
    },
    "ModelInferRequest.InferInputTensor": _TENSOR_WITH_CONTENTS,
    "ModelInferRequest.InferRequestedOutputTensor": {
        "name": (1, "string"),
        "parameters": (2, "parameters"),
    },
    "ModelInferRequest": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, "parameters"),
        "inputs": (5, "repeated ModelInferRequest.InferInputTensor"),
        "outputs": (6, "repeated ModelInferRequest.InferRequestedOutputTensor"),
        "raw_input_contents": (7, "repeated bytes"),
    },
    "ModelInferResponse.InferOutputTensor": _TENSOR_WITH_CONTENTS,
    "ModelInferResponse": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, "parameters"),
        "outputs": (5, "repeated ModelInferResponse.InferOutputTensor"),
        "raw_output_contents": (6, "repeated bytes"),
    },
    "InferParameter": {
        "bool_param": (1, "one bool"),
        "int64_param": (2, "one int64"),
        "string_param": (3, "one string"),
        "double_param": (4, "one double"),
        "uint64_param": (5, "one uint64"),
    },
    "InferTensorContents": {
        "bool_contents": (1, "repeated bool"),
        "int_contents": (2, "repeated int32"),
        "int64_contents": (3, "repeated int64"),
        "uint_contents": (4, "repeated uint32"),
        "uint64_contents": (5, "repeated uint64"),
        "fp32_contents": (6, "repeated float"),
        "fp64_contents": (7, "repeated double"),
        "bytes_contents": (8, "repeated bytes"),
    },
}


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="serving/v2.proto", package=_PACKAGE, syntax="proto3"
    )
    # Those that are nested stand before the message that holds them.
    made = {
        name: file.message_type.add(name=name) for name in _MESSAGES if "." not in name
    }
    for name, fields in _MESSAGES.items():
        outer, _, inner = name.partition(".")
        message = made[outer].nested_type.add(name=inner) if inner else made[outer]
        for field_name, (number, kind) in fields.items():
            _add_field(name, message, field_name, number, kind)
    return file


def _add_field(owner: str, message: Any, name: str, number: int, kind: str) -> None:
    label, _, kind = kind.rpartition(" ")
    field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if label == "repeated":
        field.label = _Field.LABEL_REPEATED
    if label == "one":
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    if kind == "parameters":
        field.label = _Field.LABEL_REPEATED
        entry = message.nested_type.add(name="ParametersEntry")
        entry.options.map_entry = True
        _add_field("", entry, "key", 1, "string")
        _add_field("", entry, "value", 2, "InferParameter")
        kind = f"{owner}.ParametersEntry"
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{kind}"


# Of their own pool: a client's package may register the same names.
_pool = descriptor_pool.DescriptorPool()
_pool.AddSerializedFile(_file().SerializeToString())


def _class(name: str) -> Any:
    descriptor = _pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")
    return message_factory.GetMessageClass(descriptor)


ServerLiveRequest = _class("ServerLiveRequest")
ServerLiveResponse = _class("ServerLiveResponse")
ServerReadyRequest = _class("ServerReadyRequest")
ServerReadyResponse = _class("ServerReadyResponse")
ModelReadyRequest = _class("ModelReadyRequest")
ModelReadyResponse = _class("ModelReadyResponse")
ServerMetadataRequest = _class("ServerMetadataRequest")
ServerMetadataResponse = _class("ServerMetadataResponse")
ModelMetadataRequest = _class("ModelMetadataRequest")
ModelMetadataResponse = _class("ModelMetadataResponse")
InferParameter = _class("InferParameter")
ModelInferRequest = _class("ModelInferRequest")
ModelInferResponse = _class("ModelInferResponse")
