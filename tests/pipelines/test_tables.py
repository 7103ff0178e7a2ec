"""CSV and Parquet files, gzip and parts of files are the same instances."""

import gzip
import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoring_parts import example, info, signature, write_tfrecord

from pipelines import _lines, _plan, _sources
from pipelines._inputs import MismatchError
from pipelines._reading import Span, Wanted
from pipelines._sources import Refusal, Row

PAIR = signature({"a": info("float32", None), "v": info("int64", None, 3)})
TEXT = signature({"text": info("string", None)})
IMAGE = signature({"image": info("uint8", None, 2, 2, 1)})
NOTHING = Wanted()
PIXELS = np.arange(24, dtype=np.uint8).reshape(6, 2, 2, 1)


def read(
    path: object, given: object, wanted: Wanted = NOTHING, rows: int | None = None
) -> list[Row | Refusal]:
    """What a file holds; with `rows` read in parts of so many."""
    source = _sources.find(str(path))
    _sources.preview(source, given, wanted)
    spans = None
    if rows:
        spans = [span for shard in _plan.shards(source, given, rows) for span in shard]
    return list(_sources.read(source, given, lambda about, text: None, wanted, spans))


def write(path: pathlib.Path, text: str) -> pathlib.Path:
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


def parquet(path: pathlib.Path, groups: int = 1000, **columns: object) -> pathlib.Path:
    pq.write_table(pa.table(columns), path, row_group_size=groups)
    return path


def refused(items: list[Row | Refusal]) -> dict[int | None, str]:
    return {item.row: item.reason for item in items if isinstance(item, Refusal)}


CSV = "\ufeffid,v_0,v_1,v_2,more,a\nx,1,2,3,hm,0.5\ny,4,5,6,,-1e3\n"


def test_csv_columns_are_found_by_name_and_a_vector_by_its_numbers(tmp_path):
    rows = read(write(tmp_path / "x.csv", CSV), PAIR)
    assert [row.key for row in rows] == ["x", "y"]
    assert [row.row for row in rows] == [0, 1]
    np.testing.assert_array_equal(
        [row.inputs["v"] for row in rows], [[1, 2, 3], [4, 5, 6]]
    )
    assert [row.inputs["a"].item() for row in rows] == [0.5, -1000]
    assert rows[0].inputs["v"].dtype == np.int64


def test_a_csv_cell_may_hold_an_array_as_json_text(tmp_path):
    path = write(tmp_path / "x.csv", 'a,v\n1,"[7, 8, 9]"\n2,[]\n')
    items = read(path, PAIR)
    np.testing.assert_array_equal(items[0].inputs["v"], [7, 8, 9])
    assert "shape" in refused(items)[1]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("x,1,2,3,,many", "`a` must be float32 [batch]. Received: `many`"),
        ("x,1,2,3.5,,1", "`v` must be int64"),
        ("x,1,2", "3 cells, the header 6"),
        ("x,1,2,,,1", "`v` must be int64"),
    ],
)
def test_a_bad_csv_row_is_refused_and_the_others_read(tmp_path, line, told):
    items = read(write(tmp_path / "x.csv", CSV + line + "\nz,1,1,1,,1\n"), PAIR)
    assert told in refused(items)[2]
    assert [item.key for item in items if isinstance(item, Row)] == ["x", "y", "z"]


def test_csv_texts_may_hold_quotes_newlines_and_any_bytes(tmp_path):
    path = write(tmp_path / "x.csv", 'text\n"one\n""two"", three"\n\n\udcff\n')
    items = read(path, TEXT)
    assert [row.inputs["text"].item() for row in items] == [
        b'one\n"two", three',
        b"\xff",
    ]
    assert [row.row for row in items] == [0, 2]


@pytest.mark.parametrize("name", ["x.csv", "x.parquet"])
def test_missing_columns_are_told_with_the_signature_before_any_work(tmp_path, name):
    if name == "x.csv":
        path = write(tmp_path / name, "b,v_0,v_1,v_2\n1,2,3,4\n")
    else:
        path = parquet(tmp_path / name, b=[1.0], v=[[1, 2, 3]])
    with pytest.raises(MismatchError, match=r"`a` float32 \[batch\].*Received: `b`"):
        read(path, PAIR)


