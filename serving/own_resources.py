"""SavedModels whose tables and vocabularies are theirs alone.

TensorFlow keeps these by name for a whole process, where each version in TF Serving has
a session of its own: a second SavedModel that has a name of the first one's would
answer by the first one's vocabulary, and so would a second tokenizer within one. Names
as these ops have them are not unique: `SentencepieceTokenizer` gives the same one to
all, and mutable tables are numbered from one in each process that exports.
"""

import itertools
import os
import pathlib
import tempfile

from savedmodels import store
from savedmodels.protos import saved_model_pb2

_OPS = (
    "SentencepieceOp",
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
    for meta_graph in saved_model.meta_graphs:
        # What TensorFlow 2 loads are functions; those that make a resource run once.
        for function in meta_graph.graph_def.library.function:
            for node in function.node_def:
                if node.op in _OPS:
                    name = f"{number}/{function.signature.name}/{node.name}"
                    node.attr["shared_name"].s = name.encode()
    folder = tempfile.TemporaryDirectory(prefix="maaskit-")
    for entry in path.iterdir():
        if entry.name != store.SAVED_MODEL:
            os.symlink(entry.absolute(), pathlib.Path(folder.name) / entry.name)
    data = saved_model.SerializeToString()
    (pathlib.Path(folder.name) / store.SAVED_MODEL).write_bytes(data)
    return folder
