"""Floats are written with the fewest digits that read back as the same value."""

import decimal
import json

import numpy as np
import pytest

from pipelines import _float_text


def some(dtype):
    """Finite values of all magnitudes: random bits."""
    data = np.random.default_rng(0).bytes(20_000 * np.dtype(dtype).itemsize)
    values = np.frombuffer(data, dtype)
    return values[np.isfinite(values)]


def digits(text):
    """The digits of a number, without zeros at either end."""
    return decimal.Decimal(text).normalize().as_tuple().digits


@pytest.mark.parametrize(
    ("dtype", "unsigned"), [(np.float32, np.uint32), (np.float64, np.uint64)]
)
def test_every_value_reads_back(dtype, unsigned):
    values = some(dtype)
    read = np.array([float(text) for text in _float_text.tokens(values)], dtype)
    np.testing.assert_array_equal(read.view(unsigned), values.view(unsigned))


def test_no_text_has_more_digits_than_numpy_needs():
    values = some(np.float32)
    for text, wanted in zip(
        _float_text.tokens(values), values.astype(np.str_).tolist(), strict=True
    ):
        assert float(text) == float(wanted)
        assert digits(text) == digits(wanted)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1.0"),
        (0, "0.0"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (16777216, "16777216.0"),
        (1e20, "1e+20"),
        (1e-10, "1e-10"),
        (np.nan, "NaN"),
        (np.inf, "Infinity"),
        (-np.inf, "-Infinity"),
    ],
)
def test_a_value_has_one_text(value, text):
    assert _float_text.tokens(np.array([0.5, value], np.float32)) == ["0.5", text]


def test_rows_are_json_lists():
    values = np.array([[0.25, 3], [np.inf, -1e-7]], np.float32)
    assert _float_text.lists(values) == ["[0.25, 3.0]", "[Infinity, -1e-7]"]
    read = [json.loads(row) for row in _float_text.lists(values)]
    np.testing.assert_array_equal(np.array(read, np.float32), values)


def test_nothing_has_no_text():
    empty = np.zeros((0, 3), np.float32)
    assert _float_text.tokens(empty.reshape(-1)) == []
    assert _float_text.lists(empty) == []
