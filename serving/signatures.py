"""What a version's signatures take and return, and whether a request fits them.

Names, dtypes and shapes are read from `saved_model.pb` itself, so they are known
without TensorFlow. The texts of refusals are TF Serving's.
"""

import dataclasses
import pathlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from savedmodels import saved_model
from savedmodels.errors import MaaskitError
from savedmodels.protos import meta_graph_pb2, types_pb2
from serving import tensor_codec
from serving.errors import InvalidRequestError, ServingError


@dataclasses.dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output of a signature.

    Attributes:
        name: Name of the tensor in the graph, as in `serving_default_x:0`.
        dtype: numpy dtype of its values; `object` (of bytes) for strings.
        shape: None for an axis of any size; None as a whole for any rank.
        dtype_name: TensorFlow's name of the dtype, as in `DT_UINT8`.
    """

    name: str
    dtype: np.dtype
    shape: tuple[int | None, ...] | None
    dtype_name: str


@dataclasses.dataclass(frozen=True, slots=True)
class SignatureInfo:
    """What one signature takes and returns, by alias.

    Attributes:
        inputs: Alias to tensor.
        outputs: Alias to tensor.
        method_name: As in `tensorflow/serving/predict`.
        defaults: Alias to the value of an input that a request may leave out.
    """

    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    method_name: str
    defaults: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def has_free_batch_axis(self) -> bool:
        """Whether axis 0 of every input and output is declared to be of any size."""
        tensors = [*self.inputs.values(), *self.outputs.values()]
        return all(info.shape and info.shape[0] is None for info in tensors)


def read_signatures(
    path: pathlib.Path, tags: Collection[str] = (saved_model.SERVE_TAG,)
) -> dict[str, SignatureInfo]:
    """Returns the signatures of the version in a folder, from `saved_model.pb` alone.

    Args:
        path: Folder of the version.
        tags: Tags of the graph in it.

    Raises:
        ServingError: The file is missing, broken, or not meant for serving.
    """
    try:
        meta_graph = saved_model.read(path, tags)
    except MaaskitError as error:
        raise ServingError(str(error)) from error
    return from_definitions(meta_graph.signature_def)


def from_definitions(
    definitions: Mapping[str, meta_graph_pb2.SignatureDef],
) -> dict[str, SignatureInfo]:
    """Returns the signatures that a SavedModel, or a server's metadata, define.

    Args:
        definitions: By name.
    """
    return {
        name: SignatureInfo(
            inputs=_infos(definitions[name].inputs),
            outputs=_infos(definitions[name].outputs),
            method_name=definitions[name].method_name,
            defaults={
                alias: tensor_codec.decode(value)
                for alias, value in definitions[name].defaults.items()
            },
        )
        for name in sorted(definitions)
    }


def check_aliases(signature: SignatureInfo, aliases: Collection[str]) -> None:
    """Holds the aliases of a request against those of a signature.

    Raises:
        InvalidRequestError: An alias is missing and has no default, or is unknown.
    """
    required = set(signature.inputs) - set(signature.defaults)
    missing = required - set(aliases)
    extra = set(aliases) - set(signature.inputs)
    if len(aliases) > len(signature.inputs) or len(aliases) < len(required):
        raise InvalidRequestError(
            "input size does not match signature: "
            f"{len(aliases)}!={len(signature.inputs)} "
            f"len({_set(aliases)}) != len({_set(signature.inputs)}). "
            f"Sent extra: {_set(extra)}. Missing but required: {_set(missing)}."
        )
    if missing:
        alias = min(missing)
        raise InvalidRequestError(
            f"Signature input alias: {alias}"
            f"(feed name: {signature.inputs[alias].name}) not found in request and no "
            "default value provided. Inputs expected to be in the request "
            f"{_set(signature.inputs)}, or default input alias set: "
            f"{','.join(sorted(signature.defaults))}"
        )
    if extra:
        raise InvalidRequestError(
            "Inputs contains invalid name. Used request inputs: "
            f"{','.join(sorted(set(aliases) - extra))}, "
            f"request input: {','.join(sorted(aliases))}"
        )


def check_inputs(
    signature: SignatureInfo, inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns the inputs with defaults filled in, in the signature's order.

    Raises:
        InvalidRequestError: Aliases or dtypes are not the signature's.
    """
    if inputs.keys() != signature.inputs.keys():
        check_aliases(signature, inputs.keys())
        inputs = {**signature.defaults, **inputs}
    checked = {}
    for alias, info in signature.inputs.items():
        array = inputs[alias]
        if array.dtype != info.dtype:
            # TensorFlow numbers arguments by the order of their tensors' names.
            feeds = sorted(tensor.name for tensor in signature.inputs.values())
            raise InvalidRequestError(
                f"Expects arg[{feeds.index(info.name)}] to be "
                f"{info.dtype_name.removeprefix('DT_').lower()} "
                f"but {tensor_codec.short_name(array.dtype)} is provided"
            )
        checked[alias] = array
    return checked


def check_output_filter(signature: SignatureInfo, output_filter: Sequence[str]) -> None:
    """Holds the outputs that a request asks for against those of a signature.

    Raises:
        InvalidRequestError: One is unknown, or named twice.
    """
    seen = set()
    for alias in output_filter:
        if alias not in signature.outputs:
            raise InvalidRequestError(
                f"output tensor alias not found in signature: {alias} "
                "Outputs expected to be in the set "
                f"{_set(signature.outputs)}."
            )
        if alias in seen:
            raise InvalidRequestError(f"duplicate output tensor alias: {alias}")
        seen.add(alias)


def select(
    outputs: Mapping[str, np.ndarray], output_filter: Sequence[str]
) -> dict[str, np.ndarray]:
    """Returns the outputs asked for, or all where none is named."""
    if not output_filter:
        return dict(outputs)
    return {alias: outputs[alias] for alias in output_filter}


def check_shapes(signature: SignatureInfo, inputs: Mapping[str, np.ndarray]) -> None:
    """Holds the shapes of inputs against a signature.

    Raises:
        InvalidRequestError: A rank or an axis differs.
    """
    for alias, array in inputs.items():
        wanted = signature.inputs[alias].shape
        if wanted is None or _fits(array.shape, wanted):
            continue
        sizes = [-1 if size is None else size for size in wanted]
        raise InvalidRequestError(
            f"Input `{alias}` does not have the signature's shape. "
            f"Expected: {sizes}, where -1 is any size. Received: {list(array.shape)}."
        )


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        want is None or want == got for want, got in zip(wanted, shape, strict=True)
    )


def _infos(tensors: Mapping[str, meta_graph_pb2.TensorInfo]) -> dict[str, TensorInfo]:
    return {alias: _info(tensors[alias]) for alias in sorted(tensors)}


def _info(tensor: meta_graph_pb2.TensorInfo) -> TensorInfo:
    shape = tensor.tensor_shape
    sizes = tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
    return TensorInfo(
        name=tensor.name,
        dtype=tensor_codec.numpy_dtype(tensor.dtype),
        shape=None if shape.unknown_rank else sizes,
        dtype_name=types_pb2.DataType.Name(tensor.dtype),
    )


def _set(aliases: Collection[str]) -> str:
    """Aliases as TF Serving prints a set of them."""
    return "{" + ",".join(sorted(aliases)) + "}"
