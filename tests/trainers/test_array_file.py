"""Arrays come back as they were, or not at all."""

import numpy as np
import pytest

from trainers import _array_file
from trainers._array_file import DamagedError

ARRAYS = [
    np.float32(0.1) * np.arange(6, dtype=np.float32).reshape(2, 3),
    np.int64(7),
    np.zeros([0, 4], np.float32),
    np.array([True, False]),
    np.asfortranarray(np.arange(4, dtype=np.uint64).reshape(2, 2)),
    np.array([np.nan, np.inf, -0.0], np.float32),
]


@pytest.fixture
def path(tmp_path):
    _array_file.write(tmp_path / "a.ckpt", {"said": "schön\n"}, ARRAYS)
    return tmp_path / "a.ckpt"


def test_header_and_arrays_come_back(path):
    header, arrays = _array_file.read(path)
    assert header == {"said": "schön\n"}
    assert len(arrays) == len(ARRAYS)
    for found, wanted in zip(arrays, ARRAYS, strict=True):
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == wanted.dtype
    assert _array_file.read_header(path)["said"] == "schön\n"
    _array_file.check(path)


def test_any_changed_byte_is_seen(path):
    content = path.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        with pytest.raises(DamagedError):
            _array_file.read(path)


def test_any_missing_end_and_any_longer_file_is_seen(path):
    content = path.read_bytes()
    for kept in [0, 1, 31, 32, 33, len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:kept])
        with pytest.raises(DamagedError, match=r"a\.ckpt"):
            _array_file.check(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(DamagedError):
        _array_file.check(path)


def test_a_file_that_is_missing_is_not_whole(tmp_path):
    with pytest.raises(DamagedError):
        _array_file.check(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        _array_file.read(tmp_path / "none")


@pytest.mark.parametrize("content", [b"", b"no json\n", b"[1]\n", b"\xff\xfe\n"])
def test_a_header_that_is_none_is_damaged(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DamagedError):
        _array_file.read_header(tmp_path / "a")
