"""Which ops TF Serving's own binary, `tensorflow_model_server`, does not have.

It links TensorFlow's kernels, those of tensorflow_text and the inference ops of
TensorFlow Decision Forests, and runs no Python. Source: SUPPORTED_TENSORFLOW_OPS in
tensorflow_serving/model_servers/BUILD.
"""

import importlib
from collections.abc import Iterable

from savedmodels import protos, text_ops

# Registered with TensorFlow, but their kernel calls back into the Python process.
_PYTHON_OPS = frozenset({"EagerPyFunc", "PyFunc", "PyFuncStateless"})
_DECISION_FORESTS_PREFIX = "SimpleML"


def lacks(ops: Iterable[str]) -> list[str]:
    """Returns those ops that the stock server cannot run, sorted.

    Imports TensorFlow (seconds), and tensorflow_text where an op may be one of its own
    and it is installed.

    Args:
        ops: Op names, as `saved_model.ops` returns them.
    """
    names = set(ops)
    python_ops = names & _PYTHON_OPS
    unknown = {
        name
        for name in _unregistered(names)
        if not name.startswith(_DECISION_FORESTS_PREFIX)
    }
    return sorted(python_ops | unknown)


def _unregistered(names: set[str]) -> set[str]:
    """Those that neither TensorFlow nor tensorflow_text registers."""
    protos.import_tensorflow()
    registry = importlib.import_module("tensorflow.python.framework.op_def_registry")
    unknown = {name for name in names if registry.get(name) is None}
    if unknown and text_ops.register():
        unknown = {name for name in unknown if registry.get(name) is None}
    return unknown
