"""BERT in numpy, from the paper and the names in the file: a second opinion."""

import math

import numpy as np

_erf = np.vectorize(math.erf)


def forward(
    tensors: dict[str, np.ndarray],
    token_ids: np.ndarray,
    mask: np.ndarray,
    *,
    layers: int,
    heads: int,
) -> np.ndarray:
    """Returns the last layer's states [batch, tokens, hidden], in float64.

    Args:
        tensors: Weights by name, matrices as [out, in].
        token_ids: [batch, tokens].
        mask: [batch, tokens], 1 for a token, 0 for padding.
        layers: How many.
        heads: Of a layer.
    """
    t = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    x = t["embeddings.word_embeddings.weight"][token_ids]
    x = x + t["embeddings.position_embeddings.weight"][: token_ids.shape[1]]
    x = x + t["embeddings.token_type_embeddings.weight"][0]
    x = _normalised(x, t, "embeddings.LayerNorm")
    for layer in range(layers):
        at = f"encoder.layer.{layer}"
        x = _normalised(
            x + _attention(x, mask, t, f"{at}.attention", heads),
            t,
            f"{at}.attention.output.LayerNorm",
        )
        inner = _linear(x, t, f"{at}.intermediate.dense")
        inner = 0.5 * inner * (1 + _erf(inner / math.sqrt(2)))
        x = _normalised(
            x + _linear(inner, t, f"{at}.output.dense"), t, f"{at}.output.LayerNorm"
        )
    return x


def _attention(x, mask, t, at, heads):
    batch, tokens, hidden = x.shape

    def split(name):
        y = _linear(x, t, f"{at}.self.{name}")
        return y.reshape(batch, tokens, heads, hidden // heads).transpose(0, 2, 1, 3)

    query, key, value = map(split, ("query", "key", "value"))
    scores = query @ key.transpose(0, 1, 3, 2) / math.sqrt(hidden // heads)
    scores = np.where(mask[:, None, None, :], scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    mixed = (weights @ value).transpose(0, 2, 1, 3).reshape(batch, tokens, hidden)
    return _linear(mixed, t, f"{at}.output.dense")


def _linear(x, t, name):
    return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]


def _normalised(x, t, name):
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
    return centred / deviation * t[f"{name}.weight"] + t[f"{name}.bias"]
