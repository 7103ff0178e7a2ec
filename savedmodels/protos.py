"""TensorFlow's and TF Serving's protocol buffers, without importing TensorFlow.

`import tensorflow` takes over 5 seconds and 800 MB; the generated message classes
that lie inside its package need nothing of it and load in 0.1 seconds. So this module
imports them while `tensorflow` is an empty package with the real one's path, and then
takes that package away again. A later `import tensorflow`, anywhere, gets the real one,
which finds the message classes here already imported and shares them.

Always write `from savedmodels.protos import tensor_pb2`: the usual
`from tensorflow.core.framework import tensor_pb2` imports TensorFlow if it runs first.

`model_service_pb2` and `prediction_service_pb2` are left out: their generated code is
too old for today's protobuf. They only describe the services, which the `_grpc` modules
do without.
"""

import contextlib
import importlib
import importlib.util
import logging
import os
import pathlib
import sys
import threading
import types
from collections.abc import Iterator

# Environment of a process whose TensorFlow does not chatter. Where there is no GPU,
# level 2 would let one message through: that there is none.
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2" if os.path.exists("/dev/nvidiactl") else "3"}

_lock = threading.Lock()


def _package_folder(name: str) -> pathlib.Path:
    """Where the package `name` lies, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return pathlib.Path(spec.origin).parent


@contextlib.contextmanager
def _bare_tensorflow() -> Iterator[None]:
    """Lets submodules of `tensorflow` be imported without running its `__init__`."""
    if "tensorflow" in sys.modules:
        yield
        return
    bare = types.ModuleType("tensorflow")
    bare.__path__ = [str(_package_folder("tensorflow"))]
    sys.modules["tensorflow"] = bare
    try:
        yield
    finally:
        del sys.modules["tensorflow"]


with _bare_tensorflow():
    from tensorflow.core.example import example_pb2, feature_pb2
    from tensorflow.core.framework import (
        attr_value_pb2,
        function_pb2,
        graph_pb2,
        node_def_pb2,
        op_def_pb2,
        tensor_pb2,
        tensor_shape_pb2,
        types_pb2,
    )
    from tensorflow.core.protobuf import (
        error_codes_pb2,
        meta_graph_pb2,
        saved_model_pb2,
        saved_object_graph_pb2,
    )
    from tensorflow.tsl.profiler.protobuf import profiler_options_pb2
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        inference_pb2,
        input_pb2,
        logging_pb2,
        model_management_pb2,
        model_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_log_pb2,
        prediction_service_pb2_grpc,
        regression_pb2,
        session_service_pb2,
        status_pb2,
    )
    from tensorflow_serving.config import (
        file_system_storage_path_source_pb2,
        log_collector_config_pb2,
        logging_config_pb2,
        model_server_config_pb2,
        platform_config_pb2,
    )

__all__ = [
    "QUIET",
    "attr_value_pb2",
    "classification_pb2",
    "error_codes_pb2",
    "example_pb2",
    "feature_pb2",
    "file_system_storage_path_source_pb2",
    "function_pb2",
    "get_model_metadata_pb2",
    "get_model_status_pb2",
    "graph_pb2",
    "import_tensorflow",
    "inference_pb2",
    "input_pb2",
    "light",
    "log_collector_config_pb2",
    "logging_config_pb2",
    "logging_pb2",
    "meta_graph_pb2",
    "model_management_pb2",
    "model_pb2",
    "model_server_config_pb2",
    "model_service_pb2_grpc",
    "node_def_pb2",
    "op_def_pb2",
    "platform_config_pb2",
    "predict_pb2",
    "prediction_log_pb2",
    "prediction_service_pb2_grpc",
    "profiler_options_pb2",
    "quiet_tensorflow",
    "regression_pb2",
    "saved_model_pb2",
    "saved_object_graph_pb2",
    "session_service_pb2",
    "status_pb2",
    "tensor_pb2",
    "tensor_shape_pb2",
    "types_pb2",
]


def light() -> bool:
    """Returns whether this process still runs without TensorFlow."""
    return "tensorflow" not in sys.modules


def import_tensorflow() -> types.ModuleType:
    """Imports the real TensorFlow, once, from whichever thread asks first.

    Takes about 5 seconds the first time. A plain `import tensorflow` does the same, but
    chatters, unless `quiet_tensorflow` was called.

    Returns:
        The `tensorflow` module.
    """
    with _lock:
        quiet_tensorflow()
        return importlib.import_module("tensorflow")


def quiet_tensorflow() -> None:
    """Keeps TensorFlow's start-up chatter off the terminal of this process.

    Has no effect on a TensorFlow that is imported already. What fails still raises its
    error. Whoever wants the chatter sets `TF_CPP_MIN_LOG_LEVEL`, which is kept.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    logging.getLogger("absl").setLevel(logging.ERROR)
