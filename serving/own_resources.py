"""SavedModels whose tables and vocabularies are theirs alone.

TensorFlow keeps these by name for a whole process, where each version in TF Serving has
a session of its own: a second SavedModel that has a name of the first one's would
answer by the first one's vocabulary, and so would a second tokenizer within one. Names
as these ops have them are not unique: `SentencepieceTokenizer` gives the same one to
all, mutable tables are numbered from one in each process that exports, and copies of a
version have the names of the first. What is one version's alone goes with it, too:
TensorFlow itself would keep it until the process ends.
"""

import itertools
import os
import pathlib
import tempfile
from typing import Any

from savedmodels import protos, store
from savedmodels.protos import saved_model_pb2

_OPS = (
    "SentencepieceOp",
    "HashTableV2",
    "MutableHashTableV2",
    "MutableHashTableOfTensorsV2",
    "MutableDenseHashTableV2",
)
_numbers = itertools.count()


def renamed(path: pathlib.Path) -> tempfile.TemporaryDirectory[str] | None:
    """Returns a folder with the same SavedModel under names that nobody else has.

    It is of links, but for `saved_model.pb`, and has to be kept for as long as the
    SavedModel is used.

    Args:
        path: Folder that holds `saved_model.pb`.

    Returns:
        The folder; None where nothing has to be renamed, so that `path` itself will do.

    Raises:
        OSError: The file cannot be read, or the folder not written.
    """
    data = (path / store.SAVED_MODEL).read_bytes()
    if not any(op.encode() in data for op in _OPS):
        return None
    saved_model = saved_model_pb2.SavedModel.FromString(data)
    number = next(_numbers)
    is_renamed = False
    for meta_graph in saved_model.meta_graphs:
        # What TensorFlow 2 loads are functions. Those of one name mean one resource.
        # Graphs of TensorFlow 1 are loaded with resources of their own.
        for function in meta_graph.graph_def.library.function:
            for node in function.node_def:
                if node.op in _OPS:
                    name = node.attr["shared_name"].s.decode()
                    name = name or f"{function.signature.name}/{node.name}"
                    node.attr["shared_name"].s = f"{number}/{name}".encode()
                    is_renamed = True
    if not is_renamed:
        return None
    folder = tempfile.TemporaryDirectory(prefix="maaskit-")
    for entry in path.iterdir():
        if entry.name != store.SAVED_MODEL:
            os.symlink(entry.absolute(), pathlib.Path(folder.name) / entry.name)
    data = saved_model.SerializeToString()
    (pathlib.Path(folder.name) / store.SAVED_MODEL).write_bytes(data)
    return folder


def free(model: Any) -> None:
    """Frees what a SavedModel that was renamed has made.

    Args:
        model: What TensorFlow's loader returned. Nothing may run it any more.
    """
    tf = protos.import_tensorflow()
    for part in tf.train.TrackableView(model).descendants():
        handle = getattr(part, "resource_handle", None)
        if handle is not None:
            tf.raw_ops.DestroyResourceOp(resource=handle, ignore_lookup_error=True)
