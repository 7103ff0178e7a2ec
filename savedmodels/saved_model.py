"""What `saved_model.pb` says of a version, read without TensorFlow."""

import pathlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from savedmodels import store
from savedmodels.errors import MaaskitError
from savedmodels.protos import saved_model_pb2

SERVE_TAG = "serve"


def read(version_path: pathlib.Path, tags: Collection[str] = (SERVE_TAG,)) -> Any:
    """Returns the MetaGraphDef that servers run.

    Args:
        version_path: Folder that holds `saved_model.pb`.
        tags: All tags that it has: one for a TPU or for training has others.

    Raises:
        MaaskitError: The file is missing, broken, or not meant for serving.
    """
    file = version_path / store.SAVED_MODEL
    try:
        saved_model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    except OSError as error:
        raise MaaskitError(
            f"`{file}` cannot be read. Expected a SavedModel. Received: {error}."
        ) from error
    except Exception as error:  # protobuf's DecodeError differs between its runtimes
        raise MaaskitError(
            f"`{file}` is broken. Expected a SavedModel. Received: {error}."
        ) from error
    for meta_graph in saved_model.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == set(tags):
            return meta_graph
    found = [list(graph.meta_info_def.tags) for graph in saved_model.meta_graphs]
    raise MaaskitError(
        f"`{file}` has nothing to serve. Expected a graph with the tags "
        f"{sorted(tags)}. Received: {found}."
    )


def signature_defs(meta_graph: Any) -> dict[str, Any]:
    """Returns the SignatureDefs that clients may call, by name.

    `__saved_model_init_op`, which TensorFlow also writes as a signature, is left out.
    """
    defs: Mapping[str, Any] = meta_graph.signature_def
    return {name: defs[name] for name in sorted(defs) if not name.startswith("__")}


def ops(meta_graph: Any) -> list[str]:
    """Returns the names of the ops in the graph and in its functions, sorted.

    A call of one of the graph's own functions is no op, and is left out.
    """
    functions = {item.signature.name for item in meta_graph.graph_def.library.function}
    return sorted({node.op for node in nodes(meta_graph)} - functions)


def nodes(meta_graph: Any) -> Iterator[Any]:
    """Yields every NodeDef of the graph and of its functions."""
    yield from meta_graph.graph_def.node
    for function in meta_graph.graph_def.library.function:
        yield from function.node_def
