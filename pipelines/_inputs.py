"""How what lies in files becomes the inputs of a signature, one instance at a time.

Prediction and batch scoring share it, so both ask a model the same thing. Values keep
the rules of the server's JSON: numbers are rounded to a float input, but an integer
input never wraps or cuts what it is given.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from savedmodels.errors import UsageError
from serving import json_tensor
from serving.errors import ServingError
from serving.servable import SignatureInfo, TensorInfo

Inputs = dict[str, np.ndarray]  # alias to one instance, without the batch axis


class MismatchError(UsageError):
    """The columns, shape or dtype found are not those that the signature takes."""


class UnreadableError(UsageError):
    """The file or value is damaged, whatever signature it is meant for."""


def find_signature(
    signatures: Mapping[str, SignatureInfo], name: str, owner: str
) -> SignatureInfo:
    """Returns the signature that was asked for.

    Args:
        signatures: By name, TensorFlow's own among them.
        name: As typed.
        owner: Whose they are, as a message begins.

    Raises:
        UsageError: There is none of that name; lists those that there are.
    """
    # Names with two underscores are TensorFlow's own, for loading.
    there = [known for known in signatures if not known.startswith("__")]
    if name not in there:
        raise UsageError(
            f"{owner} has no such signature. Expected one of: {', '.join(there)}. "
            f"Received: {name}."
        )
    return signatures[name]


def describe(signature: SignatureInfo) -> str:
    """Returns the signature's inputs in one line, as in `image uint8 [batch, 28]`."""
    return ", ".join(
        f"`{alias}` {describe_tensor(info)}" for alias, info in signature.inputs.items()
    )


def describe_tensor(info: TensorInfo) -> str:
    """Returns dtype and shape in words, as in `uint8 [batch, 28, 28, 1]`."""
    if info.shape is None:
        return f"{dtype_name(info)} of any shape"
    sizes = ["any" if size is None else str(size) for size in info.shape]
    if sizes and sizes[0] == "any":
        sizes[0] = "batch"
    return f"{dtype_name(info)} [{', '.join(sizes)}]"


def dtype_name(info: TensorInfo) -> str:
    """Returns `string` for strings, else numpy's name of the dtype."""
    return "string" if is_string(info) else info.dtype.name


def is_string(info: TensorInfo) -> bool:
    """Whether the tensor holds strings, which are bytes."""
    return info.dtype_name == "DT_STRING"


def fits(shape: tuple[int, ...], info: TensorInfo) -> bool:
    """Whether one instance, without the batch axis, may have this shape."""
    if info.shape is None:
        return True
    inner = info.shape[1:]
    return len(shape) == len(inner) and all(
        wanted in (None, size) for size, wanted in zip(shape, inner, strict=True)
    )


def castable(found: np.dtype, info: TensorInfo) -> bool:
    """Whether an array may be cast: never if an integer could wrap or be cut."""
    if is_string(info):
        return found.kind in "SU"
    if np.can_cast(found, info.dtype, "safe"):
        return True
    # Not numpy's kind "f" alone: bfloat16 is a float too, of kind "V".
    wants_float = info.dtype_name in ("DT_FLOAT", "DT_DOUBLE", "DT_HALF", "DT_BFLOAT16")
    return found.kind in "iuf" and wants_float


def cast(values: np.ndarray, info: TensorInfo) -> np.ndarray:
    """Returns `values` in the input's dtype; see `castable`.

    Args:
        values: Array whose dtype passed `castable`; text becomes UTF-8 bytes.
        info: The input.
    """
    if not is_string(info):
        with np.errstate(over="ignore"):  # too large for a float32 is infinite there
            return values.astype(info.dtype)
    if values.dtype.kind == "U":
        values = np.char.encode(values, "utf-8")
    return values.astype(object)


