"""What an exported version is, in words: for `make show`.

Read from the version's files alone, in a tenth of a second. Only a version that was
not made by `savedmodels.export` needs TensorFlow, to look its ops up.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from savedmodels import provenance, saved_model, store
from savedmodels.protos import types_pb2


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output.

    Attributes:
        dtype: As numpy names it: `uint8`, `float32`, `string`.
        shape: None for an axis of any size; None as a whole for any rank.
    """

    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"[...] {self.dtype}"
        sizes = ["any" if size is None else str(size) for size in self.shape]
        if sizes[:1] == ["any"]:
            sizes[0] = "batch"
        return f"[{', '.join(sizes)}] {self.dtype}"


@dataclasses.dataclass(frozen=True, slots=True)
class Signature:
    """What one signature takes and returns, by alias."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True, slots=True)
class Description:
    """One version.

    Attributes:
        path: Its folder.
        signatures: By name.
        litert: Names of the signatures that `model.tflite` carries.
        ops: Names of all ops in its graph, sorted.
        ops_not_in_stock_server: Those that `tensorflow_model_server` cannot run.
        sizes: Bytes by file or folder at the top of the version.
        provenance: See `savedmodels.provenance`; empty for a version made elsewhere.
    """

    path: pathlib.Path
    signatures: Mapping[str, Signature]
    litert: tuple[str, ...]
    ops: tuple[str, ...]
    ops_not_in_stock_server: tuple[str, ...]
    sizes: Mapping[str, int]
    provenance: Mapping[str, Any]


def describe(path: pathlib.Path) -> Description:
    """Reads what a version is.

    Args:
        path: Folder that holds `saved_model.pb`.

    Raises:
        MaaskitError: It holds no SavedModel, or a broken one.
    """
    meta_graph = saved_model.read(path)
    record = provenance.read(path)
    ops = saved_model.ops(meta_graph)
    return Description(
        path=path,
        signatures={
            name: Signature(_tensors(item.inputs), _tensors(item.outputs))
            for name, item in saved_model.signature_defs(meta_graph).items()
        },
        litert=tuple(_litert_signatures(path / store.LITERT_MODEL)),
        ops=tuple(ops),
        ops_not_in_stock_server=tuple(_lacking(ops, record)),
        sizes={child.name: _bytes(child) for child in sorted(path.iterdir())},
        provenance=record,
    )


def format(description: Description) -> str:  # noqa: A001 -- reads `describe.format`
    """Returns a description as text of several lines, without a last line break."""
    return "\n".join(_lines(description))


def _lines(description: Description) -> Iterator[str]:
    path, sizes = description.path, description.sizes
    yield f"{path.parent.name} version {path.name}   {path}"
    for name, signature in description.signatures.items():
        engine = "LiteRT on CPUs" if name in description.litert else "TensorFlow"
        yield f"\n{name}   ({engine})"
        width = max(map(len, [*signature.inputs, *signature.outputs]), default=0)
        for kind, tensors in (("in ", signature.inputs), ("out", signature.outputs)):
            for alias, tensor in tensors.items():
                yield f"  {kind} {alias:{width}}  {tensor}"
    yield "\nFiles"
    for name, size in sizes.items():
        yield f"  {name:18} {_readable(size):>10}"
    yield f"  {'all':18} {_readable(sum(sizes.values())):>10}"
    yield f"\nOps ({len(description.ops)})"
    yield from _wrapped(description.ops)
    lacking = description.ops_not_in_stock_server
    yield (
        f"The stock tensorflow_model_server lacks {len(lacking)} of them: "
        f"{', '.join(lacking)}"
        if lacking
        else "The stock tensorflow_model_server has all of them."
    )
    yield "\nProvenance"
    if not description.provenance:
        yield "  none: this version was not made by `make train`"
    yield from _nested(_without_counts(description.provenance), "  ")


def _without_counts(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record whose statistics are told in one line: nobody reads so many numbers."""
    statistics = record.get("statistics")
    if not statistics:
        return dict(record)
    names = [*statistics["features"], *(["classes"] if statistics["classes"] else [])]
    return {**record, "statistics": f"{statistics['rows']:,} rows: {', '.join(names)}"}


def _tensors(infos: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a SignatureDef's inputs or outputs."""
    return {alias: _tensor(infos[alias]) for alias in sorted(infos)}


def _tensor(info: Any) -> Tensor:
    shape = info.tensor_shape
    sizes = tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
    name = types_pb2.DataType.Name(info.dtype).removeprefix("DT_").lower()
    numpy_name = {"float": "float32", "double": "float64", "half": "float16"}
    return Tensor(numpy_name.get(name, name), None if shape.unknown_rank else sizes)


def _litert_signatures(file: pathlib.Path) -> list[str]:
    """Names of the signatures in a LiteRT model; none where there is no such file."""
    if not file.is_file():
        return []
    from ai_edge_litert.interpreter import Interpreter  # late: 0.1 s, often not needed

    return sorted(Interpreter(model_path=str(file)).get_signature_list())


def _lacking(ops: list[str], record: Mapping[str, Any]) -> list[str]:
    """What the export found, or a look of our own, which imports TensorFlow."""
    check = record.get("check", {})
    if "ops_not_in_stock_server" in check:
        found: list[str] = check["ops_not_in_stock_server"]
        return found
    from savedmodels import stock_server

    return stock_server.lacks(ops)


def _bytes(path: pathlib.Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _readable(size: int) -> str:
    """A number of bytes with its unit: 512 B, 1.5 KiB, 3.2 MiB."""
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def _wrapped(words: tuple[str, ...], width: int = 86) -> Iterator[str]:
    """Words in lines of at most `width` columns."""
    line = " "
    for word in words:
        if len(line) + 1 + len(word) > width:
            yield line
            line = " "
        line += f" {word}"
    yield line


def _nested(record: Mapping[str, Any], indent: str) -> Iterator[str]:
    """A JSON object as indented lines."""
    for key, value in record.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{key}"
            yield from _nested(value, indent + "  ")
        elif isinstance(value, list):
            yield f"{indent}{key}: {', '.join(map(str, value)) or 'none'}"
        else:
            yield f"{indent}{key}: {value}"
