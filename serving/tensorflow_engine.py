"""Signatures of a SavedModel, run by TensorFlow. Importing this brings TensorFlow."""

import pathlib
import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from savedmodels import protos, saved_model, text_ops
from serving import errors, memory, own_resources
from serving.errors import ServingError
from serving.signatures import SignatureInfo, check_shapes

tf = protos.import_tensorflow()
memory.hide_modules()

# What the Python runtime puts before the text of the op that failed: where it was made.
# Of what TensorFlow 1 wrote, that is this server's code, line by line.
_PREFIX = re.compile(
    r"\A(?:Graph execution error:\s*)?"
    r"(?:Detected at node .*\n(?:(?:<stack traces unavailable>|  .*|)\n)*)*"
)
# TF Serving takes inputs of other shapes than the signature's and leaves them to the
# ops: its best known example sends [3] for [batch, 1]. But some ops end the whole
# process over a wrong rank (Conv2D does), so only graphs of these may have them.
_OPS_THAT_CHECK_SHAPES = frozenset(
    """
    Abs Add AddV2 ArgMax ArgMin Assign AssignVariableOp BiasAdd Cast Const Div DivNoNan
    Equal Exp ExpandDims FloorDiv Greater Identity IdentityN Less Log MatMul Max Maximum
    Mean Min Minimum Mul Neg NoOp Pack ParseExample ParseExampleV2 PartitionedCall
    Placeholder Pow ReadVariableOp RealDiv Relu RestoreV2 Round SaveV2 Select SelectV2
    Shape Sigmoid Softmax Sqrt Square Squeeze StatefulPartitionedCall StringJoin Sub Sum
    Tanh VarHandleOp VarIsInitializedOp VariableV2 _Arg _Retval
    """.split()
)
_SUFFIX = re.compile(r" ?\[Op:[^\]]*\](?: name: .*)?\Z")


class TensorFlowEngine:
    """Runs the signatures of one SavedModel. Thread-safe."""

    name = "tensorflow"

    def __init__(
        self,
        path: pathlib.Path,
        signatures: Mapping[str, SignatureInfo],
        tags: Collection[str] = (saved_model.SERVE_TAG,),
    ) -> None:
        """Loads the graph and its variables.

        Args:
            path: Folder that holds `saved_model.pb`.
            signatures: Its signatures.
            tags: Tags of the graph in it.

        Raises:
            ServingError: The SavedModel is broken, or has ops that are not there.
        """
        self._signatures = signatures
        self._folder = None
        try:
            self._folder = own_resources.renamed(path)
            loaded = pathlib.Path(self._folder.name) if self._folder else path
            self._model = _load(loaded, list(tags))
        except Exception as error:
            if self._folder:
                self._folder.cleanup()
            # Of whatever class: TensorFlow raises half a dozen over broken files.
            is_full = isinstance(error, MemoryError | tf.errors.ResourceExhaustedError)
            kind = errors.ResourceExhaustedError if is_full else ServingError
            raise kind(f"Cannot load {path}: {error}") from error
        self._functions = dict(self._model.signatures.items())
        self._checks_shapes: dict[str, bool] = {}

    def run(
        self, signature_name: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Returns all outputs by alias.

        Args:
            signature_name: Name of a signature.
            inputs: Alias to array, of the signature's dtypes.

        Raises:
            ServingError: An op refused its inputs, or failed.
        """
        function = self._functions[signature_name]
        if not self._leaves_shapes_to_ops(signature_name):
            check_shapes(self._signatures[signature_name], inputs)
        try:
            tensors = {key: tf.constant(array) for key, array in inputs.items()}
            outputs = function(**tensors)
            return {key: _to_numpy(tensor) for key, tensor in outputs.items()}
        except tf.errors.OpError as error:
            text = _op_text(error.message)
            raise errors.of_grpc_code(error.error_code, text) from error
        except (TypeError, ValueError) as error:
            raise errors.InvalidRequestError(str(error)) from error

    def _leaves_shapes_to_ops(self, signature_name: str) -> bool:
        known = self._checks_shapes.get(signature_name)
        if known is None:
            known = _ops(self._functions[signature_name]) <= _OPS_THAT_CHECK_SHAPES
            self._checks_shapes[signature_name] = known
        return known

    def close(self) -> None:
        """Drops the graph and its variables."""
        self._functions = {}
        if self._folder and self._model is not None:
            own_resources.free(self._model)
            self._folder.cleanup()
        self._model = None


def _load(path: pathlib.Path, tags: list[str]) -> Any:
    try:
        return tf.saved_model.load(str(path), tags=tags)
    except Exception as error:
        # Text models carry ops that only tensorflow_text registers.
        if "Op type not registered" not in str(error) or not text_ops.register():
            raise
    return tf.saved_model.load(str(path), tags=tags)


def _ops(function: Any) -> set[str]:
    """The ops of a function, and of those that it calls."""
    graph = function.graph.as_graph_def()
    nodes = list(graph.node)
    for definition in graph.library.function:
        nodes.extend(definition.node_def)
    return {node.op for node in nodes}


def _op_text(message: str) -> str:
    return _SUFFIX.sub("", _PREFIX.sub("", message)).strip()


def _to_numpy(tensor: Any) -> np.ndarray:
    array = tensor.numpy()
    # TensorFlow gives a scalar as a number, or as bytes, which numpy would cut.
    return np.asarray(array, np.object_ if isinstance(array, bytes) else None)
