"""A tiny BERT in Hugging Face's layout, with random weights."""

import json
from pathlib import Path

import numpy as np
import safetensors.numpy

PIECES = (
    "[PAD] [unused0] [UNK] [CLS] [SEP] the a film movie is was great ##er dull ##est "
    "un ##like ##ly ##s good bad . , ! ? ' - ½ é straße 日 本"
).split()
CONFIG = {
    "model_type": "bert",
    "vocab_size": len(PIECES) + 3,  # more rows than pieces, as some have
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 50,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}


def tensors(seed: int = 3) -> dict[str, np.ndarray]:
    """Returns weights by name, in float32: large enough that each one matters."""
    randomness = np.random.default_rng(seed)
    hidden, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    rows = {
        "word": CONFIG["vocab_size"],
        "position": CONFIG["max_position_embeddings"],
        "token_type": CONFIG["type_vocab_size"],
    }
    shapes = {
        f"embeddings.{kind}_embeddings.weight": (n, hidden) for kind, n in rows.items()
    }
    dense = {"pooler.dense": (hidden, hidden)}
    norms = ["embeddings.LayerNorm"]
    for layer in range(CONFIG["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        dense |= {
            f"{at}.attention.self.{part}": (hidden, hidden)
            for part in ("query", "key", "value")
        }
        dense[f"{at}.attention.output.dense"] = (hidden, hidden)
        dense[f"{at}.intermediate.dense"] = (inner, hidden)
        dense[f"{at}.output.dense"] = (hidden, inner)
        norms += [f"{at}.attention.output.LayerNorm", f"{at}.output.LayerNorm"]
    for name, shape in dense.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.weight": (hidden,), f"{name}.bias": (hidden,)}
    return {
        name: randomness.normal(0, 0.5, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def write(
    folder: Path,
    weights: dict[str, np.ndarray] | None = None,
    pieces: list[str] = PIECES,
    **changes: object,
) -> Path:
    """Writes the folder; `changes` are of `config.json`, None leaves a key out."""
    folder.mkdir(exist_ok=True)
    config = {k: v for k, v in (CONFIG | changes).items() if v is not None}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    safetensors.numpy.save_file(
        tensors() if weights is None else weights, folder / "model.safetensors"
    )
    return folder
