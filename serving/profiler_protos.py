"""Messages of TensorFlow's profiler service, `tensorflow.ProfilerService`.

The tensorflow package has their options, and not the messages themselves. They are
described here with TensorFlow's names and numbers.
"""

from savedmodels.protos import profiler_options_pb2
from serving import described_protos

# Message to its fields, name to number and kind; see `described_protos`.
_MESSAGES: described_protos.Messages = {
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
        "tool_options": (8, "map ToolRequestOptions"),
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

_class = described_protos.make(
    "tsl/profiler/protobuf/profiler_service.proto",
    "tensorflow",
    _MESSAGES,
    imports=[profiler_options_pb2.DESCRIPTOR],
)

ProfileRequest = _class("ProfileRequest")
ProfileResponse = _class("ProfileResponse")
TerminateRequest = _class("TerminateRequest")
TerminateResponse = _class("TerminateResponse")
MonitorRequest = _class("MonitorRequest")
MonitorResponse = _class("MonitorResponse")
