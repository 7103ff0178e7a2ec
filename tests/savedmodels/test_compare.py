"""What counts as the same answer."""

import ml_dtypes
import numpy as np
import pytest

from savedmodels.compare import Tolerance, max_difference

TOLERANCE = Tolerance(relative=1e-2, absolute=1e-3)


def floats(*values, dtype=np.float32):
    return {"y": np.array(values, dtype)}


def test_the_largest_difference_is_returned():
    received = {"y": np.array([1.0, 2.25]), "z": np.array([8.0])}
    expected = {"y": np.array([1.0, 2.0]), "z": np.array([8.125])}
    assert max_difference(expected, received, Tolerance(1.0, 0.0)) == 0.25


@pytest.mark.parametrize(
    ("expected", "received", "same"),
    [
        (floats(100.0), floats(100.9), True),  # 1.001 is allowed
        (floats(100.0), floats(101.1), False),
        (floats(0.0), floats(0.0009), True),
        (floats(0.0), floats(0.0011), False),
        (floats(np.nan, np.inf), floats(np.nan, np.inf), True),
        (floats(np.inf), floats(-np.inf), False),
        (floats(1.0), floats(np.nan), False),
        (floats(np.nan), floats(1.0), False),
        (floats(1.0), floats(np.inf), False),
        (floats(np.inf), floats(1.0), False),
        (floats(), floats(), True),
        (floats(1.0), floats(1.0, 1.0), False),
        (floats(1.0), floats(1.0, dtype=np.float64), False),
        (floats(1, dtype=np.int64), floats(1, dtype=np.int64), True),
        (floats(1, dtype=np.int64), floats(2, dtype=np.int64), False),
        (floats(b"a", dtype=object), floats(b"a", dtype=object), True),
        (floats(b"a", dtype=object), floats(b"b", dtype=object), False),
        (
            floats(100, dtype=ml_dtypes.bfloat16),
            floats(100.5, dtype=ml_dtypes.bfloat16),
            True,
        ),
        (floats(1j, dtype=np.complex64), floats(1.001j, dtype=np.complex64), True),
        (floats(1j, dtype=np.complex64), floats(1, dtype=np.complex64), False),
        (floats(1.0), {"z": np.ones(1)}, False),
    ],
)
def test_floats_may_differ_a_little_and_nothing_else_may(expected, received, same):
    if same:
        max_difference(expected, received, TOLERANCE)
    else:
        with pytest.raises(ValueError, match=r"`y`|aliases"):
            max_difference(expected, received, TOLERANCE)