@pytest.mark.parametrize(
    "column",
    [
        pa.array(PIXELS.reshape(6, 4).tolist()),
        pa.array(PIXELS[..., 0].tolist(), pa.list_(pa.list_(pa.uint8()))),
        pa.FixedSizeListArray.from_arrays(pa.array(PIXELS.reshape(-1)), 4),
        pa.array([image.tobytes() for image in PIXELS]),
    ],
    ids=["flat", "nested", "fixed", "bytes"],
)
def test_parquet_holds_arrays_in_any_way(tmp_path, column):
    rows = read(parquet(tmp_path / "x.parquet", image=column), IMAGE)
    np.testing.assert_array_equal([row.inputs["image"] for row in rows], PIXELS)
    assert all(row.inputs["image"].dtype == np.uint8 for row in rows)


def test_parquet_columns_are_found_by_name_with_keys(tmp_path):
    path = parquet(
        tmp_path / "x.parquet",
        id=["x", "y"],
        v_0=[1, 4],
        v_1=[2, 5],
        v_2=[3, 6],
        a=[1, 2],
    )
    rows = read(path, PAIR)
    assert [row.key for row in rows] == ["x", "y"]
    np.testing.assert_array_equal(
        [row.inputs["v"] for row in rows], [[1, 2, 3], [4, 5, 6]]
    )
    assert rows[0].inputs["a"].dtype == np.float32


def test_a_bad_parquet_row_is_refused_and_the_others_read(tmp_path):
    path = parquet(
        tmp_path / "x.parquet",
        a=pa.array([1.0, None, 3.0, 4.0]),
        v=pa.array([[1, 2, 3], [1, 2, 3], [1, 2], [1, 2, 3]]),
    )
    items = read(path, PAIR)
    assert [item.row for item in items if isinstance(item, Row)] == [0, 3]
    assert "no value in `a`" in refused(items)[1]
    assert "2 values" in refused(items)[2]


def test_parquet_texts_are_read(tmp_path):
    rows = read(parquet(tmp_path / "x.parquet", text=["ä", "b"]), TEXT)
    assert [row.inputs["text"].item() for row in rows] == ["ä".encode(), b"b"]


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
    assert "not Parquet" in refused(read(tmp_path / "x.parquet", TEXT))[0]


WANTED = Wanted("name", ("n", "note"))
ROWS = [(float(n), f"k{n}", n, f"note, {n}") for n in range(10)]
X = signature({"x": info("float32", None)})


def write_columns(folder: pathlib.Path, kind: str) -> pathlib.Path:
    path = folder / f"x.{kind}"
    names = ("x", "name", "n", "note")
    if kind == "parquet":
        columns = dict(zip(names, map(list, zip(*ROWS, strict=True)), strict=True))
        return parquet(path, 4, **columns)
    if kind == "csv":
        lines = [",".join(names), *(f'{x},{k},{n},"{t}"' for x, k, n, t in ROWS)]
        return write(path, "\n".join(lines))
    if kind == "jsonl":
        lines = [json.dumps(dict(zip(names, row, strict=True))) for row in ROWS]
        return write(path, "\n".join(lines))
    records = [
        example(x=[x], name=[k.encode()], n=[n], note=[t.encode()])
        for x, k, n, t in ROWS
    ]
    return write_tfrecord(path, records)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "tfrecord"])
def test_keys_and_carried_columns_come_from_every_table(tmp_path, kind):
    path = write_columns(tmp_path, kind)
    for rows in (None, 3):  # as a whole, and in parts
        items = read(path, X, WANTED, rows)
        found = [
            (row.inputs["x"].item(), row.key, *row.carried, row.row) for row in items
        ]
        assert found == [(*row, place) for place, row in enumerate(ROWS)]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "tfrecord"])
def test_a_column_that_is_not_there_is_told_before_any_work(tmp_path, kind):
    path = write_columns(tmp_path, kind)
    with pytest.raises(MismatchError, match="`missing`"):
        read(path, X, Wanted(columns=("missing",)))


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tfrecord"])
def test_gzip_is_read_as_what_it_holds(tmp_path, kind):
    path = write_columns(tmp_path, kind)
    plain = read(path, X, WANTED)
    name = f"y.{kind}" if kind == "tfrecord" else f"y.{kind}.gz"  # or without saying so
    (tmp_path / name).write_bytes(gzip.compress(path.read_bytes()))
    packed = read(tmp_path / name, X, WANTED, 3)
    assert [row.key for row in packed] == [row.key for row in plain]
    cut = gzip.compress(path.read_bytes())[:-20]
    (tmp_path / name).write_bytes(cut)
    (reason,) = refused(read(tmp_path / name, X, WANTED)).values()
    assert "damaged or cut short" in reason


