"""One SavedModel version in memory: its signatures, and answers from them.

Names, dtypes and shapes are read from `saved_model.pb` itself, so they are known
without TensorFlow.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np


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
