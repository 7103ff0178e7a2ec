"""`.npy` and `.npz` files are read row by row, and only where they fit."""

import pathlib

import numpy as np
import pytest
from scoring_parts import info, signature

from pipelines import _arrays
from pipelines._inputs import MismatchError, UnreadableError
from pipelines._reading import Reading, Span, Wanted

IMAGES = np.random.default_rng(1).integers(0, 256, (5, 4, 3, 1), dtype=np.uint8)
ONE = signature({"image": info("uint8", None, 4, 3, 1)})
TWO = signature({"a": info("float32", None, 2), "t": info("string", None)})
A = np.arange(6, dtype=np.float32).reshape(3, 2)
T = np.array(["x", "y", "zz"])


def npy(folder: pathlib.Path, array: np.ndarray) -> pathlib.Path:
    np.save(folder / "x.npy", array)
    return folder / "x.npy"


@pytest.mark.parametrize(
    ("array", "rows"),
    [
        (IMAGES, IMAGES),
        (IMAGES[0], IMAGES[:1]),  # one instance, without the batch axis
        (IMAGES[..., 0], IMAGES),  # grey images without the axis of one channel
        (IMAGES[0, ..., 0], IMAGES[:1]),
        (IMAGES[:0], IMAGES[:0]),
        (np.asfortranarray(IMAGES), IMAGES),
        (IMAGES[:, ::-1], IMAGES[:, ::-1]),
    ],
)
def test_every_row_of_an_array_is_an_instance(tmp_path, array, rows):
    path = npy(tmp_path, array)
    given = [inputs["image"] for inputs in _arrays.read(path, ONE)]
    np.testing.assert_array_equal(np.reshape(given, rows.shape), rows)
    assert _arrays.count(path, ONE) == len(rows)
    assert all(image.shape == (4, 3, 1) for image in given)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_file_has_an_array_for_each_alias(tmp_path, save):
    save(tmp_path / "x.npz", t=T, a=A)
    given = list(_arrays.read(tmp_path / "x.npz", TWO))
    np.testing.assert_array_equal([inputs["a"] for inputs in given], A)
    assert [inputs["t"].item() for inputs in given] == [b"x", b"y", b"zz"]


def reading(path, **wanted):
    return Reading(path, Span(path.name), TWO, print, Wanted(**wanted))


def test_other_arrays_of_an_npz_file_are_columns(tmp_path):
    path = tmp_path / "x.npz"
    more = {"n": np.array([b"p", b"q", b"r"]), "y": np.uint8([7, 8, 9]), "z": A}
    np.savez(path, a=A, t=T, **more)
    given = list(_arrays.instances(reading(path, key="n", columns=("y", "n"))))
    assert [instance.key for instance in given] == ["p", "q", "r"]
    assert [instance.carried for instance in given] == [(7, "p"), (8, "q"), (9, "r")]
    np.testing.assert_array_equal([instance.inputs["a"] for instance in given], A)
    # Unless something is wanted, there is nothing but the inputs.
    plain = list(_arrays.instances(reading(path)))
    assert [(instance.key, instance.carried) for instance in plain] == [(None, ())] * 3


def test_an_array_of_ids_is_the_key_unless_another_is_asked_for(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=A, t=T, id=np.arange(3), name=T)
    keys = [instance.key for instance in _arrays.instances(reading(path))]
    assert keys == [0, 1, 2]
    keys = [instance.key for instance in _arrays.instances(reading(path, key="name"))]
    assert keys == ["x", "y", "zz"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("b", "Expected columns for .*`b`. Received: `a`, `t`, `z`, `w`"),
        ("z", r"one value for each of the 3 rows. Received: `z`, .* shape \[3, 2\]"),
        ("w", r"one value for each of the 3 rows. Received: `w`, .* shape \[2\]"),
    ],
)
def test_an_array_that_is_no_column_is_told(tmp_path, name, told):
    np.savez(tmp_path / "x.npz", a=A, t=T, z=A, w=A[:2, 0])
    with pytest.raises(MismatchError, match=told):
        list(_arrays.instances(reading(tmp_path / "x.npz", columns=(name,))))


def test_a_npy_file_has_no_columns(tmp_path):
    path = npy(tmp_path, IMAGES)
    wanted = Reading(path, Span(path.name), ONE, print, Wanted(columns=("label",)))
    with pytest.raises(MismatchError, match="A .npy file has no columns"):
        list(_arrays.instances(wanted))


@pytest.mark.parametrize(
    ("dtype", "wanted"), [(">i2", "int32"), ("float64", "float32"), ("<u4", "int64")]
)
def test_values_are_cast_where_that_is_safe(tmp_path, dtype, wanted):
    path = npy(tmp_path, np.array([1, 2, 300], dtype))
    given = list(_arrays.read(path, signature({"x": info(wanted, None)})))
    assert [inputs["x"].item() for inputs in given] == [1, 2, 300]
    assert {inputs["x"].dtype for inputs in given} == {np.dtype(wanted)}


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (IMAGES.astype(np.int64), r"uint8 .* Received: int64"),
        (IMAGES.astype(np.float32), r"uint8 .* Received: float32"),
        (
            np.zeros((5, 4, 4, 1), np.uint8),
            r"Received: an array of shape \[5, 4, 4, 1\]",
        ),
        (np.uint8(3), r"Received: an array of shape \[\]"),
    ],
)
def test_an_array_that_does_not_fit_names_both(tmp_path, array, told):
    with pytest.raises(MismatchError, match=told):
        list(_arrays.read(npy(tmp_path, array), ONE))


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"a": A}, "Received: `a`"),
        ({"a": A, "b": A}, "Received: `a`, `b`"),
        ({"a": A, "t": T[:2]}, r"the same number .* `a` \[3, 2\], `t` \[2\]"),
        ({"a": A, "t": T[0]}, "the same number"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(tmp_path, arrays, told):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(MismatchError, match=told):
        list(_arrays.read(tmp_path / "x.npz", TWO))


def test_one_array_cannot_fill_two_inputs(tmp_path):
    with pytest.raises(MismatchError, match="Save an .npz file"):
        list(_arrays.read(npy(tmp_path, A), TWO))


def test_python_objects_are_not_loaded(tmp_path):
    path = npy(tmp_path, np.array([{}, []], dtype=object))
    with pytest.raises(UnreadableError, match="can run code"):
        list(_arrays.read(path, signature({"x": info("string", None)})))


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY\x01\x00"])
@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_a_damaged_file_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableError):
        list(_arrays.read(tmp_path / name, ONE))


def test_a_file_cut_short_gives_its_whole_rows_and_says_where_it_ends(tmp_path):
    path = npy(tmp_path, IMAGES)
    path.write_bytes(path.read_bytes()[:-13])  # of 12 bytes a row
    rows = _arrays.read(path, ONE)
    for image in IMAGES[:3]:
        np.testing.assert_array_equal(next(rows)["image"], image)
    with pytest.raises(UnreadableError, match="after 3 of 5 rows"):
        next(rows)


def test_a_changed_byte_in_a_compressed_file_is_found(tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (500, 4, 3, 1), dtype=np.uint8)
    np.savez_compressed(tmp_path / "x.npz", image=noise)
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[3000] ^= 255
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UnreadableError, match="cannot be read"):
        list(_arrays.read(tmp_path / "x.npz", ONE))