def test_a_quoted_newline_does_not_divide_a_row(tmp_path):
    lines = [f'"{n}\nx""{n},",{n}' for n in range(50)]
    path = write(tmp_path / "x.csv", "text,id\n" + "\n".join(lines) + "\n")
    whole = read(path, TEXT)
    for rows in (1, 7):
        parts = read(path, TEXT, rows=rows)
        assert [(row.key, row.row) for row in parts] == [
            (row.key, row.row) for row in whole
        ]
        assert [row.inputs["text"].item() for row in parts] == [
            f'{n}\nx"{n},'.encode() for n in range(50)
        ]


@pytest.mark.parametrize("end", ["\n", ""])
def test_parts_of_lines_are_all_lines_once(tmp_path, end):
    lines = [str(n) * (n % 4 + 1) if n % 5 else "" for n in range(1, 60)]
    path = write(tmp_path / "x.txt", "\n".join(lines) + end)
    whole = read(path, TEXT)
    for rows in (1, 2, 7, 100):
        parts = read(path, TEXT, rows=rows)
        assert [row.key for row in parts] == [row.key for row in whole]
        assert [row.inputs["text"].item() for row in parts] == [
            line.encode() for line in lines if line
        ]


def test_parts_of_arrays_are_all_rows_once(tmp_path):
    values = np.arange(20, dtype=np.float32)
    np.save(tmp_path / "x.npy", values)
    np.savez(tmp_path / "y.npz", x=values)
    for name in ("x.npy", "y.npz"):
        rows = read(tmp_path / name, X, rows=6)
        assert [row.inputs["x"].item() for row in rows] == values.tolist()


def test_what_is_damaged_at_the_end_of_a_file_is_in_its_last_part(tmp_path):
    path = write_columns(tmp_path, "tfrecord")
    path.write_bytes(path.read_bytes() + b"\0" * 20)
    items = read(path, X, rows=3)
    assert len(items) == 11
    assert "checksum" in refused(items)[10]


def test_shards_hold_about_as_many_rows_as_asked_and_no_row_twice(tmp_path):
    for name, rows in (("a", 5), ("b", 2500), ("c", 10)):
        write(tmp_path / f"{name}.txt", "t\n" * rows)
    source = _sources.find(str(tmp_path))
    shards = _plan.shards(source, TEXT, 1000)
    assert [_plan.rows(shard) for shard in shards] == [5, 1000, 1000, 510]
    assert shards[-1] == [
        Span("b.txt", 4000, None, 2000, 500),
        Span("c.txt", 0, None, 0, 10),
    ]
    assert [_plan.rows(shard) for shard in _plan.shards(source, TEXT, None)] == [
        5,
        1000,
        1000,
        510,
    ]


LINES = [
    b"[1, 2]",
    b'{"x": [1, 2]}',
    b"[1, 2], [3, 4]",
    b'[1, 2]], "inputs": [[3, 4]',
    b'{"x": [1, 2], "x": [3, 4]}',
    b'{"x": [1, 2, 3]}',
    b'{"x": [[1, 2]]}',
    b'{"x": [1.5, 2e0]}',
    b'{"x": [true, 2]}',
    b'{"x": [1, 300]}',
    b'{"x": [1, 2], "y": 3}',
    b'{"y": [1, 2]}',
    b'{"x": [1, 2',
    b'{"id": 7, "x": [1, 2]}',
    b"{}",
    b"1",
]


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int64"])
@pytest.mark.parametrize("line", LINES, ids=bytes.decode)
def test_lines_of_numbers_are_read_fast_as_they_are_read_slowly(
    tmp_path, monkeypatch, line, dtype
):
    given = signature({"x": info(dtype, None, 2)})
    (tmp_path / "x.jsonl").write_bytes(line + b"\n")
    source = _sources.find(str(tmp_path / "x.jsonl"))

    def found() -> list[object]:
        items = list(_sources.read(source, given, lambda about, text: None))
        return [
            item.reason if isinstance(item, Refusal) else (item.key, item.inputs["x"])
            for item in items
        ]

    fast = found()
    monkeypatch.setattr(_lines, "_numbers", lambda line, signature: None)
    np.testing.assert_equal(fast, found())