def from_json(
    value: Any, signature: SignatureInfo, *, has_booleans: bool = True
) -> Inputs:
    """Returns one instance, given as in the `instances` of TF Serving's REST API.

    Args:
        value: The value of the only input, or an object of alias to value. Strings
            are text, or `{"b64": "..."}` for any bytes.
        signature: What the model takes.
        has_booleans: Whether there may be `true` or `false` in it. Where there are
            none, lists of numbers are read at once, several times faster.

    Returns:
        Alias to array, without the batch axis.

    Raises:
        MismatchError: Aliases, shape or dtype are not those of the signature, or base64
            is none.
    """
    if not isinstance(value, Mapping) or set(value) == {"b64"}:
        if len(signature.inputs) != 1:
            raise MismatchError(
                f"Expected an object with the inputs {describe(signature)}. "
                f"Received: {_short(value)}."
            )
        value = {next(iter(signature.inputs)): value}
    check_aliases(value, signature)
    return {
        alias: from_json_value(item, alias, signature.inputs[alias], has_booleans)
        for alias, item in value.items()
    }


def check_aliases(found: Mapping[str, Any], signature: SignatureInfo) -> None:
    """Raises MismatchError unless `found` has the inputs, at least those it must."""
    extra = sorted(set(found) - set(signature.inputs))
    missing = sorted(set(signature.inputs) - set(found) - set(signature.defaults))
    if extra or missing:
        raise MismatchError(
            f"Expected the inputs {describe(signature)}. "
            f"Received: {', '.join(f'`{name}`' for name in sorted(found)) or 'none'}."
        )


def from_json_value(
    value: Any, alias: str, info: TensorInfo, has_booleans: bool = True
) -> np.ndarray:
    """Returns one instance of one input; see `from_json`."""
    if not has_booleans and isinstance(value, list) and info.dtype.kind in "iuf":
        plain = _plain_numbers(value, info)
        if plain is not None:
            return plain
    try:
        array = json_tensor.tensor(value, info)
    except ServingError as error:
        raise MismatchError(
            f"`{alias}` must be {describe_tensor(info)}. {error}"
        ) from error
    check_shape(array.shape, alias, info)
    return array


def _plain_numbers(value: list[Any], info: TensorInfo) -> np.ndarray | None:
    """Lists of numbers that need no closer look; None for all others."""
    try:
        array = np.array(value)
    except (ValueError, OverflowError):
        return None
    if array.dtype.kind not in "iuf" or not array.size or not fits(array.shape, info):
        return None
    if info.dtype.kind == "f":
        with np.errstate(over="ignore"):
            floats = array.astype(info.dtype)
        return floats if np.isfinite(floats).all() else None
    limits = np.iinfo(info.dtype)
    if array.dtype.kind == "f" or array.min() < limits.min or array.max() > limits.max:
        return None
    return array.astype(info.dtype)


def numbers(array: np.ndarray, alias: str, info: TensorInfo) -> np.ndarray:
    """Returns numbers in the input's dtype, if their values allow it.

    Args:
        array: Any shape. Integers need only lie in the range of an integer input; a
            float input takes integers and floats, a bool input bools.
        alias: The input's alias.
        info: The input, not of strings.

    Raises:
        MismatchError: A value cannot be had in the input's dtype.
    """
    if array.size == 0:
        return array.astype(info.dtype)
    if array.dtype.kind in "iu" and info.dtype.kind in "iu":
        limits = np.iinfo(info.dtype)
        if limits.min <= array.min() and array.max() <= limits.max:
            return array.astype(info.dtype)
        received = f"values from {array.min()} to {array.max()}"
    elif castable(array.dtype, info) and (array.dtype == bool) == (info.dtype == bool):
        return cast(array, info)
    else:
        received = f"{array.dtype.name}, {_short(array.tolist())}"
    raise MismatchError(
        f"`{alias}` must be {describe_tensor(info)}. Received: {received}."
    )


def shaped(flat: np.ndarray, alias: str, info: TensorInfo) -> np.ndarray:
    """Returns flat values in the input's inner shape, one axis of which may be free.

    Raises:
        MismatchError: They are too many, or too few.
    """
    inner = (-1,) if info.shape is None else info.shape[1:]
    try:
        return flat.reshape([-1 if size is None else size for size in inner])
    except ValueError:
        raise MismatchError(
            f"`{alias}` must be {describe_tensor(info)}. Received: {flat.size} values."
        ) from None


def check_shape(shape: tuple[int, ...], alias: str, info: TensorInfo) -> None:
    """Raises MismatchError unless one instance of the input may have this shape."""
    if not fits(shape, info):
        raise MismatchError(
            f"`{alias}` must be {describe_tensor(info)}, so one instance has the shape "
            f"{list((info.shape or ())[1:])}. Received: shape {list(shape)}."
        )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
