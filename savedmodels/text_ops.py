"""The ops of tensorflow_text, for graphs that hold some, without its Python.

Importing tensorflow_text fails where Keras cannot be imported, as in the check of a
version, and takes seconds. Its ops lie in shared libraries of their own.
"""

import functools
import importlib.util
import pathlib

from savedmodels import protos


@functools.cache
def register() -> bool:
    """Makes TensorFlow know the ops of tensorflow_text, in 0.2 seconds.

    Imports TensorFlow. Who imports tensorflow_text as well, before or later, does no
    harm: TensorFlow keeps each library once.

    Returns:
        Whether tensorflow_text is installed.

    Raises:
        tf.errors.NotFoundError: It is one for another TensorFlow.
    """
    spec = importlib.util.find_spec("tensorflow_text")
    if spec is None or spec.origin is None:
        return False
    tf = protos.import_tensorflow()
    for library in sorted(pathlib.Path(spec.origin).parent.rglob("*.so")):
        tf.load_op_library(str(library))
    return True
